//! Demonstrations in memory, checked once so that nothing later needs to.

use super::error::DataError;
use super::inputs::ObsInput;

/// What [`Episodes::from_arrays`] takes: arrays whose episodes lie end to end.
#[derive(Clone, Debug, Default)]
pub struct EpisodeArrays {
    /// Observations [T, obs_dim], row-major.
    pub obs: Vec<f32>,
    /// Actions [T, action_dim], row-major.
    pub action: Vec<f32>,
    /// Values per observation.
    pub obs_dim: usize,
    /// The named inputs that an observation is put together from; none: one, [`ObsInput::STATE`].
    pub obs_inputs: Vec<ObsInput>,
    /// Values per action.
    pub action_dim: usize,
    /// Steps of each episode; they sum to T.
    pub lengths: Vec<usize>,
    /// Whether each episode succeeded, where known.
    pub success: Option<Vec<bool>>,
    /// Steps per second, where known.
    pub fps: Option<f64>,
    /// Names of the observation's values.
    pub obs_names: Option<Vec<String>>,
    /// Names of the action's values.
    pub action_names: Option<Vec<String>>,
}

/// Demonstrations: at least one episode, none empty, all values finite. Episode and row numbers count from 0.
#[derive(Clone, Debug)]
pub struct Episodes {
    arrays: EpisodeArrays,
    starts: Vec<usize>,
}

impl Episodes {
    /// Checks arrays and takes them.
    ///
    /// # Errors
    /// [`DataError`] if there is no episode, one is empty, lengths and rows disagree, a value is NaN or infinite, a list of
    /// names or successes has the wrong length, or the observation's inputs do not add up.
    pub fn from_arrays(arrays: EpisodeArrays) -> Result<Self, DataError> {
        Self::checked(arrays, ["obs", "action", "episode_len", "episode_success"])
    }

    /// As [`Episodes::from_arrays`], with the file's own names of obs, action, lengths and success for the errors.
    pub(super) fn checked(mut arrays: EpisodeArrays, names: [&str; 4]) -> Result<Self, DataError> {
        Self::structure(&arrays, names)?;
        if arrays.obs_inputs.is_empty() {
            arrays.obs_inputs = ObsInput::state(arrays.obs_dim);
        }
        let starts = starts(&arrays.lengths);
        let [obs_name, action_name, ..] = names;
        finite(obs_name, &arrays.obs, arrays.obs_dim, &starts)?;
        finite(action_name, &arrays.action, arrays.action_dim, &starts)?;
        Ok(Self { arrays, starts })
    }

    /// All that is checked but the values being finite.
    pub(super) fn structure(arrays: &EpisodeArrays, names: [&str; 4]) -> Result<(), DataError> {
        let [obs_name, action_name, length_name, success_name] = names;
        let rows = |name: &str, data: &[f32], dim: usize| {
            if dim == 0 || !data.len().is_multiple_of(dim) {
                let found = vec![data.len().checked_div(dim).unwrap_or(0), dim];
                let needed = "[steps, values] with at least 1 value";
                return Err(DataError::Shape { array: name.to_string(), found, needed });
            }
            Ok(data.len() / dim)
        };
        let obs_rows = rows(obs_name, &arrays.obs, arrays.obs_dim)?;
        let action_rows = rows(action_name, &arrays.action, arrays.action_dim)?;
        if arrays.lengths.is_empty() {
            return Err(DataError::NoEpisodes { what: length_name.to_string() });
        }
        count(|| format!("{action_name} rows (as many as {obs_name} has)"), action_rows, obs_rows)?;
        let total = arrays.lengths.iter().fold(0usize, |sum, &length| sum.saturating_add(length));
        count(|| format!("sum of {length_name} (the rows of {obs_name})"), total, obs_rows)?;
        let episodes = arrays.lengths.len();
        if let Some(success) = &arrays.success {
            count(|| format!("{success_name} entries (one per episode)"), success.len(), episodes)?;
        }
        for (what, names, dim) in [
            ("obs_names", &arrays.obs_names, arrays.obs_dim),
            ("action_names", &arrays.action_names, arrays.action_dim),
        ] {
            if let Some(names) = names {
                count(|| format!("{what} entries (one per value)"), names.len(), dim)?;
            }
        }
        if !arrays.obs_inputs.is_empty() {
            ObsInput::check(&arrays.obs_inputs, arrays.obs_dim)?;
        }
        if let Some(fps) = arrays.fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
            let needed = "a positive number of steps per second";
            return Err(DataError::Value { what: "fps".into(), found: fps.to_string(), needed });
        }
        if let Some(episode) = arrays.lengths.iter().position(|&length| length == 0) {
            return Err(DataError::EmptyEpisode { array: length_name.to_string(), episode });
        }
        Ok(())
    }

    /// Only the episodes named, renumbered from 0 in the order given.
    ///
    /// # Errors
    /// [`DataError`] if none is named or one does not exist.
    pub fn select(&self, episodes: &[usize]) -> Result<Self, DataError> {
        if episodes.is_empty() {
            return Err(DataError::NoEpisodes { what: "selection".into() });
        }
        let from = &self.arrays;
        let mut to = EpisodeArrays {
            obs: Vec::new(),
            action: Vec::new(),
            lengths: Vec::new(),
            success: from.success.as_ref().map(|_| Vec::new()),
            obs_dim: from.obs_dim,
            obs_inputs: from.obs_inputs.clone(),
            action_dim: from.action_dim,
            fps: from.fps,
            obs_names: from.obs_names.clone(),
            action_names: from.action_names.clone(),
        };
        for &episode in episodes {
            let rows = self.rows_of(episode)?;
            to.obs.extend_from_slice(&from.obs[rows.start * from.obs_dim..rows.end * from.obs_dim]);
            to.action
                .extend_from_slice(&from.action[rows.start * from.action_dim..rows.end * from.action_dim]);
            to.lengths.push(rows.len());
            if let (Some(kept), Some(success)) = (&mut to.success, &from.success) {
                kept.push(success[episode]);
            }
        }
        Ok(Self { starts: starts(&to.lengths), arrays: to })
    }

    /// Only the episodes that succeeded, renumbered from 0.
    ///
    /// # Errors
    /// [`DataError::NoSuccessArray`] if the data does not say, [`DataError::NoSuccessfulEpisode`] if none did.
    pub fn successful(&self) -> Result<Self, DataError> {
        let Some(success) = &self.arrays.success else {
            return Err(DataError::NoSuccessArray { array: "episode_success".into() });
        };
        let kept: Vec<usize> = (0..success.len()).filter(|&episode| success[episode]).collect();
        if kept.is_empty() {
            return Err(DataError::NoSuccessfulEpisode { episodes: success.len() });
        }
        self.select(&kept)
    }

    /// The same episodes with other values of observations and actions.
    ///
    /// # Errors
    /// As [`Episodes::from_arrays`].
    pub(crate) fn with_values(&self, obs: Vec<f32>, action: Vec<f32>) -> Result<Self, DataError> {
        Episodes::from_arrays(EpisodeArrays { obs, action, ..self.arrays.clone() })
    }

    /// The arrays themselves.
    pub fn into_arrays(self) -> EpisodeArrays {
        self.arrays
    }

    /// Number of episodes, at least 1.
    pub fn count(&self) -> usize {
        self.arrays.lengths.len()
    }

    /// Number of steps of all episodes together (T).
    pub fn steps(&self) -> usize {
        self.arrays.obs.len() / self.arrays.obs_dim
    }

    /// Values per observation.
    pub fn obs_dim(&self) -> usize {
        self.arrays.obs_dim
    }

    /// The named inputs of an observation, in the order of its values; at least one.
    pub fn obs_inputs(&self) -> &[ObsInput] {
        &self.arrays.obs_inputs
    }

    /// Values per action.
    pub fn action_dim(&self) -> usize {
        self.arrays.action_dim
    }

    /// Observations [T, obs_dim] in the data's own units.
    pub fn obs(&self) -> &[f32] {
        &self.arrays.obs
    }

    /// Actions [T, action_dim] in the data's own units.
    pub fn action(&self) -> &[f32] {
        &self.arrays.action
    }

    /// First row of each episode.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Steps of each episode, at least 1.
    pub fn lengths(&self) -> &[usize] {
        &self.arrays.lengths
    }

    /// Rows of an episode.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if there is no such episode.
    pub fn rows_of(&self, episode: usize) -> Result<std::ops::Range<usize>, DataError> {
        match (self.starts.get(episode), self.arrays.lengths.get(episode)) {
            (Some(&start), Some(&length)) => Ok(start..start + length),
            _ => Err(DataError::OutOfRange { what: "episode", index: episode, count: self.count() }),
        }
    }

    /// Whether each episode succeeded, where the data says.
    pub fn success(&self) -> Option<&[bool]> {
        self.arrays.success.as_deref()
    }

    /// Steps per second, where the data says.
    pub fn fps(&self) -> Option<f64> {
        self.arrays.fps
    }

    /// Names of the observation's values, where given.
    pub fn obs_names(&self) -> Option<&[String]> {
        self.arrays.obs_names.as_deref()
    }

    /// Names of the action's values, where given.
    pub fn action_names(&self) -> Option<&[String]> {
        self.arrays.action_names.as_deref()
    }
}

fn starts(lengths: &[usize]) -> Vec<usize> {
    let start = |row: &mut usize, length: &usize| {
        let start = *row;
        *row += length;
        Some(start)
    };
    lengths.iter().scan(0, start).collect()
}

fn count(what: impl FnOnce() -> String, found: usize, needed: usize) -> Result<(), DataError> {
    if found == needed { Ok(()) } else { Err(DataError::Count { what: what(), found, needed }) }
}

fn finite(array: &str, data: &[f32], dim: usize, starts: &[usize]) -> Result<(), DataError> {
    let Some(at) = data.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let row = at / dim;
    let episode = starts.partition_point(|&start| start <= row) - 1;
    Err(DataError::NonFinite { array: array.to_string(), row, column: at % dim, episode, value: data[at] })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three episodes of 3, 1 and 4 steps; obs [t, 10 t] and action [100 t] at row t.
    pub(crate) fn sample() -> EpisodeArrays {
        EpisodeArrays {
            obs: (0..8).flat_map(|t| [t as f32, 10.0 * t as f32]).collect(),
            action: (0..8).map(|t| 100.0 * t as f32).collect(),
            obs_dim: 2,
            obs_inputs: vec![],
            action_dim: 1,
            lengths: vec![3, 1, 4],
            success: Some(vec![true, false, true]),
            fps: Some(10.0),
            obs_names: Some(vec!["x".into(), "y".into()]),
            action_names: None,
        }
    }

    fn fault(change: impl FnOnce(&mut EpisodeArrays)) -> String {
        let mut arrays = sample();
        change(&mut arrays);
        Episodes::from_arrays(arrays).unwrap_err().to_string()
    }

    #[test]
    fn good_arrays_are_taken() {
        let episodes = Episodes::from_arrays(sample()).unwrap();
        assert_eq!((episodes.count(), episodes.steps()), (3, 8));
        assert_eq!(episodes.starts(), [0, 3, 4]);
        assert_eq!(episodes.rows_of(2).unwrap(), 4..8);
        assert!(matches!(episodes.rows_of(3), Err(DataError::OutOfRange { index: 3, count: 3, .. })));
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(fault(|a| a.lengths.clear()), "episode_len: found no episode, needed at least one");
        assert_eq!(
            fault(|a| a.lengths = vec![3, 0, 5]),
            "episode_len: episode 1 has length 0, needed at least 1 step"
        );
        assert_eq!(
            fault(|a| a.lengths = vec![3, 1, 5]),
            "sum of episode_len (the rows of obs): found 9, needed 8"
        );
        assert_eq!(fault(|a| a.lengths = vec![usize::MAX, 9, 1]).split(':').count(), 2);
        assert_eq!(fault(|a| a.action.truncate(7)), "action rows (as many as obs has): found 7, needed 8");
        assert!(fault(|a| a.obs.truncate(15)).starts_with("obs: wrong shape"));
        assert!(fault(|a| a.action_dim = 0).starts_with("action: wrong shape"));
        assert_eq!(
            fault(|a| a.obs[9] = f32::NAN),
            "obs: found NaN at row 4, column 1 (episode 2), needed finite numbers"
        );
        assert_eq!(
            fault(|a| a.action[3] = f32::NEG_INFINITY),
            "action: found -inf at row 3, column 0 (episode 1), needed finite numbers"
        );
        assert_eq!(
            fault(|a| a.obs_names = Some(vec!["x".into()])),
            "obs_names entries (one per value): found 1, needed 2"
        );
        assert_eq!(
            fault(|a| a.action_names = Some(vec![])),
            "action_names entries (one per value): found 0, needed 1"
        );
        assert_eq!(
            fault(|a| a.success = Some(vec![true])),
            "episode_success entries (one per episode): found 1, needed 3"
        );
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(fault(|a| a.fps = Some(fps)).starts_with("fps: found "));
        }
    }

    #[test]
    fn selection_renumbers() {
        let episodes = Episodes::from_arrays(sample()).unwrap();
        let kept = episodes.successful().unwrap();
        assert_eq!((kept.lengths(), kept.starts()), (&[3, 4][..], &[0, 3][..]));
        assert_eq!(kept.action(), [0.0, 100.0, 200.0, 400.0, 500.0, 600.0, 700.0]);
        assert_eq!(kept.obs()[6..8], [4.0, 40.0]);
        assert_eq!(kept.success(), Some(&[true, true][..]));
        assert!(matches!(episodes.select(&[]), Err(DataError::NoEpisodes { .. })));
        assert!(matches!(episodes.select(&[7]), Err(DataError::OutOfRange { .. })));
        let mut arrays = sample();
        arrays.success = None;
        let unknown = Episodes::from_arrays(arrays.clone()).unwrap().successful();
        assert!(matches!(unknown, Err(DataError::NoSuccessArray { .. })));
        arrays.success = Some(vec![false; 3]);
        let none = Episodes::from_arrays(arrays).unwrap().successful();
        assert!(matches!(none, Err(DataError::NoSuccessfulEpisode { episodes: 3 })));
    }
}
