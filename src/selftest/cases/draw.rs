//! Cases of `draw`: every law, starts that do not fall on a block and that cross 32 bits, given by the command or by the state.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::draw::{KEY, Law, beta_quantiles, command, continued, keyed};
use crate::kernel::philox::{counter, index_below, key, philox4x32};
use crate::kernel::state::State;
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let laws = [
        Law::Uniform,
        Law::Normal,
        Law::Rademacher,
        Law::Index { below: 24_208 },
        Law::LogitNormal { mean: 0.4, sd: 1.0 },
        Law::Quantile { intervals: 64, scale: -0.999, shift: 0.999 },
        Law::CosMap,
    ];
    let (seed, step, stream) = (0x1234_5678_9abc_def0_u64, (3 << 32) + 5, 9);
    let table = beta_quantiles(1.5, 1.0, 64);
    let mut out = keyed_cases();
    for law in laws {
        for n in SIZES.into_iter().chain([1000]) {
            for first in [0u64, 1, 3, (1 << 34) - 6, (1 << 40) + 2] {
                let word = |e: u64| philox4x32(counter(e / 4, step), key(seed, stream))[(e % 4) as usize];
                let uniform = |e: u64| (f64::from(word(e) >> 9) + 0.5) / 8_388_608.0;
                let normal = |e: u64| {
                    let pair = e - e % 2;
                    let radius = (-2.0 * uniform(pair).ln()).sqrt();
                    let (sin, cos) = (std::f64::consts::TAU * uniform(pair + 1)).sin_cos();
                    radius * if e.is_multiple_of(2) { cos } else { sin }
                };
                let element = |e: u64| match law {
                    Law::Uniform => uniform(e),
                    Law::Normal => normal(e),
                    Law::Rademacher => f64::from(word(e) >> 31) * 2.0 - 1.0,
                    Law::Index { below } => f64::from(index_below(word(e), below)),
                    Law::LogitNormal { mean, sd } => {
                        1.0 / (1.0 + (-(f64::from(mean) + f64::from(sd) * normal(e))).exp())
                    }
                    Law::Quantile { intervals, scale, shift } => {
                        let at = uniform(e) * f64::from(intervals);
                        let cell = at as usize;
                        let (low, high) = (f64::from(table[cell]), f64::from(table[cell + 1]));
                        f64::from(scale) * (low + (high - low) * (at - cell as f64)) + f64::from(shift)
                    }
                    Law::CosMap => 1.0 - 1.0 / ((std::f64::consts::FRAC_PI_2 * uniform(e)).tan() + 1.0),
                };
                let mut want = vec![f64::NAN; n + 4];
                for (i, want) in want[3..3 + n].iter_mut().enumerate() {
                    *want = element(first + i as u64);
                }
                let id = [0, 1, 2].map(BufferId);
                let fixed = command(law, n, first, stream, id[0], id[1], (id[2], 3));
                let state = State::new(seed, step);
                let case = |label: &str, command, state: State| Case {
                    label: format!("draw {law:?} {n} from {label}{first}"),
                    command,
                    buffers: vec![state.words(), table.clone(), values(n + 4, 1)],
                    expect: vec![(2, want.clone())],
                    exact: matches!(law, Law::Index { .. }),
                    tolerance: 1e-6,
                };
                // What the state says is ignored by a command with a start of its own.
                out.push(case("", fixed, state.from_element(if n == 7 { 5 } else { 0 })));
                if matches!(law, Law::Normal | Law::Index { .. }) {
                    let command = continued(law, n, stream, id[0], id[1], (id[2], 3));
                    out.push(case("the state's ", command, state.from_element(first)));
                }
            }
        }
    }
    out
}

/// Normals of several keys: each group is the sequence of its own key from element 0.
fn keyed_cases() -> Vec<Case> {
    let stream = 1;
    let mut out = Vec::new();
    for groups in [1, 2, 7, 33] {
        for n in SIZES {
            let keys: Vec<[u64; 2]> =
                (0..groups as u64).map(|g| [0x9_0000_0003 + g * g, (g << 33) + 5 * g]).collect();
            let normal = |[seed, step]: [u64; 2], e: u64| {
                let word = |e: u64| philox4x32(counter(e / 4, step), key(seed, stream))[(e % 4) as usize];
                let uniform = |e: u64| (f64::from(word(e) >> 9) + 0.5) / 8_388_608.0;
                let radius = (-2.0 * uniform(e - e % 2).ln()).sqrt();
                let (sin, cos) = (std::f64::consts::TAU * uniform(e - e % 2 + 1)).sin_cos();
                radius * if e.is_multiple_of(2) { cos } else { sin }
            };
            let mut want = vec![f64::NAN; groups * n + 4];
            for (i, want) in want[3..3 + groups * n].iter_mut().enumerate() {
                *want = normal(keys[i / n], (i % n) as u64);
            }
            let words: Vec<f32> = keys
                .iter()
                .flat_map(|[seed, step]| State::new(*seed, *step).words()[..KEY].to_vec())
                .collect();
            let id = [0, 1, 2].map(BufferId);
            out.push(Case {
                label: format!("draw {groups} keys, {n} normals each"),
                command: keyed(Law::Normal, [groups, n], stream, id[0], id[1], (id[2], 3)),
                buffers: vec![words, vec![0.0; 4], values(groups * n + 4, 1)],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
