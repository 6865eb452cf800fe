//! Affine normalisation of observations and action chunks.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::relative::RelativeTo;
use crate::data::{DataError, Episodes, Windows};

/// Why statistics cannot be fitted or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NormError {
    /// A count does not match what it must.
    #[error("{what}: found {found}, needed {needed}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be, or what must divide them.
        needed: usize,
    },
    /// An action is relative to an observation dimension that does not exist.
    #[error(
        "relative_to of action dimension {action}: found observation dimension {found}, needed one below {obs_dim}"
    )]
    RelativeTo {
        /// The action dimension.
        action: usize,
        /// The observation dimension named.
        found: usize,
        /// Observation dimensions there are.
        obs_dim: usize,
    },
    /// A statistic cannot be used.
    #[error("normaliser {what} at {index}: found {value}, needed {needed}")]
    Statistic {
        /// Offset, scale or data.
        what: &'static str,
        /// Its place in the list.
        index: usize,
        /// Its value.
        value: f32,
        /// What it may be.
        needed: &'static str,
    },
    /// The demonstrations do not serve.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// How statistics become an affine map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// 2 (x - min) / (max - min) - 1: to [-1, 1].
    MinMax,
    /// (x - mean) / (std + 1e-6), population standard deviation.
    MeanStd,
    /// 2 (x - q01) / (q99 - q01 + 1e-6) - 1, quantiles interpolated linearly as numpy's.
    Quantile,
    /// x.
    Identity,
}

/// What shares one offset and scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every dimension has its own, the same at all steps of a chunk.
    PerDim,
    /// Every (step, dimension) of a chunk has its own.
    PerStep,
}

/// normalised = (x - offset) * scale; x = normalised / scale + offset. A dimension that never changes, or only
/// by rounding, is centred and keeps scale 1. A quantile that spans nothing counts as such a dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// The formula that was fitted.
    pub kind: NormKind,
    /// What shares a statistic.
    pub scope: Scope,
    /// `[dims]` or [horizon, dims], in data units.
    pub offset: Vec<f32>,
    /// `[dims]` or [horizon, dims], positive, in 1 / data units.
    pub scale: Vec<f32>,
}

impl Normalizer {
    /// Fits rows [n, width]; width is dims, or horizon x dims for [`Scope::PerStep`]. Statistics are taken per column.
    ///
    /// # Errors
    /// [`NormError`] if there is no whole row or a value is not finite.
    pub fn fit_rows(kind: NormKind, scope: Scope, data: &[f32], width: usize) -> Result<Self, NormError> {
        if width == 0 || data.is_empty() || !data.len().is_multiple_of(width) {
            return Err(NormError::Count { what: "values to fit", found: data.len(), needed: width });
        }
        finite("data", data)?;
        let column = |at: usize| data.iter().skip(at).step_by(width).copied().collect();
        Self::fit_columns(kind, scope, width, column)
    }

    /// Fits observations over all rows of some episodes, per dimension.
    ///
    /// # Errors
    /// [`NormError`] if no episode is named or one does not exist.
    pub fn fit_obs(kind: NormKind, episodes: &Episodes, ids: &[usize]) -> Result<Self, NormError> {
        if ids.is_empty() {
            return Err(NormError::Count { what: "episodes to fit", found: 0, needed: 1 });
        }
        let rows: Result<Vec<_>, DataError> = ids.iter().map(|&episode| episodes.rows_of(episode)).collect();
        let (rows, dim) = (rows?, episodes.obs_dim());
        let column =
            |at: usize| rows.iter().cloned().flatten().map(|row| episodes.obs()[row * dim + at]).collect();
        Self::fit_columns(kind, Scope::PerDim, dim, column)
    }

    /// Fits the action chunks of windows, padded steps included, after making them relative.
    ///
    /// # Errors
    /// [`NormError`] if `relative_to` does not match the data.
    pub fn fit_actions(
        kind: NormKind,
        scope: Scope,
        windows: &Windows<'_>,
        relative_to: Option<&RelativeTo>,
    ) -> Result<Self, NormError> {
        let (episodes, horizon) = (windows.episodes(), windows.spec().horizon);
        let (obs_dim, dims) = (episodes.obs_dim(), episodes.action_dim());
        if let Some(relative) = relative_to {
            relative.check(obs_dim, dims)?;
        }
        let value = |entry: [u32; 3], step: usize, dim: usize| {
            let row = entry[0] as usize;
            let obs = &episodes.obs()[row * obs_dim..(row + 1) * obs_dim];
            windows.action_at(entry, step)[dim] - relative_to.map_or(0.0, |relative| relative.base(dim, obs))
        };
        let (columns, steps_together) = match scope {
            Scope::PerDim => (dims, horizon),
            Scope::PerStep => (horizon * dims, 1),
        };
        let column = |at: usize| {
            let (first, dim) = (at / dims, at % dims);
            let steps = first..first + steps_together;
            let table = windows.table().iter();
            table.flat_map(|&entry| steps.clone().map(move |step| value(entry, step, dim))).collect()
        };
        Self::fit_columns(kind, scope, columns, column)
    }

    /// The same, but for some columns of an action, which stay as they are.
    pub fn except(mut self, columns: &[usize], dims: usize) -> Self {
        for i in (0..self.offset.len()).filter(|i| columns.contains(&(i % dims.max(1)))) {
            (self.offset[i], self.scale[i]) = (0.0, 1.0);
        }
        self
    }

    /// A column at a time, so that a data set's chunks never lie in memory all at once.
    fn fit_columns(
        kind: NormKind,
        scope: Scope,
        columns: usize,
        column: impl Fn(usize) -> Vec<f32> + Sync,
    ) -> Result<Self, NormError> {
        let fit = |at: usize| match kind {
            NormKind::Identity => (0.0, 1.0),
            _ => fit(kind, column(at)),
        };
        let (offset, scale) = (0..columns).into_par_iter().map(fit).unzip();
        let fitted = Self { kind, scope, offset, scale };
        fitted.check()?;
        Ok(fitted)
    }

    /// Whether the map can be used: as many offsets as scales, at least one, all finite, scales positive. To be called on
    /// statistics from a file.
    ///
    /// # Errors
    /// [`NormError`] naming the first fault.
    pub fn check(&self) -> Result<(), NormError> {
        if self.offset.is_empty() || self.offset.len() != self.scale.len() {
            let what = "normaliser scales (as many as offsets, at least 1)";
            return Err(NormError::Count { what, found: self.scale.len(), needed: self.offset.len().max(1) });
        }
        finite("offset", &self.offset)?;
        match self.scale.iter().position(|scale| !(scale.is_finite() && *scale > 0.0)) {
            Some(index) => {
                let (value, needed) = (self.scale[index], "a finite positive number");
                Err(NormError::Statistic { what: "scale", index, value, needed })
            }
            None => Ok(()),
        }
    }

    /// Normalises [rows, dims] or [rows, horizon, dims] in place. [`Scope::PerStep`] takes whole chunks only.
    ///
    /// # Errors
    /// [`NormError`] if the data is not whole rows or the statistics fail [`Normalizer::check`].
    pub fn normalize(&self, data: &mut [f32]) -> Result<(), NormError> {
        self.apply(data, |x, offset, scale| (x - offset) * scale)
    }

    /// Undoes [`Normalizer::normalize`] in place.
    ///
    /// # Errors
    /// As [`Normalizer::normalize`].
    pub fn denormalize(&self, data: &mut [f32]) -> Result<(), NormError> {
        self.apply(data, |x, offset, scale| x / scale + offset)
    }

    fn apply(&self, data: &mut [f32], map: impl Fn(f32, f32, f32) -> f32) -> Result<(), NormError> {
        self.check()?;
        let width = self.offset.len();
        if !data.len().is_multiple_of(width) {
            return Err(NormError::Count { what: "values in whole rows", found: data.len(), needed: width });
        }
        for row in data.chunks_exact_mut(width) {
            for (x, (&offset, &scale)) in row.iter_mut().zip(self.offset.iter().zip(&self.scale)) {
                *x = map(*x, offset, scale);
            }
        }
        Ok(())
    }

    /// Sum of ln scale over the statistics: log |d normalised / d x| of one row `[dims]` for [`Scope::PerDim`], of one chunk
    /// for [`Scope::PerStep`]. A log density in data units is the one in normalised units plus this.
    pub fn log_abs_det(&self) -> f64 {
        self.scale.iter().map(|&scale| f64::from(scale).ln()).sum()
    }

    /// [`Normalizer::log_abs_det`] of a whole chunk of `horizon` steps, whatever the scope.
    pub fn log_abs_det_chunk(&self, horizon: usize) -> f64 {
        match self.scope {
            Scope::PerDim => horizon as f64 * self.log_abs_det(),
            Scope::PerStep => self.log_abs_det(),
        }
    }
}

/// A few units in the last place of an f32, relative.
const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;

/// Offset and scale of one column, which is finite and not empty.
fn fit(kind: NormKind, mut column: Vec<f32>) -> (f32, f32) {
    let (low, high) = column
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x.into()), high.max(x.into())));
    // What varies by no more than rounding is constant too: its scale would blow up what later differs.
    if high - low <= ROUNDING * low.abs().max(high.abs()) {
        return (((low + high) / 2.0) as f32, 1.0);
    }
    let (offset, scale) = match kind {
        NormKind::Identity => (0.0, 1.0),
        NormKind::MinMax => ((low + high) / 2.0, 2.0 / (high - low)),
        NormKind::MeanStd => {
            let count = column.len() as f64;
            let mean = column.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let variance = column.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
            (mean, 1.0 / (variance.sqrt() + 1e-6))
        }
        NormKind::Quantile => {
            column.sort_unstable_by(f32::total_cmp);
            let (low, high) = (quantile(&column, 0.01), quantile(&column, 0.99));
            // Most of the column is one value; 2 / 1e-6 would blow up the rest.
            if low == high {
                return (low as f32, 1.0);
            }
            let span = high - low + 1e-6;
            (low + span / 2.0, 2.0 / span)
        }
    };
    (offset as f32, scale as f32)
}

/// Linear interpolation between the two nearest of sorted values, as numpy's default.
fn quantile(sorted: &[f32], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let low = f64::from(sorted[below]);
    let high = f64::from(sorted[(below + 1).min(sorted.len() - 1)]);
    low + (high - low) * (at - below as f64)
}

fn finite(what: &'static str, values: &[f32]) -> Result<(), NormError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => {
            Err(NormError::Statistic { what, index, value: values[index], needed: "a finite number" })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "normalizer_tests.rs"]
mod tests;
