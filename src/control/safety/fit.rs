//! Limits from demonstrations.

use super::SafetySpec;
use crate::control::{ControlError, Result};
use crate::data::Episodes;

/// How limits are read off demonstrations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitOptions {
    /// The part of the demonstrated values that lies within a limit before the margin: 1 for all, less to leave out
    /// outliers.
    pub quantile: f64,
    /// How far beyond that a limit is: of bounds a part of their range, of rates a part of themselves.
    pub margin: f64,
}

impl Default for FitOptions {
    fn default() -> FitOptions {
        FitOptions { quantile: 0.999, margin: 0.25 }
    }
}

impl SafetySpec {
    /// Limits that the demonstrated actions keep, but for outliers, with a margin. Rates are differences of successive
    /// actions within an episode. A dimension that never moves gets limits near the smallest that f32 can show.
    ///
    /// # Errors
    /// [`ControlError::Setting`] for options out of range, or where no episode is long enough (4 steps) to show a jerk.
    pub fn fit(episodes: &Episodes, rate_hz: f64, options: &FitOptions) -> Result<SafetySpec> {
        let setting = |what, found: String, needed: &str| {
            Err(ControlError::Setting { what, found, needed: needed.into() })
        };
        if !(options.quantile > 0.5 && options.quantile <= 1.0) {
            return setting("quantile", options.quantile.to_string(), "above 0.5, up to 1");
        }
        if !(options.margin >= 0.0 && options.margin <= 100.0) {
            return setting("margin", options.margin.to_string(), "0 to 100");
        }
        let longest = episodes.lengths().iter().copied().max().unwrap_or(0);
        if longest < 4 {
            return setting("the longest episode", longest.to_string(), "at least 4 steps");
        }
        let dim = episodes.action_dim();
        let mut spec = SafetySpec::new(rate_hz);
        for d in 0..dim {
            let values = |order: usize| differences(episodes, d, order);
            let mut range = values(0);
            let (low, high) =
                (quantile(&mut range, 1.0 - options.quantile), quantile(&mut range, options.quantile));
            let rounding = f64::from(f32::EPSILON) * 64.0 * low.abs().max(high.abs());
            let size = rounding.max(f32::MIN_POSITIVE.into());
            let room = (options.margin * (high - low)).max(size);
            spec.low.push((low - room) as f32);
            spec.high.push((high + room) as f32);
            let rate = |order: usize| {
                let mut rates: Vec<f64> = values(order).iter().map(|v| v.abs()).collect();
                let most = quantile(&mut rates, options.quantile) * (1.0 + options.margin);
                (most.max(size) * rate_hz.powi(order as i32)) as f32
            };
            spec.velocity.push(rate(1));
            spec.acceleration.push(rate(2));
            spec.jerk.push(rate(3));
        }
        spec.check(dim)?;
        Ok(spec)
    }
}

/// Differences of the given order of one dimension, within episodes.
fn differences(episodes: &Episodes, d: usize, order: usize) -> Vec<f64> {
    let dim = episodes.action_dim();
    let mut all = Vec::new();
    for (&start, &length) in episodes.starts().iter().zip(episodes.lengths()) {
        let rows = episodes.action()[start * dim..][..length * dim].chunks_exact(dim);
        let mut values: Vec<f64> = rows.map(|row| f64::from(row[d])).collect();
        for _ in 0..order {
            values = values.windows(2).map(|w| w[1] - w[0]).collect();
        }
        all.extend(values);
    }
    all
}

/// The value at a fraction of the way through the sorted values.
fn quantile(values: &mut [f64], fraction: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = fraction * (values.len().max(1) - 1) as f64;
    let at = if fraction > 0.5 { at.ceil() } else { at.floor() };
    values.get(at as usize).copied().unwrap_or(0.0)
}
