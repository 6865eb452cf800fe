//! Affine normalisation of observations and action chunks.

mod fit;

use serde::{Deserialize, Serialize};

use crate::data::DataError;
pub use crate::data::NormKind;
pub use fit::Fitted;

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

/// What shares one offset and scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every dimension has its own, the same at all steps of a chunk.
    PerDim,
    /// Every (step, dimension) of a chunk has its own.
    PerStep,
}

/// normalised = (x - offset) * scale; x = normalised / scale + offset. A column of scale 0 carries nothing: its normalised
/// value is 0, and denormalised it is its offset, whatever the network says. Columns that never change, or only by rounding,
/// are fitted so. What lies beyond the clip, where there is one, is normalised to the clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// The formula that was fitted.
    pub kind: NormKind,
    /// What shares a statistic.
    pub scope: Scope,
    /// `[dims]` or [horizon, dims], in data units.
    pub offset: Vec<f32>,
    /// `[dims]` or [horizon, dims], in 1 / data units, not negative; 0: the column carries nothing.
    pub scale: Vec<f32>,
    /// As many as offsets, in normalised units: the largest |normalised value| that the network sees of the column. Empty: no
    /// limit, as of checkpoints that were written before there was one. Of observations only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clip: Vec<f32>,
}

impl Normalizer {
    /// Whether the map can be used: as many offsets as scales, at least one, all finite, no scale negative. To be called on
    /// statistics from a file.
    ///
    /// # Errors
    /// [`NormError`] naming the first fault.
    pub fn check(&self) -> Result<(), NormError> {
        if self.offset.is_empty() || self.offset.len() != self.scale.len() {
            let what = "normaliser scales (as many as offsets, at least 1)";
            return Err(NormError::Count { what, found: self.scale.len(), needed: self.offset.len().max(1) });
        }
        if !self.clip.is_empty() && self.clip.len() != self.offset.len() {
            let what = "normaliser clips (none, or as many as offsets)";
            return Err(NormError::Count { what, found: self.clip.len(), needed: self.offset.len() });
        }
        finite("offset", &self.offset)?;
        not_negative("scale", &self.scale)?;
        not_negative("clip", &self.clip)
    }

    /// Normalises [rows, dims] or [rows, horizon, dims] in place, and limits what lies beyond the clip. [`Scope::PerStep`] takes
    /// whole chunks only.
    ///
    /// # Errors
    /// [`NormError`] if the data is not whole rows or the statistics fail [`Normalizer::check`].
    pub fn normalize(&self, data: &mut [f32]) -> Result<(), NormError> {
        self.apply(data, |x, offset, scale| if scale == 0.0 { 0.0 } else { (x - offset) * scale })?;
        if !self.clip.is_empty() {
            for row in data.chunks_exact_mut(self.clip.len()) {
                row.iter_mut().zip(&self.clip).for_each(|(x, clip)| *x = x.clamp(-clip, *clip));
            }
        }
        Ok(())
    }

    /// Undoes [`Normalizer::normalize`] in place, but for what was clipped; columns of scale 0 become their offset.
    ///
    /// # Errors
    /// As [`Normalizer::normalize`].
    pub fn denormalize(&self, data: &mut [f32]) -> Result<(), NormError> {
        self.apply(data, denormalized)
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
    /// for [`Scope::PerStep`]. A log density in data units is the one in normalised units plus this. Columns of scale 0 have
    /// no density in data units and are left out: the sum is that of the other columns' units.
    pub fn log_abs_det(&self) -> f64 {
        log_abs_det(&self.scale)
    }

    /// [`Normalizer::log_abs_det`] of a whole chunk of `horizon` steps, whatever the scope.
    pub fn log_abs_det_chunk(&self, horizon: usize) -> f64 {
        match self.scope {
            Scope::PerDim => horizon as f64 * self.log_abs_det(),
            Scope::PerStep => self.log_abs_det(),
        }
    }
}

fn not_negative(what: &'static str, values: &[f32]) -> Result<(), NormError> {
    match values.iter().position(|value| !(value.is_finite() && *value >= 0.0)) {
        Some(index) => {
            let (value, needed) = (values[index], "a finite number, not negative");
            Err(NormError::Statistic { what, index, value, needed })
        }
        None => Ok(()),
    }
}

/// A normalised value in data units.
pub(super) fn denormalized(x: f32, offset: f32, scale: f32) -> f32 {
    if scale == 0.0 { offset } else { x / scale + offset }
}

/// Sum of ln scale over the columns that carry something.
pub(super) fn log_abs_det(scales: &[f32]) -> f64 {
    scales.iter().filter(|scale| **scale != 0.0).map(|&scale| f64::from(scale.abs()).ln()).sum()
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
