//! Windows of any demonstrations: a FILE.npz as `advect train` reads it. One episode in ten is held out. Nothing is known of the
//! law but the demonstrations, so there are no modes and no support.

use crate::compare::{Law, Pairs, Result, Task};
use crate::data::{DataSpec, Episodes, WindowSpec, split_apart};
use crate::train::DimRef;
use std::path::Path;

/// Most held-out windows.
const HELD_OUT: usize = 2048;
/// Actions in a chunk, or as many as half of the episodes have; shorter ones are left out.
const HORIZON: usize = 16;

/// What a task of windows consists of.
pub struct Windowed {
    /// Its id or file.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Observations in a window.
    pub history: usize,
    /// As [`Task::relative_to`].
    pub relative_to: Vec<DimRef>,
    /// What is known of the law.
    pub law: Box<dyn Law>,
}

impl Windowed {
    /// Splits the episodes and makes the task.
    pub fn task(self, episodes: &Episodes) -> Result<Task> {
        let mut lengths = episodes.lengths().to_vec();
        lengths.sort_unstable();
        let horizon = HORIZON.min(lengths[lengths.len() / 2]);
        let long: Vec<usize> = (0..episodes.count()).filter(|&n| episodes.lengths()[n] >= horizon).collect();
        let episodes = &episodes.select(&long)?;
        let windows =
            WindowSpec { history: self.history, horizon, action_offset: 0, pad_after: 7.min(horizon - 1) };
        let split = split_apart(&episodes.firsts(), 0.1, 0)?;
        // A single episode is all there is: it is trained on and judged by.
        let judged = if split.validation.is_empty() { &split.train } else { &split.validation };
        let held_out = Pairs::spread(episodes, judged, &windows, HELD_OUT)?;
        let other = Pairs::spread(episodes, &split.train, &windows, held_out.count)?;
        let chunk = horizon * episodes.action_dim();
        Ok(Task {
            name: self.name,
            title: self.title,
            scale: Task::deviations(&held_out.chunks, chunk),
            train: episodes.select(&split.train)?,
            held_out,
            other,
            unconditional: false,
            windows,
            relative_to: self.relative_to,
            law: self.law,
            reproduction: None,
        })
    }
}

/// Chunks of which nothing else is known, drawn by their first two dimensions (a single one over the steps).
pub struct Unknown {
    /// Values of an action.
    pub action_dim: usize,
}

impl Law for Unknown {
    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        let rows = chunk.chunks_exact(self.action_dim);
        match self.action_dim {
            1 => rows.enumerate().map(|(step, a)| [step as f32, a[0]]).collect(),
            _ => rows.map(|a| [a[0], a[1]]).collect(),
        }
    }
}

/// Makes the task of a file.
pub fn open(path: &Path) -> Result<Task> {
    let episodes = Episodes::load_npz(path, &DataSpec::default())?;
    Windowed {
        name: path.display().to_string(),
        title: format!("windows of {}", path.display()),
        history: 2,
        relative_to: Vec::new(),
        law: Box::new(Unknown { action_dim: episodes.action_dim() }),
    }
    .task(&episodes)
}
