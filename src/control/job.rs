//! One inference on its way: what goes to the source and what comes back, in buffers that are used again.

use super::{ControlError, Result};
use crate::policy::{ChunkSource, NoiseKey, PolicySpec, Previous, RowOutcome};
use std::time::Duration;

/// A request for all robots, and its chunks once it has run.
pub(super) struct Job {
    /// Raw observations [robots, history, obs_dim].
    pub obs: Vec<f32>,
    /// One key per robot.
    pub noise: Vec<NoiseKey>,
    /// Whether the source hears of the running chunks.
    pub continues: bool,
    /// What is left of the running chunks, [robots, horizon, action_dim].
    pub previous: Vec<f32>,
    /// Actions that will have been executed when the new chunk takes over.
    pub delay: Vec<usize>,
    /// Rows of `previous`.
    pub left: Vec<usize>,
    /// The result [robots, horizon, action_dim], physical units.
    pub chunks: Vec<f32>,
    /// What became of each robot's chunk.
    pub outcomes: Vec<RowOutcome>,
    /// Which robots wait for it.
    pub wanted: Vec<bool>,
    /// Actions that each robot had executed at the observation.
    pub born: Vec<u64>,
    /// Whether each robot had a chunk to execute meanwhile.
    pub running: Vec<bool>,
    /// Whether the gate had refused what each robot's chunks say next.
    pub refused: Vec<bool>,
    /// Times that each robot had been reset.
    pub epoch: Vec<u64>,
    /// Calls of act before this one's.
    pub tick: u64,
    /// The caller's time of the observation.
    pub seen_at: Duration,
}

impl Job {
    pub(super) fn new(policy: &PolicySpec, robots: usize) -> Box<Job> {
        Box::new(Job {
            obs: vec![0.0; robots * policy.request()],
            noise: vec![NoiseKey { seed: 0, request: 0 }; robots],
            continues: false,
            previous: vec![0.0; robots * policy.chunk()],
            delay: vec![0; robots],
            left: vec![0; robots],
            chunks: vec![0.0; robots * policy.chunk()],
            outcomes: vec![RowOutcome::default(); robots],
            wanted: vec![false; robots],
            born: vec![0; robots],
            running: vec![false; robots],
            refused: vec![false; robots],
            epoch: vec![0; robots],
            tick: 0,
            seen_at: Duration::ZERO,
        })
    }

    /// Samples the chunks. Fails only if there is none that a robot waits for; `outcomes` says which there are.
    pub(super) fn run(&mut self, source: &mut dyn ChunkSource) -> Result<()> {
        let previous = Previous { chunk: &self.previous, delay: &self.delay, left: &self.left };
        let previous = self.continues.then_some(&previous);
        source.sample_each(&self.obs, &self.noise, previous, &mut self.chunks, &mut self.outcomes)?;
        match self.bad_chunk() {
            Some(fault) if !(0..self.wanted.len()).any(|r| self.gives(r)) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Whether it has a chunk for a robot that waits for one.
    pub(super) fn gives(&self, robot: usize) -> bool {
        self.wanted[robot] && self.outcomes[robot].status.is_done()
    }

    /// The first chunk that a robot waits for and that failed.
    pub(super) fn bad_chunk(&self) -> Option<ControlError> {
        let robot = (0..self.wanted.len()).find(|r| self.wanted[*r] && !self.gives(*r))?;
        Some(ControlError::Chunk { robot, status: self.outcomes[robot].status })
    }

    /// Runs once with typical observations (the middle of what the policy normalises), so that the first real request
    /// finds everything compiled and in place.
    pub(super) fn warm_up(&mut self, source: &mut dyn ChunkSource, continues: bool) -> Result<()> {
        let middle = &source.spec().obs_normalizer.offset;
        for row in self.obs.chunks_exact_mut(middle.len().max(1)) {
            row.copy_from_slice(middle);
        }
        self.continues = false;
        self.wanted.fill(true);
        self.run(source)?;
        if continues {
            self.previous.copy_from_slice(&self.chunks);
            self.left.fill(source.spec().horizon);
            self.continues = true;
            self.run(source)?;
        }
        Ok(())
    }
}
