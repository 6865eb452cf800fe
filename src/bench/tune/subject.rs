//! Whose plans are tuned: the networks of `advect bench`, or a policy.

use crate::bench::sample::zeros;
use crate::bench::{BenchError, STATE_DIM, TRAIN_BATCH, Workload, demonstrations, run_config};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::{Batch, IntegrateOptions, Integrator, Solver};
use crate::graph::{Fusion, Plan};
use crate::policy::{Noise, Policy, Sampler, SamplerOptions};
use crate::train::Trainer;

/// Seed of parameters and noise.
const SEED: u64 = 1;

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

/// A subject compiled for a device and a batch, each chunk with an observation of its own.
pub(super) struct Compiled {
    what: What,
    observations: Vec<f32>,
    chunks: Vec<f32>,
    request: u64,
}

enum What {
    Field(Box<Integrator>),
    Policy(Box<Sampler>),
}

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
        solver: Solver,
        fusion: Fusion,
        batch: usize,
    ) -> Result<Compiled, BenchError> {
        let (what, request_dim, chunk) = match self {
            Subject::Workload(workload) => {
                let store = workload.parameters(SEED)?;
                let options = IntegrateOptions { fusion, ..IntegrateOptions::default() };
                let rows = Batch { requests: batch, samples: 1 };
                let mut integrator =
                    Integrator::new(device, workload, &store.layout, solver, rows, &options)?;
                integrator.set_params(&store.values)?;
                (What::Field(Box::new(integrator)), workload.request_dim(), STATE_DIM)
            }
            Subject::Policy { policy, .. } => {
                let options = SamplerOptions { solver, fusion, ..SamplerOptions::default() };
                let sampler = policy.sampler(device, batch, 1, &options)?;
                (What::Policy(Box::new(sampler)), policy.spec.request(), policy.spec.chunk())
            }
        };
        Ok(Compiled {
            what,
            observations: zeros("the observations", batch, request_dim)?,
            chunks: zeros("the result", batch, chunk)?,
            request: 0,
        })
    }

    /// The plan of a training step; none for a policy, whose demonstrations are not here.
    pub(super) fn training(&self, device: &Device) -> Result<Option<Plan>, BenchError> {
        let Subject::Workload(workload) = self else { return Ok(None) };
        // What is multiplied does not depend on how many demonstrations there are.
        let episodes = demonstrations(4, 64, SEED)?;
        let trainer = Trainer::new(device, &episodes, &run_config(*workload, TRAIN_BATCH, SEED))?;
        Ok(Some(trainer.plan().clone()))
    }
}

impl Compiled {
    pub(super) fn plan(&self) -> &Plan {
        match &self.what {
            What::Field(integrator) => integrator.plan(),
            What::Policy(sampler) => sampler.integrator().plan(),
        }
    }

    /// Samples a batch: from observations on the host to chunks on the host.
    pub(super) fn run(&mut self) -> Result<(), BenchError> {
        self.request += 1;
        let (seed, request) = (SEED, self.request);
        match &mut self.what {
            What::Field(integrator) => {
                let start = Start::Noise { seed, request };
                integrator.run(start, &[&self.observations], &mut self.chunks, None)?;
            }
            What::Policy(sampler) => {
                sampler.sample(&self.observations, Noise::Seed { seed, request }, &mut self.chunks)?;
            }
        }
        Ok(())
    }
}
