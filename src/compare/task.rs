//! What a method has to learn, and what is known of it.

use super::Result;
use super::tasks::lasa::Reproduction;
use crate::data::{EpisodeArrays, Episodes, WindowSpec, Windows};
use crate::report::Scene2d;
use crate::train::{DimRef, RunConfig};

/// What is known of a task's law of chunks given observations. A chunk is [horizon, action_dim], an observation [history, obs_dim],
/// both in the data's units.
pub trait Law: Send + Sync {
    /// Modes for one observation; 0: unknown.
    fn modes(&self) -> usize {
        0
    }

    /// The mode that a chunk is closest to, below [`Law::modes`].
    fn mode(&self, _obs: &[f32], _chunk: &[f32]) -> usize {
        0
    }

    /// Whether the chunk is in the support; `None`: the support is unknown.
    fn valid(&self, _obs: &[f32], _chunk: &[f32]) -> Option<bool> {
        None
    }

    /// The chunk as a line in the plane (one point: a dot).
    fn line(&self, obs: &[f32], chunk: &[f32]) -> Vec<[f32; 2]>;

    /// Adds what else belongs into a picture of this observation's chunks: obstacles, goals.
    fn scene(&self, _obs: &[f32], scene: Scene2d) -> Scene2d {
        scene
    }
}

/// Observations with a chunk for each, in the data's units.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// [count, history, obs_dim].
    pub obs: Vec<f32>,
    /// [count, horizon, action_dim].
    pub chunks: Vec<f32>,
    /// How many.
    pub count: usize,
}

impl Pairs {
    /// Up to `most` windows of some episodes, evenly spread.
    pub fn spread(episodes: &Episodes, ids: &[usize], spec: &WindowSpec, most: usize) -> Result<Pairs> {
        let windows = Windows::new(episodes, ids, spec)?;
        let count = windows.count().min(most);
        let (request, chunk) = (spec.history * episodes.obs_dim(), spec.horizon * episodes.action_dim());
        let (mut obs, mut chunks) = (vec![0.0; count * request], vec![0.0; count * chunk]);
        for (i, (obs, chunk)) in obs.chunks_exact_mut(request).zip(chunks.chunks_exact_mut(chunk)).enumerate()
        {
            let window = i * windows.count() / count;
            windows.gather_obs(window, obs)?;
            windows.gather_actions(window, chunk)?;
        }
        Ok(Pairs { obs, chunks, count })
    }

    /// Each pair as an episode: its newest observation at every step, and its actions.
    pub(super) fn episodes(&self, task: &Task) -> Result<Episodes> {
        let (obs_dim, horizon) = (task.train.obs_dim(), task.windows.horizon);
        let newest = |i: usize| &self.observation(i)[task.request() - obs_dim..];
        Ok(Episodes::from_arrays(EpisodeArrays {
            obs: (0..self.count).flat_map(|i| newest(i).repeat(horizon)).collect(),
            action: self.chunks.clone(),
            obs_dim,
            obs_inputs: task.train.obs_inputs().to_vec(),
            action_dim: task.train.action_dim(),
            lengths: vec![horizon; self.count],
            obs_names: task.train.obs_names().map(<[String]>::to_vec),
            action_names: task.train.action_names().map(<[String]>::to_vec),
            ..EpisodeArrays::default()
        })?)
    }

    /// Observation `i`.
    pub fn observation(&self, i: usize) -> &[f32] {
        let n = self.obs.len() / self.count.max(1);
        &self.obs[i * n..(i + 1) * n]
    }
}

/// A task: data to learn from, data to judge by, and what is known of the law.
pub struct Task {
    /// Its id, or the file that it was made of.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// The demonstrations that every method learns from.
    pub train: Episodes,
    /// Demonstrations that no method learns from.
    pub held_out: Pairs,
    /// As many other draws of the same law (or demonstrations of the training set): what a perfect sampler would score.
    pub other: Pairs,
    /// Whether all observations are alike.
    pub unconditional: bool,
    /// The windows.
    pub windows: WindowSpec,
    /// As [`RunConfig::relative_to`].
    pub relative_to: Vec<DimRef>,
    /// What the differences of chunks are divided by before distances are taken, [horizon, action_dim].
    pub scale: Vec<f32>,
    /// What is known of the law.
    pub law: Box<dyn Law>,
    /// The closed loop, where the task has one.
    pub reproduction: Option<Reproduction>,
}

impl Task {
    /// Values of a chunk.
    pub fn chunk(&self) -> usize {
        self.windows.horizon * self.train.action_dim()
    }

    /// Values of a request.
    pub fn request(&self) -> usize {
        self.windows.history * self.train.obs_dim()
    }

    /// The task's part of a run's configuration.
    pub fn configure(&self, config: &mut RunConfig) {
        config.history = self.windows.history;
        config.horizon = self.windows.horizon;
        config.action_offset = self.windows.action_offset;
        config.pad_after = self.windows.pad_after;
        config.relative_to.clone_from(&self.relative_to);
        config.validation_fraction = 0.0; // what is held out is not in the episodes
    }

    /// Chunks divided by [`Task::scale`].
    pub fn scaled(&self, chunks: &[f32]) -> Vec<f32> {
        let mut out = chunks.to_vec();
        for chunk in out.chunks_exact_mut(self.scale.len()) {
            chunk.iter_mut().zip(&self.scale).for_each(|(v, s)| *v /= s);
        }
        out
    }

    /// A measure of chunks with their observations must weigh both: each column's standard deviation over `rows`, \[columns\]; 1
    /// where the column is constant.
    pub fn deviations(rows: &[f32], columns: usize) -> Vec<f32> {
        let n = (rows.len() / columns.max(1)).max(1) as f64;
        (0..columns)
            .map(|c| {
                let column = || rows.iter().skip(c).step_by(columns).map(|v| f64::from(*v));
                let mean = column().sum::<f64>() / n;
                let sd = (column().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
                if sd > 1e-6 * mean.abs() { sd as f32 } else { 1.0 }
            })
            .collect()
    }
}
