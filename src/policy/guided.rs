//! Guided sampling: real-time chunking with a network that was trained without it (Black, Galliker and Levine 2025).

use super::checkpoint::Policy;
use super::sampler::{compile, count, expect, finite};
use super::source::{ChunkSource, ModelSpace, Previous};
use super::spec::PolicyField;
use super::{NoiseKey, PolicyError, PolicySpec, Result, RowOutcome, SamplerOptions};
use crate::device::Device;
use crate::flow::guidance::soft_mask;
use crate::flow::integrator::Start;
use crate::flow::{Batch, Guided, Integrator, Jacobian};

/// What a guided sampler is compiled for.
#[derive(Clone, Debug)]
pub struct GuidedOptions {
    /// How the flow is integrated.
    pub sampler: SamplerOptions,
    /// The guidance's largest weight.
    pub beta: f32,
    /// Actions that are executed between two chunks (s): the last s of a new chunk have no counterpart in the previous one.
    pub execute: usize,
    /// The Jacobian of the denoised estimate.
    pub jacobian: Jacobian,
}

impl GuidedOptions {
    /// The paper's: beta 5, through the network; a chunk's first `execute` actions are executed.
    pub fn new(execute: usize) -> GuidedOptions {
        let sampler = SamplerOptions::default();
        GuidedOptions { sampler, beta: 5.0, execute, jacobian: Jacobian::Network }
    }
}

/// A policy compiled with guidance towards each robot's previous chunk. The previous chunk is of physical actions: it is
/// re-expressed against the new observation (relative actions, normaliser) before it guides.
pub struct GuidedSampler {
    spec: PolicySpec,
    space: ModelSpace,
    integrator: Integrator,
    robots: usize,
    execute: usize,
    previous: Vec<f32>,
    weights: Vec<f32>,
}

impl Policy {
    /// Compiles a guided sampler of one chunk for each of `robots` robots.
    ///
    /// # Errors
    /// [`PolicyError::Shape`] unless `options.execute` is 1 to the horizon; [`PolicyError::Flow`] for a beta that is not a
    /// positive, finite number; a failing device.
    pub fn guided_sampler(
        &self,
        device: &Device,
        robots: usize,
        options: &GuidedOptions,
    ) -> Result<GuidedSampler> {
        if !(1..=self.spec.horizon).contains(&options.execute) {
            return Err(PolicyError::Shape {
                what: "actions to execute of a chunk",
                found: options.execute.to_string(),
                needed: format!("1 to the horizon, {}", self.spec.horizon),
            });
        }
        self.spec.needs_flow("guidance")?;
        let inner = PolicyField(&self.spec);
        let field = Guided::new(&inner, options.beta, options.jacobian)?;
        let batch = Batch { requests: robots, samples: 1 };
        let integrator = compile(self, device, &field, batch, &options.sampler, None)?;
        let values = robots * self.spec.chunk();
        Ok(GuidedSampler {
            spec: self.spec.clone(),
            space: ModelSpace::new(&self.spec),
            integrator,
            robots,
            execute: options.execute,
            previous: vec![0.0; values],
            weights: vec![0.0; values],
        })
    }
}

impl GuidedSampler {
    /// The compiled integration.
    pub fn integrator(&self) -> &Integrator {
        &self.integrator
    }

    /// Fills y and w of every robot.
    fn guide(&mut self, obs: &[f32], previous: &Previous<'_>) -> Result<()> {
        previous.check(&self.spec, self.robots)?;
        let (chunk, dim, request) = (self.spec.chunk(), self.spec.action_dim, self.spec.request());
        for (robot, weights) in self.weights.chunks_exact_mut(chunk).enumerate() {
            let (delay, left) = (previous.delay[robot], previous.left[robot]);
            let rows = &mut self.previous[robot * chunk..][..left * dim];
            rows.copy_from_slice(&previous.chunk[robot * chunk..][..left * dim]);
            self.space.enter(&self.spec, &obs[robot * request..][..request], rows)?;
            // An action that will be executed is kept even where the execute horizon says that nothing overlaps.
            let end = (self.spec.horizon - self.execute).max(delay).min(left);
            soft_mask(delay, end, &mut weights[..self.spec.horizon]);
            // One weight per action, spread over its values from the last to the first, in place.
            for i in (0..chunk).rev() {
                weights[i] = weights[i / dim];
            }
        }
        Ok(())
    }

    /// A chunk for each robot; which of them are of use is for the integrator to say.
    fn draw(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        expect("observations", obs.len(), self.robots * self.spec.request())?;
        expect("chunks", chunks.len(), self.robots * self.spec.chunk())?;
        count("noise keys", noise.len(), self.robots)?;
        finite("observations", obs)?;
        self.previous.fill(0.0);
        self.weights.fill(0.0);
        if let Some(previous) = previous {
            self.guide(obs, previous)?;
        }
        let requests = [obs, &self.previous, &self.weights];
        self.integrator.run_each(Start::Keys(noise), &requests, chunks, None)?;
        Ok(())
    }
}

impl ChunkSource for GuidedSampler {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn robots(&self) -> usize {
        self.robots
    }

    fn max_delay(&self) -> Option<usize> {
        None
    }

    /// A robot without a previous chunk (`left` 0) is sampled freely, and so are all without `previous`.
    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        self.draw(obs, noise, previous, chunks)?;
        Ok(self.integrator.all_done()?)
    }

    fn sample_each(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        count("outcomes", outcomes.len(), self.robots)?;
        self.draw(obs, noise, previous, chunks)?;
        outcomes.copy_from_slice(self.integrator.outcomes());
        Ok(())
    }
}
