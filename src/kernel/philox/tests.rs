//! Known answers, moments, and independence of how a range is cut.

use super::*;

#[test]
fn known_answers() {
    // Random123's kat_vectors, as in the golden case rng_philox4x32_10
    let all = u32::MAX;
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox4x32([all; 4], [all; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    assert_eq!(
        philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
    );
}

#[test]
fn ends_of_the_ranges() {
    assert_eq!((uniform(0), uniform(u32::MAX)), (0.5 / 8_388_608.0, 1.0 - 0.5 / 8_388_608.0));
    for (a, b) in [(0, 0), (u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 1 << 31)] {
        let [x, y] = normal_pair(a, b);
        assert!(x.abs() < 5.8 && y.abs() < 5.8 && x.is_finite() && y.is_finite());
    }
    assert_eq!((index_below(0, 10), index_below(u32::MAX, 10), index_below(u32::MAX, 0)), (0, 9, 0));
    assert_eq!(index_below(1 << 31, u32::MAX), (1 << 31) - 1);
}

/// The contract, spelt out: key, counter, lane.
#[test]
fn elements_are_where_the_contract_says() {
    let (seed, stream, step) = (0x1234_5678_9abc_def0_u64, 77, 0x5_0000_0003_u64);
    for first in [0_u64, 3, (1 << 34) - 2, u64::MAX - 9] {
        let mut bits = [0; 8];
        fill_bits(seed, stream, step, first, &mut bits);
        for (i, &got) in bits.iter().enumerate() {
            let e = first + i as u64;
            let block = e / 4;
            let want =
                philox4x32([block as u32, (block >> 32) as u32, 3, 5], [0x9abc_def0, 0x1234_5678 ^ 77])
                    [(e % 4) as usize];
            assert_eq!(got, want, "element {e}");
        }
    }
}

#[test]
fn cuts_do_not_matter() {
    const N: usize = 1000;
    let (mut bits, mut uniforms, mut normals) = ([0; N], [0.0; N], [0.0; N]);
    let first = (1_u64 << 34) - 501; // the block's low word wraps inside
    fill_bits(5, 6, 7, first, &mut bits);
    fill_uniform(5, 6, 7, first, &mut uniforms);
    fill_normal(5, 6, 7, first, &mut normals);
    assert_eq!(bits.map(uniform), uniforms);
    for cut in [1, 2, 3, 5, 64, 77, 333] {
        for start in (0..N).step_by(cut) {
            let n = cut.min(N - start);
            let (mut b, mut u, mut x) = (vec![0; n], vec![0.0; n], vec![0.0; n]);
            fill_bits(5, 6, 7, first + start as u64, &mut b);
            fill_uniform(5, 6, 7, first + start as u64, &mut u);
            fill_normal(5, 6, 7, first + start as u64, &mut x);
            assert_eq!(b, bits[start..start + n]);
            assert_eq!(u, uniforms[start..start + n]);
            assert_eq!(x, normals[start..start + n]);
        }
    }
}

#[test]
fn normals_match_f64() {
    for i in 0..100_000_u64 {
        let [a, b, c, d] = philox4x32(counter(i, 0), key(9, 0));
        for (a, b) in [(a, b), (c, d)] {
            let (u, v) = (f64::from(uniform(a)), f64::from(uniform(b)));
            let (s, c) = (std::f64::consts::TAU * v).sin_cos();
            let r = (-2.0 * u.ln()).sqrt();
            let [x, y] = normal_pair(a, b);
            assert!((f64::from(x) - r * c).abs() < 1e-6 && (f64::from(y) - r * s).abs() < 1e-6);
        }
    }
}

#[test]
fn moments() {
    const N: usize = 1 << 22;
    let mut x = vec![0.0_f32; N];
    for (seed, stream, step) in [(1, 0, 0), (1, 1, 0), (1, 0, 1), (2, 0, 0)] {
        fill_normal(seed, stream, step, 0, &mut x);
        let moment = |p: i32| x.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / N as f64;
        // five standard deviations of each estimate
        let bound = |variance: f64| 5.0 * (variance / N as f64).sqrt();
        assert!(moment(1).abs() < bound(1.0));
        assert!((moment(2) - 1.0).abs() < bound(2.0));
        assert!(moment(3).abs() < bound(15.0));
        assert!((moment(4) - 3.0).abs() < bound(96.0));
        for lag in 1..=4 {
            let together = x.iter().zip(&x[lag..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            assert!((together / N as f64).abs() < bound(1.0), "lag {lag}");
        }
        let beyond = x.iter().filter(|v| v.abs() > 1.959_964).count() as f64 / N as f64;
        assert!((beyond - 0.05).abs() < bound(0.0475));
    }
    fill_uniform(3, 0, 0, 0, &mut x);
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / N as f64;
    assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / N as f64).sqrt());
    assert!(x.iter().all(|&u| u > 0.0 && u < 1.0));
}

#[test]
fn indices_are_even() {
    let mut bits = vec![0; 700_000];
    fill_bits(4, 0, 0, 0, &mut bits);
    let mut counts = [0_u32; 7];
    bits.iter().for_each(|&b| counts[index_below(b, 7) as usize] += 1);
    assert!(counts.iter().all(|&c| c.abs_diff(100_000) < 1500), "{counts:?}");
}
