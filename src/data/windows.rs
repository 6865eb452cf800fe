//! Training examples as places in the episodes: no copy is made of what they hold.

use serde::{Deserialize, Serialize};

use super::episodes::Episodes;
use super::error::DataError;

/// Which steps around a time t make one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Observations per example, the newest at t; before an episode's start its first one is repeated. At least 1.
    pub history: usize,
    /// Actions per example. At least 1 and no longer than any episode.
    pub horizon: usize,
    /// Steps from t to the first action: 0 where action row t was chosen from observation row t.
    #[serde(default)]
    pub action_offset: usize,
    /// How many actions of an example may lie past the episode's end; its last action is repeated there.
    pub pad_after: usize,
}

/// What becomes of a window's actions past its episode's end, where the last action is repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// They are learnt as any other (diffusion policy's way, and LeRobot's default): right where a robot stands still at the end.
    #[default]
    Repeat,
    /// They count neither in the loss nor in the normaliser of the actions (LeRobot's `do_mask_loss_for_padding`): right where episodes
    /// are cut out of a motion that went on.
    Mask,
}

impl WindowSpec {
    /// Steps that an episode must have to hold one window.
    pub fn least_steps(&self) -> usize {
        let reach = self.action_offset.saturating_add(self.horizon);
        self.horizon.max(reach.saturating_sub(self.pad_after)).max(1)
    }
}

/// All examples of some episodes. The window at time t of an episode has observations t - history + 1 ..= t, clamped to
/// the episode's first row, and actions t + action_offset .. + horizon, clamped to its last row. t runs from 0 as far as
/// at most `pad_after` actions are clamped, and never past the last observation.
#[derive(Clone, Debug)]
pub struct Windows<'a> {
    episodes: &'a Episodes,
    spec: WindowSpec,
    padding: Padding,
    table: Vec<[u32; 3]>,
}

impl<'a> Windows<'a> {
    /// Lists the windows of the episodes named, in the order given and by time within each.
    ///
    /// # Errors
    /// [`DataError`] if history or horizon is 0, no episode is named, one does not exist or is shorter than the horizon
    /// or than one window, or rows do not fit 32 bits.
    pub fn new(episodes: &'a Episodes, ids: &[usize], spec: &WindowSpec) -> Result<Self, DataError> {
        for (what, value) in [("history", spec.history), ("horizon", spec.horizon)] {
            if value == 0 {
                let needed = "at least 1 step";
                return Err(DataError::Value { what: what.into(), found: "0".into(), needed });
            }
        }
        if ids.is_empty() {
            return Err(DataError::NoEpisodes { what: "windows".into() });
        }
        if u32::try_from(episodes.steps()).is_err() {
            let (found, needed) = (episodes.steps().to_string(), "at most 4294967295 rows for windows");
            return Err(DataError::Value { what: "steps of all episodes".into(), found, needed });
        }
        let short = |episode: &&usize| {
            episodes.lengths().get(**episode).is_some_and(|&length| windows_of(length, spec).is_none())
        };
        let more = ids.iter().filter(short).count().saturating_sub(1);
        let mut table = Vec::new();
        for &episode in ids {
            let rows = episodes.rows_of(episode)?;
            let count = windows_of(rows.len(), spec).ok_or(DataError::ShortEpisode {
                episode,
                length: rows.len(),
                horizon: spec.horizon,
                action_offset: spec.action_offset,
                pad_after: spec.pad_after,
                more,
            })?;
            let (first, last) = (rows.start as u32, (rows.end - 1) as u32);
            table.extend((0..count as u32).map(|t| [first + t, first, last]));
        }
        Ok(Self { episodes, spec: *spec, padding: Padding::Repeat, table })
    }

    /// The same windows with a word on what counts past an episode's end.
    pub fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// What counts past an episode's end.
    pub fn padding(&self) -> Padding {
        self.padding
    }

    /// Whether an action of a window counts: with [`Padding::Mask`] only where it lies within its episode.
    pub fn counts(&self, [row, _, last]: [u32; 3], step: usize) -> bool {
        let at = (row as usize).saturating_add(self.spec.action_offset).saturating_add(step);
        self.padding == Padding::Repeat || at <= last as usize
    }

    /// Of every step of a chunk, `[horizon]`: in how many windows it lies within the episode.
    pub fn within(&self) -> Vec<usize> {
        // Windows by how many of their actions lie within.
        let mut whole = vec![0; self.spec.horizon + 1];
        for &[row, _, last] in &self.table {
            let first = (row as usize).saturating_add(self.spec.action_offset);
            whole[(last as usize + 1).saturating_sub(first).min(self.spec.horizon)] += 1;
        }
        let mut more = self.table.len();
        let beyond = |n: usize| {
            more -= n;
            more
        };
        whole[..self.spec.horizon].iter().copied().map(beyond).collect()
    }

    /// Number of windows, at least 1.
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// One entry per window, as a device needs them: [row of the newest observation, first row of its episode, last row
    /// (inclusive) of its episode].
    pub fn table(&self) -> &[[u32; 3]] {
        &self.table
    }

    /// What the windows were made for.
    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// The episodes that the windows look into.
    pub fn episodes(&self) -> &'a Episodes {
        self.episodes
    }

    /// The newest observation `[obs_dim]` of a window, in raw units.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if there is no such window.
    pub fn newest_obs(&self, window: usize) -> Result<&'a [f32], DataError> {
        let [row, ..] = self.entry(window)?;
        Ok(row_of(self.episodes.obs(), row, self.episodes.obs_dim()))
    }

    /// Copies a window's observations [history, obs_dim], oldest first, in raw units.
    ///
    /// # Errors
    /// [`DataError`] if there is no such window or `out` has another length.
    pub fn gather_obs(&self, window: usize, out: &mut [f32]) -> Result<(), DataError> {
        let dim = self.episodes.obs_dim();
        let [row, first, _] = self.entry(window)?;
        let rows = (0..self.spec.history).rev().map(|back| row.saturating_sub(back).max(first));
        gather("observations of a window", self.episodes.obs(), dim, self.spec.history, rows, out)
    }

    /// Copies a window's actions [horizon, action_dim], in raw units.
    ///
    /// # Errors
    /// [`DataError`] if there is no such window or `out` has another length.
    pub fn gather_actions(&self, window: usize, out: &mut [f32]) -> Result<(), DataError> {
        let dim = self.episodes.action_dim();
        let [row, _, last] = self.entry(window)?;
        let first_action = row.saturating_add(self.spec.action_offset);
        let rows = (0..self.spec.horizon).map(|step| first_action.saturating_add(step).min(last));
        gather("actions of a window", self.episodes.action(), dim, self.spec.horizon, rows, out)
    }

    /// One action `[action_dim]` of a window without copying the chunk; `step` is below the horizon.
    pub(crate) fn action_at(&self, entry: [u32; 3], step: usize) -> &'a [f32] {
        let [row, _, last] = entry.map(|row| row as usize);
        let row = row.saturating_add(self.spec.action_offset).saturating_add(step).min(last);
        row_of(self.episodes.action(), row, self.episodes.action_dim())
    }

    fn entry(&self, window: usize) -> Result<[usize; 3], DataError> {
        let missing = DataError::OutOfRange { what: "window", index: window, count: self.count() };
        self.table.get(window).map(|entry| entry.map(|row| row as usize)).ok_or(missing)
    }
}

/// Windows in an episode of so many steps, or None if it is too short for one.
fn windows_of(length: usize, spec: &WindowSpec) -> Option<usize> {
    if spec.horizon > length {
        return None;
    }
    let reach = spec.action_offset.saturating_add(spec.horizon);
    let count = length.saturating_add(spec.pad_after).saturating_add(1).checked_sub(reach)?.min(length);
    (count > 0).then_some(count)
}

fn row_of(data: &[f32], row: usize, dim: usize) -> &[f32] {
    &data[row * dim..(row + 1) * dim]
}

fn gather(
    what: &str,
    data: &[f32],
    dim: usize,
    count: usize,
    rows: impl Iterator<Item = usize>,
    out: &mut [f32],
) -> Result<(), DataError> {
    // Divided, not multiplied: a history from a configuration may be absurd.
    if out.len() / dim != count || !out.len().is_multiple_of(dim) {
        let needed = count.saturating_mul(dim);
        return Err(DataError::Count { what: format!("values for {what}"), found: out.len(), needed });
    }
    for (out, row) in out.chunks_exact_mut(dim).zip(rows) {
        out.copy_from_slice(row_of(data, row, dim));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::episodes::{EpisodeArrays, tests::sample};
    use proptest::prelude::*;

    fn spec(history: usize, horizon: usize, action_offset: usize, pad_after: usize) -> WindowSpec {
        WindowSpec { history, horizon, action_offset, pad_after }
    }

    #[test]
    fn clamps_at_both_ends() {
        let episodes = Episodes::from_arrays(sample()).unwrap();
        let windows = Windows::new(&episodes, &[2, 0], &spec(3, 2, 0, 1)).unwrap();
        let table = [[4, 4, 7], [5, 4, 7], [6, 4, 7], [7, 4, 7], [0, 0, 2], [1, 0, 2], [2, 0, 2]];
        assert_eq!(windows.table(), table);
        let (mut obs, mut action) = ([0.0; 6], [0.0; 2]);
        windows.gather_obs(0, &mut obs).unwrap();
        assert_eq!(obs, [4.0, 40.0, 4.0, 40.0, 4.0, 40.0]);
        windows.gather_obs(2, &mut obs).unwrap();
        assert_eq!(obs, [4.0, 40.0, 5.0, 50.0, 6.0, 60.0]);
        windows.gather_actions(2, &mut action).unwrap();
        assert_eq!(action, [600.0, 700.0]);
        windows.gather_actions(3, &mut action).unwrap();
        assert_eq!(action, [700.0, 700.0]);
        assert_eq!(windows.newest_obs(3).unwrap(), [7.0, 70.0]);
        assert_eq!(windows.within(), [7, 5], "the last window of each episode has one action past its end");
        assert!(windows.counts(table[3], 1), "repeated actions count, unless they are masked");
        let masked = windows.with_padding(Padding::Mask);
        assert!(masked.counts(table[2], 1) && masked.counts(table[3], 0) && !masked.counts(table[3], 1));
        let next = Windows::new(&episodes, &[2], &spec(1, 2, 1, 0)).unwrap();
        assert_eq!((next.count(), next.within()), (2, vec![2, 2]));
        next.gather_actions(1, &mut action).unwrap();
        assert_eq!(action, [600.0, 700.0]);
    }

    #[test]
    fn bad_requests_are_named() {
        let episodes = Episodes::from_arrays(sample()).unwrap();
        let fault = |ids: &[usize], spec| Windows::new(&episodes, ids, &spec).unwrap_err().to_string();
        assert_eq!(
            fault(&[0, 1], spec(1, 2, 0, 5)),
            "episode 1 has 1 steps: too short for a window of horizon 2 (action_offset 0, pad_after 5)"
        );
        assert!(fault(&[2], spec(1, 3, 2, 0)).starts_with("episode 2 has 4 steps"));
        assert_eq!(fault(&[0], spec(0, 1, 0, 0)), "history: found 0, needed at least 1 step");
        assert_eq!(fault(&[0], spec(1, 0, 0, 0)), "horizon: found 0, needed at least 1 step");
        assert_eq!(fault(&[], spec(1, 1, 0, 0)), "windows: found no episode, needed at least one");
        assert_eq!(fault(&[3], spec(1, 1, 0, 0)), "episode 3 does not exist: there are 3");
        let windows = Windows::new(&episodes, &[0], &spec(2, 2, 0, 0)).unwrap();
        assert!(matches!(windows.gather_obs(2, &mut [0.0; 4]), Err(DataError::OutOfRange { count: 2, .. })));
        assert!(matches!(windows.gather_obs(0, &mut [0.0; 3]), Err(DataError::Count { needed: 4, .. })));
        assert!(matches!(windows.gather_actions(0, &mut [0.0; 4]), Err(DataError::Count { needed: 2, .. })));
        assert!(windows.newest_obs(9).is_err());
    }

    #[test]
    fn the_least_length_is_that_of_one_window() {
        for horizon in 1..6 {
            for offset in 0..5 {
                for pad in 0..7 {
                    let spec = spec(1, horizon, offset, pad);
                    for length in 1..20 {
                        assert_eq!(
                            windows_of(length, &spec).is_some(),
                            length >= spec.least_steps(),
                            "{length} {spec:?}"
                        );
                    }
                }
            }
        }
        assert_eq!(spec(1, 3, usize::MAX, 2).least_steps(), usize::MAX - 2);
    }

    #[test]
    fn absurd_settings_do_not_overflow() {
        let episodes = Episodes::from_arrays(sample()).unwrap();
        let huge = spec(usize::MAX, 3, 0, usize::MAX);
        let windows = Windows::new(&episodes, &[0], &huge).unwrap();
        assert!(windows.gather_obs(0, &mut [0.0; 8]).is_err());
        assert!(Windows::new(&episodes, &[0], &spec(1, 3, usize::MAX, 0)).is_err());
    }

    #[test]
    fn the_spec_reads_from_toml() {
        let read: WindowSpec = toml::from_str("history = 2\nhorizon = 16\npad_after = 7").unwrap();
        assert_eq!(read, spec(2, 16, 0, 7));
        assert!(
            toml::from_str::<WindowSpec>("history = 2\nhorizon = 16\npad_after = 7\nstride = 1").is_err()
        );
    }

    proptest! {
        #[test]
        fn windows_are_complete_and_clamped(
            lengths in prop::collection::vec(1usize..12, 1..5),
            history in 1usize..5, horizon in 1usize..8, offset in 0usize..4, pad in 0usize..9,
        ) {
            let steps: usize = lengths.iter().sum();
            // Every value is its own row number, so a gathered value says where it came from.
            let rows: Vec<f32> = (0..steps).map(|row| row as f32).collect();
            let episodes = Episodes::from_arrays(EpisodeArrays {
                obs: rows.clone(), action: rows, obs_dim: 1, action_dim: 1, lengths: lengths.clone(),
                ..EpisodeArrays::default()
            }).unwrap();
            let ids: Vec<usize> = (0..lengths.len()).collect();
            let fits = |&length: &usize| horizon <= length && length + pad >= offset + horizon;
            let windows = Windows::new(&episodes, &ids, &spec(history, horizon, offset, pad));
            prop_assert_eq!(windows.is_ok(), lengths.iter().all(fits));
            let Ok(windows) = windows else { return Ok(()) };
            let expected: usize = lengths.iter().map(|&length| {
                (0..length).filter(|t| t + offset + horizon - 1 < length + pad).count()
            }).sum();
            prop_assert_eq!(windows.count(), expected);
            let (mut obs, mut action) = (vec![0.0; history], vec![0.0; horizon]);
            for (window, &[row, first, last]) in windows.table().iter().enumerate() {
                windows.gather_obs(window, &mut obs).unwrap();
                windows.gather_actions(window, &mut action).unwrap();
                let (row, first, last) = (i64::from(row), i64::from(first), i64::from(last));
                for (k, value) in obs.iter().enumerate() {
                    prop_assert_eq!(*value as i64, (row - (history - 1 - k) as i64).max(first));
                }
                for (k, value) in action.iter().enumerate() {
                    prop_assert_eq!(*value as i64, (row + (offset + k) as i64).min(last));
                    prop_assert_eq!(windows.action_at(windows.table()[window], k)[0], *value);
                }
                prop_assert_eq!(windows.newest_obs(window).unwrap()[0], row as f32);
            }
        }
    }
}
