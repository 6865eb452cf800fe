use super::*;
use crate::data::{EpisodeArrays, Episodes, Finding, WindowSpec, Windows};
use crate::policy::RelativeTo;
use proptest::prelude::*;

fn one(kind: NormKind, data: &[f32]) -> (f32, f32) {
    let fitted = Normalizer::fit_rows(kind, Scope::PerDim, data, 1).unwrap();
    (fitted.offset[0], fitted.scale[0])
}

/// Two episodes of 3 and 2 steps: obs [t, 7], action [10 t, 1000 + t] at row t.
fn episodes() -> Episodes {
    Episodes::from_arrays(EpisodeArrays {
        obs: (0..5).flat_map(|t| [t as f32, 7.0]).collect(),
        action: (0..5).flat_map(|t| [10.0 * t as f32, 1000.0 + t as f32]).collect(),
        obs_dim: 2,
        action_dim: 2,
        lengths: vec![3, 2],
        ..EpisodeArrays::default()
    })
    .unwrap()
}

#[test]
fn formulas_hold() {
    assert_eq!(one(NormKind::MinMax, &[-1.0, 3.0, 0.0]), (1.0, 0.5));
    assert_eq!(one(NormKind::MeanStd, &[1.0, 3.0]), (2.0, 1.0));
    assert_eq!(one(NormKind::Identity, &[5.0, 9.0]), (0.0, 1.0));
    // numpy: quantile(arange(11), [.01, .99]) = [0.1, 9.9]
    let ramp: Vec<f32> = (0..11).rev().map(|n| n as f32).collect();
    let (offset, scale) = one(NormKind::Quantile, &ramp);
    assert!((offset - 5.0).abs() < 1e-6 && (scale - (2.0 / 9.8) as f32).abs() < 1e-7);
}

#[test]
fn constant_dimensions_carry_nothing_and_come_out_exactly() {
    for kind in [NormKind::MinMax, NormKind::MeanStd, NormKind::Quantile] {
        assert_eq!(one(kind, &[0.1; 7]), (0.1, 0.0));
        assert_eq!(one(kind, &[-4.0]), (-4.0, 0.0));
        let fitted = Normalizer::fit_rows(kind, Scope::PerDim, &[0.0, 0.04, 1200.0, 1.0], 4).unwrap();
        let mut said = [0.7, -3.0, f32::NAN, 5.0];
        fitted.denormalize(&mut said).unwrap();
        assert_eq!(said, [0.0, 0.04, 1200.0, 1.0]);
        fitted.normalize(&mut said).unwrap();
        assert_eq!(said, [0.0; 4]);
        assert_eq!(fitted.log_abs_det(), 0.0);
    }
    assert_eq!(one(NormKind::Identity, &[0.1; 7]), (0.0, 1.0));
    // One unit in the last place is rounding, a thousandth is not.
    let next = f32::from_bits(0.1f32.to_bits() + 1);
    assert_eq!(one(NormKind::MeanStd, &[0.1, next]).1, 0.0);
    assert!(one(NormKind::MeanStd, &[0.1, 0.1001]).1 > 1e3);
}

/// A swing with a rare, far value in it.
fn swing(far: f32) -> Vec<f32> {
    (0..1000).map(|t| if t == 77 { far } else { (t as f32 * 0.01).sin() }).collect()
}

#[test]
fn the_choice_of_units_changes_nothing() {
    for kind in [NormKind::MinMax, NormKind::MeanStd, NormKind::Quantile] {
        for far in [1.0, 30.0, 1e4] {
            let data = swing(far);
            let normal = |data: &[f32]| {
                let mut data = data.to_vec();
                Normalizer::fit_rows(kind, Scope::PerDim, &data, 1).unwrap().normalize(&mut data).unwrap();
                data
            };
            let want = normal(&data);
            for unit in [2f32.powi(-27), 2f32.powi(20)] {
                let there: Vec<f32> = data.iter().map(|x| x * unit).collect();
                assert_eq!(normal(&there), want, "{kind:?} {unit}: bit for bit");
            }
            for unit in [1e-8, 1e6] {
                let there: Vec<f32> = data.iter().map(|x| x * unit).collect();
                for (a, b) in normal(&there).iter().zip(&want) {
                    assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{kind:?} {unit}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn quantiles_next_to_each_other_give_way_to_the_range() {
    let mut mostly = vec![3.0; 1000];
    mostly[0] = 9.0;
    assert_eq!(one(NormKind::Quantile, &mostly), one(NormKind::MinMax, &mostly));
    // Noise of 1e-6 with a few steps of 1.
    let mut rare: Vec<f32> = (0..1000).map(|t| 1e-6 * (t as f32 * 1.7).sin()).collect();
    (rare[3], rare[500]) = (1.0, -1.0);
    assert_eq!(one(NormKind::Quantile, &rare), (0.0, 1.0));
    assert_ne!(one(NormKind::Quantile, &swing(10.0)), one(NormKind::MinMax, &swing(10.0)));
}

#[test]
fn a_span_that_f32_cannot_scale_is_an_error_not_an_infinity() {
    let tiny = Normalizer::fit_rows(NormKind::MinMax, Scope::PerDim, &[0.0, f32::from_bits(1)], 1);
    assert!(matches!(tiny, Err(NormError::Statistic { what: "scale", .. })));
    assert_eq!(one(NormKind::MinMax, &[f32::MIN, f32::MAX]).0, 0.0);
}

#[test]
fn observations_are_fitted_over_the_episodes_named() {
    let fitted = Normalizer::fit_obs(NormKind::MinMax, &episodes(), &[1]).unwrap();
    assert_eq!((fitted.normalizer.offset, fitted.normalizer.scale), (vec![3.5, 7.0], vec![2.0, 0.0]));
    let [found] = &fitted.findings[..] else { panic!("{:?}", fitted.findings) };
    assert_eq!((found.array, found.index, found.finding), ("obs", 1, Finding::Constant { value: 7.0 }));
    assert!(matches!(Normalizer::fit_obs(NormKind::MinMax, &episodes(), &[]), Err(NormError::Count { .. })));
    assert!(matches!(Normalizer::fit_obs(NormKind::MinMax, &episodes(), &[2]), Err(NormError::Data(_))));
}

#[test]
fn chunks_are_fitted_relative_per_step_or_per_dimension() {
    let episodes = episodes();
    let spec = WindowSpec { history: 1, horizon: 2, action_offset: 0, pad_after: 0 };
    let windows = Windows::new(&episodes, &[0], &spec).unwrap();
    // Chunks at t = 0, 1: [0, 1000], [10, 1001] and [10, 1001], [20, 1002]; dimension 0 loses t.
    let relative = RelativeTo(vec![Some(0), None]);
    let fit = |scope| {
        Normalizer::fit_actions(NormKind::MinMax, scope, &windows, Some(&relative)).unwrap().normalizer
    };
    let per_step = fit(Scope::PerStep);
    assert_eq!(per_step.offset, [4.5, 1000.5, 14.5, 1001.5]);
    assert_eq!(per_step.scale, [2.0 / 9.0, 2.0, 2.0 / 9.0, 2.0]);
    let per_dim = fit(Scope::PerDim);
    assert_eq!((per_dim.offset, per_dim.scale), (vec![9.5, 1001.0], vec![2.0 / 19.0, 1.0]));
    let wrong = RelativeTo(vec![Some(2), None]);
    let error = Normalizer::fit_actions(NormKind::MinMax, Scope::PerDim, &windows, Some(&wrong));
    assert!(matches!(error, Err(NormError::RelativeTo { action: 0, found: 2, obs_dim: 2 })));
}

#[test]
fn fitting_windows_is_fitting_their_gathered_chunks() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pusht.npz");
    let episodes = Episodes::load_npz(path, &crate::data::DataSpec::default()).unwrap();
    let spec = WindowSpec { history: 2, horizon: 16, action_offset: 0, pad_after: 7 };
    let windows = Windows::new(&episodes, &[3, 1, 20], &spec).unwrap();
    let relative = RelativeTo(vec![Some(0), Some(1)]);
    let mut chunks = vec![0.0; windows.count() * 32];
    for (window, chunk) in chunks.chunks_exact_mut(32).enumerate() {
        windows.gather_actions(window, chunk).unwrap();
        relative.subtract(chunk, windows.newest_obs(window).unwrap()).unwrap();
    }
    for kind in [NormKind::MinMax, NormKind::MeanStd, NormKind::Quantile, NormKind::Identity] {
        for (scope, width) in [(Scope::PerStep, 32), (Scope::PerDim, 2)] {
            let fitted = Normalizer::fit_actions(kind, scope, &windows, Some(&relative)).unwrap();
            assert_eq!(fitted.normalizer, Normalizer::fit_rows(kind, scope, &chunks, width).unwrap());
        }
    }
    let fitted = Normalizer::fit_rows(NormKind::MeanStd, Scope::PerStep, &chunks, 32).unwrap();
    fitted.normalize(&mut chunks).unwrap();
    for at in 0..32 {
        let column: Vec<f64> = chunks.iter().skip(at).step_by(32).map(|&x| x.into()).collect();
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }
}

#[test]
fn log_determinants_follow_the_scope() {
    let per_step = Normalizer {
        kind: NormKind::MinMax,
        scope: Scope::PerStep,
        offset: vec![0.0; 4],
        scale: vec![1.0, 2.0, 4.0, 8.0],
        clip: vec![],
    };
    // A column that carries nothing is left out.
    let one_less = Normalizer { scale: vec![1.0, 0.0, 4.0, 8.0], ..per_step.clone() };
    let ln2 = std::f64::consts::LN_2;
    assert!((per_step.log_abs_det() - 6.0 * ln2).abs() < 1e-12);
    assert!((per_step.log_abs_det_chunk(2) - 6.0 * ln2).abs() < 1e-12);
    assert!((one_less.log_abs_det() - 5.0 * ln2).abs() < 1e-12);
    let per_dim = Normalizer { scope: Scope::PerDim, ..per_step };
    assert!((per_dim.log_abs_det_chunk(3) - 18.0 * ln2).abs() < 1e-12);
}

#[test]
fn bad_statistics_and_data_are_named() {
    let good = Normalizer::fit_rows(NormKind::MinMax, Scope::PerDim, &[0.0, 1.0, 2.0, 5.0], 2).unwrap();
    let fault = |change: fn(&mut Normalizer)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.normalize(&mut [0.0; 2]).is_err());
        bad.check().unwrap_err().to_string()
    };
    assert_eq!(
        fault(|n| n.scale[1] = -0.5),
        "normaliser scale at 1: found -0.5, needed a finite number, not negative"
    );
    assert_eq!(
        fault(|n| n.offset[0] = f32::NAN),
        "normaliser offset at 0: found NaN, needed a finite number"
    );
    assert!(fault(|n| n.clip = vec![1.0]).ends_with("found 1, needed 2"));
    assert!(fault(|n| n.clip = vec![1.0, -1.0]).contains("clip at 1: found -1"));
    assert!(fault(|n| n.scale.truncate(1)).ends_with("found 1, needed 2"));
    assert!(fault(|n| (n.offset, n.scale) = (vec![], vec![])).ends_with("found 0, needed 1"));
    assert!(matches!(good.normalize(&mut [0.0; 3]), Err(NormError::Count { found: 3, needed: 2, .. })));
    let fit = |data: &[f32], width| Normalizer::fit_rows(NormKind::MinMax, Scope::PerDim, data, width);
    assert!(matches!(fit(&[], 1), Err(NormError::Count { .. })));
    assert!(matches!(fit(&[1.0], 0), Err(NormError::Count { .. })));
    assert!(matches!(fit(&[1.0; 3], 2), Err(NormError::Count { .. })));
    assert!(matches!(fit(&[1.0, f32::NAN], 1), Err(NormError::Statistic { what: "data", index: 1, .. })));
}

#[test]
fn a_clip_is_a_share_of_what_was_demonstrated() {
    let fitted = Normalizer::fit_obs(NormKind::MeanStd, &episodes(), &[0, 1]).unwrap();
    let largest = fitted.largest[0];
    assert!((largest - 2f32.sqrt()).abs() < 1e-6, "{largest}");
    let clipped = fitted.clone().clipped(1.5).normalizer;
    assert_eq!(clipped.clip, [1.5 * largest, 0.0]);
    let mut data = [4.0, 7.0, 1e9, -50.0, -1e9, 7.0];
    clipped.normalize(&mut data).unwrap();
    assert_eq!(data, [largest, 0.0, 1.5 * largest, 0.0, -1.5 * largest, 0.0]);
    assert_eq!(fitted.clone().clipped(0.0), fitted);
    // Checkpoints of before have no clip, and say none.
    let text = serde_json::to_string(&fitted.normalizer).unwrap();
    assert!(!text.contains("clip"), "{text}");
    assert_eq!(serde_json::from_str::<Normalizer>(&text).unwrap(), fitted.normalizer);
}

#[test]
fn kinds_are_snake_case() {
    let text = serde_json::to_string(&(NormKind::MeanStd, Scope::PerStep)).unwrap();
    assert_eq!(text, r#"["mean_std","per_step"]"#);
}

proptest! {
    #[test]
    fn denormalising_undoes_normalising(
        data in prop::collection::vec(-1000.0f32..1000.0, 6..120), kind in 0usize..4,
    ) {
        let kind = [NormKind::MinMax, NormKind::MeanStd, NormKind::Quantile, NormKind::Identity][kind];
        let data = &data[..data.len() / 3 * 3];
        let fitted = Normalizer::fit_rows(kind, Scope::PerDim, data, 3).unwrap();
        let mut there = data.to_vec();
        fitted.normalize(&mut there).unwrap();
        if kind == NormKind::MinMax {
            prop_assert!(there.iter().all(|x| x.abs() <= 1.0 + 1e-5));
        }
        fitted.denormalize(&mut there).unwrap();
        for (back, x) in there.iter().zip(data) {
            prop_assert!((back - x).abs() < 2e-3, "{back} {x}");
        }
    }
}
