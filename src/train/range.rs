//! The range of every number of a run's configuration that is the run's own: the optimiser, its schedule and average, the law of the
//! training times. What is stored with the policy (network, encoder, path, objective) has its ranges where it is defined.

use super::config::{EmaSpec, RunConfig};
use super::{Result, TrainError};
use crate::flow::TimeLaw;

/// A setting, its value, whether that is in its range, and the range in words.
type Range = (&'static str, f64, bool, &'static str);

/// Checks every number.
pub(super) fn check(config: &RunConfig) -> Result<()> {
    let part = "a number in [0, 1)";
    // Kernels have f32: 0.99999999 is 1 there.
    let below_one = |v: f64| (0.0..1.0).contains(&v) && (v as f32) < 1.0;
    let o = &config.optimizer;
    let lr = f64::from(o.lr);
    let mut ranges: Vec<Range> = vec![
        ("optimizer.lr", lr, lr.is_finite() && lr > 0.0, "a positive number"),
        ("optimizer.beta1", o.beta1, below_one(o.beta1), part),
        ("optimizer.beta2", o.beta2, below_one(o.beta2), part),
        ("optimizer.eps", o.eps, (1e-30..=1.0).contains(&o.eps), "a number from 1e-30 to 1"),
        (
            "optimizer.weight_decay",
            o.weight_decay,
            (0.0..=100.0).contains(&o.weight_decay),
            "a number from 0 to 100 (each step takes lr times this part of the weights away)",
        ),
        ("optimizer.clip", o.clip.into(), o.clip.is_finite() && o.clip >= 0.0, "a number, at least 0"),
        (
            "obs_clip",
            config.obs_clip.into(),
            config.obs_clip == 0.0 || (config.obs_clip.is_finite() && config.obs_clip >= 1.0),
            "a number, at least 1, or 0 for no limit",
        ),
        ("validation_fraction", config.validation_fraction, below_one(config.validation_fraction), part),
    ];
    match o.ema {
        EmaSpec::Constant { decay } => {
            ranges.push(("optimizer.ema.decay", decay.into(), below_one(decay.into()), part));
        }
        EmaSpec::Power { power, max } => {
            let fine = (0.0..=10.0).contains(&power);
            ranges.push(("optimizer.ema.power", power.into(), fine, "a number from 0 to 10"));
            ranges.push(("optimizer.ema.max", max.into(), below_one(max.into()), part));
        }
    }
    match config.time_law {
        TimeLaw::Uniform | TimeLaw::CosMap => {}
        TimeLaw::LogitNormal { mean, sd } => {
            // Beyond this every time is 0 or 1 in f32.
            let wide = "a number from -16 to 16";
            ranges.push(("time_law.mean", mean.into(), (-16.0..=16.0).contains(&mean), wide));
            let fine = sd > 0.0 && sd <= 16.0;
            ranges.push(("time_law.sd", sd.into(), fine, "a number above 0, at most 16"));
        }
        TimeLaw::Beta { a, b, scale, shift } => {
            let (shape, unit) = (0.01..=1000.0, -1e-6..=1.0 + 1e-6);
            let ends = "a number in [0, 1], as shift + scale must be: times run from 0 (noise) to 1 (action)";
            ranges.push(("time_law.a", a, shape.contains(&a), "a number from 0.01 to 1000"));
            ranges.push(("time_law.b", b, shape.contains(&b), "a number from 0.01 to 1000"));
            ranges.push(("time_law.shift", shift.into(), unit.contains(&f64::from(shift)), ends));
            let end = f64::from(shift) + f64::from(scale);
            ranges.push(("time_law.shift + time_law.scale", end, unit.contains(&end), ends));
        }
    }
    match ranges.into_iter().find(|(_, _, fine, _)| !fine) {
        Some((what, found, _, needed)) => Err(TrainError::Setting { what, found: found.to_string(), needed }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(toml: &str) -> Option<String> {
        let config: RunConfig = toml::from_str(toml).unwrap();
        config.check().err().map(|e| e.to_string())
    }

    #[test]
    fn numbers_out_of_their_range_are_named() {
        for (toml, what) in [
            ("optimizer = { ema = { kind = \"constant\", decay = 1.5 } }", "optimizer.ema.decay: found 1.5"),
            ("optimizer = { ema = { kind = \"constant\", decay = 1 } }", "optimizer.ema.decay: found 1"),
            ("optimizer = { ema = { kind = \"constant\", decay = -0.1 } }", "optimizer.ema.decay"),
            ("optimizer = { ema = { kind = \"power\", power = -1, max = 0.9 } }", "optimizer.ema.power"),
            ("optimizer = { ema = { kind = \"power\", power = 0.75, max = 1.5 } }", "optimizer.ema.max"),
            ("optimizer = { eps = -1 }", "optimizer.eps: found -1, needed a number from"),
            ("optimizer = { eps = 0 }", "optimizer.eps"),
            ("optimizer = { eps = inf }", "optimizer.eps"),
            ("optimizer = { weight_decay = -5 }", "optimizer.weight_decay: found -5"),
            ("optimizer = { weight_decay = nan }", "optimizer.weight_decay: found NaN"),
            ("optimizer = { lr = 0 }", "optimizer.lr"),
            ("optimizer = { lr = -1e-3 }", "optimizer.lr"),
            ("optimizer = { lr = nan }", "optimizer.lr"),
            ("optimizer = { lr = 1e39 }", "optimizer.lr"),
            ("optimizer = { beta1 = 1 }", "optimizer.beta1"),
            ("optimizer = { beta2 = 0.99999999999 }", "optimizer.beta2"),
            ("optimizer = { beta2 = -0.5 }", "optimizer.beta2"),
            ("optimizer = { clip = -1 }", "optimizer.clip"),
            ("optimizer = { clip = inf }", "optimizer.clip"),
            ("validation_fraction = 1", "validation_fraction"),
            ("validation_fraction = -0.1", "validation_fraction"),
            ("time_law = { kind = \"logit_normal\", mean = nan, sd = 1 }", "time_law.mean"),
            ("time_law = { kind = \"logit_normal\", mean = 100, sd = 1 }", "time_law.mean"),
            ("time_law = { kind = \"logit_normal\", mean = 0, sd = 0 }", "time_law.sd"),
            ("time_law = { kind = \"logit_normal\", mean = 0, sd = -1 }", "time_law.sd"),
            ("time_law = { kind = \"beta\", a = 0, b = 1, scale = 1, shift = 0 }", "time_law.a"),
            ("time_law = { kind = \"beta\", a = 1, b = inf, scale = 1, shift = 0 }", "time_law.b"),
            ("time_law = { kind = \"beta\", a = 1, b = 1, scale = 2, shift = 0 }", "time_law.scale: found 2"),
            (
                "time_law = { kind = \"beta\", a = 1, b = 1, scale = 1, shift = -3 }",
                "time_law.shift: found -3",
            ),
            ("path = { kind = \"ot\", sigma_min = -1 }", "sigma"),
            ("path = { kind = \"independent\", sigma = nan }", "sigma"),
            ("coupling = { kind = \"sinkhorn\", reg = -1, iterations = 10, condition_weight = 1 }", "reg"),
            ("batch_size = 0", "batch_size"),
            ("history = 0", "history"),
            ("horizon = 0", "horizon"),
            ("log_every = 0", "log_every"),
            ("steps = 0", "steps"),
            ("encoder = { kind = \"mlp\", widths = [0], activation = \"silu\" }", "encoder.widths"),
            (
                "network = { kind = \"mlp\", hidden = [0], activation = \"silu\", time = { kind = \"raw\" }, conditioning = \"concat\" }",
                "width",
            ),
        ] {
            let text = refusal(toml).unwrap_or_else(|| panic!("{toml} is taken"));
            assert!(text.contains(what) && text.contains("needed"), "{toml}: {text}");
        }
    }

    #[test]
    fn what_the_field_uses_is_taken() {
        for toml in [
            "",
            "optimizer = { ema = { kind = \"constant\", decay = 0 }, weight_decay = 0, clip = 0, beta1 = 0, eps = 1e-15 }",
            "optimizer = { ema = { kind = \"power\", power = 0.75, max = 0.9999 }, eps = 1e-3, weight_decay = 0.1 }",
            "time_law = { kind = \"beta\", a = 1.5, b = 1, scale = -0.999, shift = 0.999 }",
            "time_law = { kind = \"logit_normal\", mean = -0.4, sd = 1.0 }",
            "validation_fraction = 0",
        ] {
            assert_eq!(refusal(toml), None, "{toml}");
        }
    }
}
