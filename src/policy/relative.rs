//! Actions relative to the newest observation.

use serde::{Deserialize, Serialize};

use super::normalizer::NormError;

/// For each action dimension, the raw observation dimension that is subtracted from it, or None for an absolute action.
/// The newest observation counts, so a whole chunk is relative to the same point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelativeTo(pub Vec<Option<usize>>);

impl RelativeTo {
    /// Checks against the data's dimensions.
    ///
    /// # Errors
    /// [`NormError`] if there is not one entry per action dimension, or one names no observation dimension.
    pub fn check(&self, obs_dim: usize, action_dim: usize) -> Result<(), NormError> {
        if self.0.len() != action_dim {
            let what = "relative_to entries (one per action dimension)";
            return Err(NormError::Count { what, found: self.0.len(), needed: action_dim });
        }
        match self.0.iter().position(|entry| entry.is_some_and(|dim| dim >= obs_dim)) {
            Some(action) => {
                Err(NormError::RelativeTo { action, found: self.0[action].unwrap_or_default(), obs_dim })
            }
            None => Ok(()),
        }
    }

    /// Makes one chunk [horizon, action_dim] relative to the raw observation `[obs_dim]`.
    ///
    /// # Errors
    /// [`NormError`] as [`RelativeTo::check`], or if the chunk is not whole rows.
    pub fn subtract(&self, chunk: &mut [f32], obs: &[f32]) -> Result<(), NormError> {
        self.shift(chunk, obs, |action, base| action - base)
    }

    /// Undoes [`RelativeTo::subtract`].
    ///
    /// # Errors
    /// As [`RelativeTo::subtract`].
    pub fn add(&self, chunk: &mut [f32], obs: &[f32]) -> Result<(), NormError> {
        self.shift(chunk, obs, |action, base| action + base)
    }

    /// What is subtracted from an action dimension, 0 where it is absolute. The entry must have been checked.
    pub(super) fn base(&self, action: usize, obs: &[f32]) -> f32 {
        self.0[action].map_or(0.0, |dim| obs[dim])
    }

    fn shift(&self, chunk: &mut [f32], obs: &[f32], by: impl Fn(f32, f32) -> f32) -> Result<(), NormError> {
        let dims = self.0.len();
        self.check(obs.len(), dims)?;
        if dims == 0 || !chunk.len().is_multiple_of(dims) {
            return Err(NormError::Count {
                what: "values per row of a chunk",
                found: chunk.len(),
                needed: dims,
            });
        }
        for row in chunk.chunks_exact_mut(dims) {
            for (action, value) in row.iter_mut().enumerate() {
                *value = by(*value, self.base(action, obs));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtracts_and_adds() {
        let relative = RelativeTo(vec![Some(2), None]);
        let mut chunk = [10.0, 20.0, 11.0, 21.0];
        relative.subtract(&mut chunk, &[0.0, 0.0, 4.0]).unwrap();
        assert_eq!(chunk, [6.0, 20.0, 7.0, 21.0]);
        relative.add(&mut chunk, &[0.0, 0.0, 4.0]).unwrap();
        assert_eq!(chunk, [10.0, 20.0, 11.0, 21.0]);
    }

    #[test]
    fn bad_entries_are_named() {
        let relative = RelativeTo(vec![None, Some(3)]);
        assert_eq!(
            relative.check(3, 2).unwrap_err().to_string(),
            "relative_to of action dimension 1: found observation dimension 3, needed one below 3"
        );
        assert!(matches!(relative.check(4, 3), Err(NormError::Count { found: 2, needed: 3, .. })));
        assert!(relative.subtract(&mut [0.0; 3], &[0.0; 4]).is_err());
        assert!(RelativeTo(vec![]).add(&mut [], &[]).is_err());
    }
}
