//! Limits from demonstrations.

use super::SafetySpec;
use crate::control::{ControlError, Result};
use crate::data::Episodes;
use crate::policy::Angles;
use crate::policy::angles::wrapped;

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
    /// Where actions are angles, [`SafetySpec::fit_angles`] is needed: here a number that jumps where it is cut counts as speed.
    ///
    /// # Errors
    /// [`ControlError::Setting`] for options out of range, or where no episode is long enough (4 steps) to show a jerk.
    pub fn fit(episodes: &Episodes, rate_hz: f64, options: &FitOptions) -> Result<SafetySpec> {
        SafetySpec::fit_angles(episodes, None, rate_hz, options)
    }

    /// As [`SafetySpec::fit`], with a policy's angles: they turn by the shorter way round from one action to the next, and their bounds are
    /// the arc that was demonstrated, which may lie over the cut; a turn or more where that is all of it.
    ///
    /// # Errors
    /// As [`SafetySpec::fit`].
    pub fn fit_angles(
        episodes: &Episodes,
        angles: Option<&Angles>,
        rate_hz: f64,
        options: &FitOptions,
    ) -> Result<SafetySpec> {
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
            // Angles that count turns have no cut.
            let cut =
                angles.and_then(|a| a.action.iter().find(|angle| angle.dim == d && angle.centre.is_some()));
            let turn = cut.and(angles).map(|a| a.unit.turn());
            let values = |order: usize| differences(episodes, d, order, turn);
            let mut range = values(0);
            if let (Some(turn), Some(centre)) = (turn, cut.and_then(|angle| angle.centre)) {
                around_the_gap(&mut range, turn, centre.into());
            }
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

/// Puts angles into the turn that begins and ends in the middle of the widest arc without any, of which the values lie as near to
/// `centre` as they can.
fn around_the_gap(values: &mut [f64], turn: f64, centre: f64) {
    values.iter_mut().for_each(|x| *x = wrapped(*x, centre, turn));
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return };
    // The gap over the cut, and those between neighbours.
    let mut widest = (first + turn - last, 0.5 * (first + turn + last));
    for pair in sorted.windows(2) {
        if pair[1] - pair[0] > widest.0 {
            widest = (pair[1] - pair[0], 0.5 * (pair[0] + pair[1]));
        }
    }
    // All of the turn was demonstrated: no arc is forbidden.
    let middle = if widest.0 < 0.02 * turn { centre } else { wrapped(widest.1 + 0.5 * turn, centre, turn) };
    values.iter_mut().for_each(|x| *x = wrapped(*x, middle, turn));
}

/// Differences of the given order of one dimension, within episodes; of an angle, by the shorter way round.
fn differences(episodes: &Episodes, d: usize, order: usize, turn: Option<f64>) -> Vec<f64> {
    let dim = episodes.action_dim();
    let mut all = Vec::new();
    for (&start, &length) in episodes.starts().iter().zip(episodes.lengths()) {
        let rows = episodes.action()[start * dim..][..length * dim].chunks_exact(dim);
        let mut values: Vec<f64> = rows.map(|row| f64::from(row[d])).collect();
        for o in 0..order {
            values = values.windows(2).map(|w| w[1] - w[0]).collect();
            if let (Some(turn), 0) = (turn, o) {
                values.iter_mut().for_each(|by| *by = wrapped(*by, 0.0, turn));
            }
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
