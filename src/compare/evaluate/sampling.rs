//! Samples of a policy for observations of the task, always from the same noise.

use crate::compare::{Method, Result, Task};
use crate::device::Device;
use crate::policy::{Noise, Policy, Sampler, SamplerOptions};

/// Seeds of the sampling noise: apart from the training's.
const NOISE_SEED: u64 = 0x5EED_0000;

/// What is measured.
pub(super) struct Bench<'a> {
    pub(super) device: &'a Device,
    pub(super) task: &'a Task,
    pub(super) method: &'a Method,
    pub(super) policy: &'a Policy,
    /// The training's seed.
    pub(super) seed: u64,
}

/// A compiled sampler with its observations.
pub(super) struct Samples {
    sampler: Sampler,
    obs: Vec<f32>,
    noise: u64,
    values: usize,
}

impl Samples {
    /// [observations, samples, horizon, action_dim]; every call gives the same.
    pub(super) fn sample(&mut self) -> Result<Vec<f32>> {
        self.draw(0)
    }

    /// As [`Samples::sample`], which has request 0, with the noise of another request.
    pub(super) fn draw(&mut self, request: u64) -> Result<Vec<f32>> {
        let mut chunks = vec![0.0; self.values];
        self.sampler.sample(&self.obs, Noise::Seed { seed: self.noise, request }, &mut chunks)?;
        Ok(chunks)
    }

    /// As [`Samples::sample`] for other observations, with the noise of another request.
    pub(super) fn ask(&mut self, obs: &[f32], request: u64) -> Result<Vec<f32>> {
        let mut chunks = vec![0.0; self.values];
        self.sampler.sample(obs, Noise::Seed { seed: self.noise, request }, &mut chunks)?;
        Ok(chunks)
    }

    /// All states [rows, times, horizon, action_dim].
    pub(super) fn trajectory(&mut self) -> Result<Vec<f32>> {
        let mut chunks = vec![0.0; self.values];
        let noise = Noise::Seed { seed: self.noise, request: 0 };
        Ok(self.sampler.sample_trajectory(&self.obs, noise, &mut chunks)?)
    }

    /// Chunks that start at given states in model space.
    pub(super) fn from(&mut self, start: &[f32]) -> Result<Vec<f32>> {
        let mut chunks = vec![0.0; self.values];
        self.sampler.sample(&self.obs, Noise::Given(start), &mut chunks)?;
        Ok(chunks)
    }
}

impl Bench<'_> {
    /// `samples` chunks for each of some observations.
    pub(super) fn sampler(&self, nfe: usize, obs: Vec<f32>, samples: usize) -> Result<Samples> {
        self.with(&(self.method.options)(nfe), obs, samples)
    }

    /// One chunk for each held-out observation.
    pub(super) fn of_held_out(&self, nfe: usize) -> Result<Samples> {
        let held_out = &self.task.held_out;
        match self.task.unconditional {
            true => self.sampler(nfe, held_out.observation(0).to_vec(), held_out.count),
            false => self.sampler(nfe, held_out.obs.clone(), 1),
        }
    }

    pub(super) fn with(&self, options: &SamplerOptions, obs: Vec<f32>, samples: usize) -> Result<Samples> {
        let observations = obs.len() / self.task.request();
        let sampler = self.policy.sampler(self.device, observations, samples, options)?;
        let values = observations * samples * self.task.chunk();
        Ok(Samples { sampler, obs, noise: NOISE_SEED + self.seed, values })
    }

    /// A chunk for a held-out pair's observation as a line, to four digits.
    pub(super) fn line(&self, pair: usize, chunk: &[f32]) -> Vec<[f32; 2]> {
        let line = self.task.law.line(self.task.held_out.observation(pair), chunk);
        line.into_iter().map(|p| p.map(four_digits)).collect()
    }
}

/// Rounds to about four digits, so that a record stays small.
pub(super) fn four_digits(value: f32) -> f32 {
    match format!("{value:.3e}").parse() {
        Ok(rounded) => rounded,
        Err(_) => value,
    }
}
