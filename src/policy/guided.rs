//! Guided sampling: real-time chunking with a network that was trained without it (Black, Galliker and Levine 2025).

use super::checkpoint::Policy;
use super::continuing::{Continuation, Weighing};
use super::sampler::compile;
use super::source::Wraps;
use super::spec::PolicyField;
use super::{PolicyError, PolicySpec, Result, SamplerOptions};
use crate::device::Device;
use crate::flow::guidance::soft_mask;
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
pub struct GuidedSampler(Continuation);

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
        let how = soft_masks(&self.spec, options.execute);
        Ok(GuidedSampler(Continuation::new(&self.spec, integrator, robots, how)))
    }
}

impl GuidedSampler {
    /// The compiled integration.
    pub fn integrator(&self) -> &Integrator {
        self.0.integrator()
    }
}

impl Wraps for GuidedSampler {
    type Source = Continuation;

    fn source(&self) -> &Continuation {
        &self.0
    }

    fn source_mut(&mut self) -> &mut Continuation {
        &mut self.0
    }
}

/// The soft mask of each value of a chunk, [horizon * action_dim] for each robot.
fn soft_masks(spec: &PolicySpec, execute: usize) -> Weighing {
    let (horizon, dim) = (spec.horizon, spec.action_dim);
    let weigh = move |delay: usize, left: usize, weights: &mut [f32]| {
        // An action that will be executed is kept even where the execute horizon says that nothing overlaps.
        let end = (horizon - execute).max(delay).min(left);
        soft_mask(delay, end, &mut weights[..horizon]);
        // One weight per action, spread over its values from the last to the first, in place.
        for i in (0..weights.len()).rev() {
            weights[i] = weights[i / dim];
        }
        left
    };
    Weighing { weights_per_robot: spec.chunk(), free: 0.0, max_delay: None, weigh: Box::new(weigh) }
}
