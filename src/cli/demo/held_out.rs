//! The demonstrations that the policy never sees: what it is shown, what was done, and the scene at that moment.

use advect::data::{Array, Episodes, Windows};
use advect::policy::PolicySpec;
use advect::train::RunConfig;
use anyhow::Context as _;

/// Held-out windows and, where the file has it, the scene's state at each row.
pub struct HeldOut<'a> {
    windows: Windows<'a>,
    /// Agent x, y (px), block x, y (px), block angle (rad), for every row of the data.
    states: Option<Vec<[f32; 5]>>,
}

/// Some of them, gathered.
pub struct Picked {
    /// Which windows.
    pub windows: Vec<usize>,
    /// Raw observations [windows, history, obs_dim].
    pub obs: Vec<f32>,
    /// Demonstrated chunks [windows, horizon, action_dim] in physical units.
    pub chunks: Vec<f32>,
}

impl<'a> HeldOut<'a> {
    /// All windows of the episodes that a policy's training held out.
    pub fn new(
        episodes: &'a Episodes,
        config: &RunConfig,
        spec: &PolicySpec,
        states: Option<Array>,
        data: &str,
    ) -> anyhow::Result<HeldOut<'a>> {
        let ids = &spec.provenance.validation_episodes;
        anyhow::ensure!(!ids.is_empty(), "{data} has no episode to hold out: the demo needs at least 2");
        let windows = Windows::new(episodes, ids, &config.windows())?;
        let fits = |shape: &[usize]| shape == [episodes.steps(), 5];
        let states = states.filter(|a| fits(&a.shape)).map(|a| a.data.as_chunks::<5>().0.to_vec());
        Ok(HeldOut { windows, states })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.windows.count()
    }

    /// `count` evenly spaced ones (all, if there are fewer).
    pub fn spread(&self, count: usize) -> anyhow::Result<Picked> {
        let count = count.min(self.count());
        self.pick((0..count).map(|i| i * self.count() / count).collect())
    }

    /// The ones named.
    pub fn pick(&self, windows: Vec<usize>) -> anyhow::Result<Picked> {
        let (spec, episodes) = (self.windows.spec(), self.windows.episodes());
        let (request, chunk) = (spec.history * episodes.obs_dim(), spec.horizon * episodes.action_dim());
        let mut obs = vec![0.0; windows.len() * request];
        let mut chunks = vec![0.0; windows.len() * chunk];
        for (i, &window) in windows.iter().enumerate() {
            self.windows.gather_obs(window, &mut obs[i * request..][..request])?;
            self.windows.gather_actions(window, &mut chunks[i * chunk..][..chunk])?;
        }
        Ok(Picked { windows, obs, chunks })
    }

    /// The scene at a window's time.
    pub fn state(&self, window: usize) -> Option<[f32; 5]> {
        let [row, ..] = *self.windows.table().get(window)?;
        self.states.as_ref()?.get(row as usize).copied()
    }

    /// Number of the episode that a window lies in, and the step within it.
    pub fn place(&self, window: usize) -> anyhow::Result<(usize, usize)> {
        let [row, first, _] = *self.windows.table().get(window).context("no such window")?;
        let starts = self.windows.episodes().starts();
        Ok((starts.partition_point(|&s| s <= first as usize) - 1, (row - first) as usize))
    }
}
