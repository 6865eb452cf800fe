//! Whose plans are tuned: the networks of `advect bench`, or a policy.

use super::TuneOptions;
use crate::bench::sample::{SEED, Sampling, zeros};
use crate::bench::{BenchError, Setting, TRAIN_BATCH, Workload, demonstrations, run_config};
use crate::device::Device;
use crate::graph::{Fusion, Plan};
use crate::policy::{Noise, Policy, Sampler, SamplerOptions};
use crate::train::Trainer;

/// A network that is sampled.
pub enum Subject {
    /// One of the bench's, with random weights.
    Workload(Workload),
    /// A policy.
    Policy {
        /// What it is called in the report.
        name: String,
        /// The policy.
        policy: Box<Policy>,
    },
}

/// A subject compiled for a device: sampling a batch, each chunk with an observation of its own, or training.
pub(super) enum Compiled {
    Workload(Box<Sampling>),
    Policy { sampler: Box<Sampler>, observations: Vec<f32>, chunks: Vec<f32>, request: u64 },
    Training(Box<Trainer>),
}

/// Training steps of a run: enough that waiting for the device, which a real run does seldom, is a small part.
const STEPS: u64 = 5;

impl Subject {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Subject::Workload(workload) => workload.name(),
            Subject::Policy { name, .. } => name,
        }
    }

    pub(super) fn compile(
        &self,
        device: &Device,
        options: &TuneOptions,
        fusion: Fusion,
        batch: usize,
    ) -> Result<Compiled, BenchError> {
        let TuneOptions { solver, precision, .. } = *options;
        match self {
            Subject::Workload(workload) => {
                let setting = Setting { workload: *workload, solver, fusion, precision };
                Ok(Compiled::Workload(Box::new(Sampling::new(device, &setting, batch)?)))
            }
            Subject::Policy { policy, .. } => {
                let options = SamplerOptions { solver, fusion, precision, ..SamplerOptions::default() };
                Ok(Compiled::Policy {
                    sampler: Box::new(policy.sampler(device, batch, 1, &options)?),
                    observations: zeros("the observations", batch, policy.spec.request())?,
                    chunks: zeros("the result", batch, policy.spec.chunk())?,
                    request: 0,
                })
            }
        }
    }

    /// A training step; none for a policy, whose demonstrations are not here.
    pub(super) fn training(&self, device: &Device, fusion: Fusion) -> Result<Option<Compiled>, BenchError> {
        let Subject::Workload(workload) = self else { return Ok(None) };
        // What a step computes does not depend on how many demonstrations there are.
        let episodes = demonstrations(4, 64, SEED)?;
        let config = run_config(*workload, TRAIN_BATCH, SEED);
        let trainer = Trainer::with_fusion(device, &episodes, &config, fusion)?;
        Ok(Some(Compiled::Training(Box::new(trainer))))
    }
}

impl Compiled {
    pub(super) fn plan(&self) -> &Plan {
        match self {
            Compiled::Workload(sampling) => sampling.integrator.plan(),
            Compiled::Policy { sampler, .. } => sampler.integrator().plan(),
            Compiled::Training(trainer) => trainer.plan(),
        }
    }

    /// Chunks that the plan covers.
    pub(super) fn block(&self) -> usize {
        match self {
            Compiled::Workload(sampling) => sampling.integrator.block().rows(),
            Compiled::Policy { sampler, .. } => sampler.integrator().block().rows(),
            Compiled::Training(_) => TRAIN_BATCH,
        }
    }

    /// Samples a batch, from observations on the host to chunks on the host; or trains some steps.
    pub(super) fn run(&mut self) -> Result<(), BenchError> {
        match self {
            Compiled::Workload(sampling) => sampling.run(),
            Compiled::Policy { sampler, observations, chunks, request } => {
                *request += 1;
                let noise = Noise::Seed { seed: SEED, request: *request };
                Ok(sampler.sample(observations, noise, chunks)?)
            }
            Compiled::Training(trainer) => Ok(trainer.advance(STEPS).map(drop)?),
        }
    }
}
