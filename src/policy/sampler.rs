//! Batched sampling of action chunks.

use super::checkpoint::{Policy, Weights};
use super::normalizer::denormalized;
use super::source::{ChunkSource, Previous};
use super::spec::{OBS, PolicyField, PolicySpec, PolicySteps};
use super::{PolicyError, Result};
use crate::device::{CounterSnapshot, Device};
use crate::flow::integrator::{Finish, MAX_STEPS, OUTPUT, STATE, Start};
use crate::flow::{Batch, Field, IntegrateOptions, Integrator, Solver, TimeLaw};
use crate::graph::{Fusion, Precision, Program};
use crate::kernel::BufferId;
use crate::kernel::denormalize::{self, DenormShape};
use crate::objective::Sampling;
use std::time::Duration;

pub use crate::flow::integrator::{NoiseKey, RowOutcome, RowStatus};

/// What a sampler is compiled for.
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    /// How the flow is integrated ([`Objective`](super::Objective) says which policies have none).
    pub solver: Solver,
    /// A time grid in place of equal steps.
    pub times: Option<Vec<f64>>,
    /// Keep all states.
    pub trajectory: bool,
    /// Which weights.
    pub weights: Weights,
    /// How the steps are scheduled on the device.
    pub fusion: Fusion,
    /// How weights are stored.
    pub precision: Precision,
    /// Most steps that an adaptive solver may try; a chunk that needs more fails alone.
    pub max_steps: usize,
    /// How long a call may take ([`Sampler::set_deadline`]).
    pub deadline: Option<Duration>,
}

impl Default for SamplerOptions {
    fn default() -> SamplerOptions {
        SamplerOptions {
            solver: Solver::euler(10),
            times: None,
            trajectory: false,
            weights: Weights::Ema,
            fusion: Fusion::Auto,
            precision: Precision::F32,
            max_steps: MAX_STEPS,
            deadline: None,
        }
    }
}

/// The noise of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Noise<'a> {
    /// Drawn on the device; the same seed and request number give the same noise on every device.
    Seed {
        /// Seed.
        seed: u64,
        /// Number of the request.
        request: u64,
    },
    /// Drawn on the device, one key for each observation: what an observation's samples start from depends on its key alone,
    /// not on the other observations of the batch. Element e counts from 0 over [samples, horizon, action_dim].
    PerObservation(&'a [NoiseKey]),
    /// Given in model space, [observations, samples, horizon, action_dim]; for samplers that draw noise at their steps (ddpm,
    /// sde, the codes of vq_bet) each sample's start is followed by the noise of all steps.
    Given(&'a [f32]),
}

/// A policy compiled for a device, a batch and a solver.
pub struct Sampler {
    spec: PolicySpec,
    integrator: Integrator,
    batch: Batch,
    solver: Solver,
    evaluations: Option<usize>,
    /// Where chunks start that do not start from noise.
    zeros: Vec<f32>,
    /// Whether chunks have equivalent forms.
    settles: bool,
}

impl Policy {
    /// Compiles a sampler of `samples` chunks for each of `observations` observations.
    pub fn sampler(
        &self,
        device: &Device,
        observations: usize,
        samples: usize,
        options: &SamplerOptions,
    ) -> Result<Sampler> {
        let batch = Batch { requests: observations, samples };
        let spec = &self.spec;
        let method = spec.objective.method();
        let sampling = method.sampling(options.solver, &spec.task(1, TimeLaw::default()))?;
        let (integrator, solver, evaluations) = match sampling {
            Sampling::Flow(solver) => {
                // A grid has as many steps as it has intervals, whatever the solver's name says.
                let solver =
                    options.times.as_ref().map_or(solver, |times| solver.with_steps(times.len().max(1) - 1));
                let options = SamplerOptions { solver, ..options.clone() };
                let integrator = compile(self, device, &PolicyField(spec), batch, &options, None)?;
                (integrator, solver, solver.evaluations())
            }
            Sampling::Steps(steps) => {
                if options.times.is_some() {
                    spec.needs_flow("a time grid")?;
                    return Err(steps_have_no_grid(steps.solver));
                }
                let solver = steps.solver;
                let steps = PolicySteps { spec, steps };
                let what = Compiled::Steps(&steps);
                (finished(self, device, what, batch, options, None)?, solver, solver.evaluations())
            }
        };
        let evaluations = evaluations.map(|n| n * method.queries());
        let zeros = match method.starts_from_noise() {
            true => Vec::new(),
            false => vec![0.0; batch.rows() * integrator.start_cols()],
        };
        let settles = !method.raw_columns(spec.action_dim)?.is_empty();
        Ok(Sampler { spec: self.spec.clone(), integrator, batch, solver, evaluations, zeros, settles })
    }
}

/// A time grid asked of steps that are no solver's.
fn steps_have_no_grid(solver: Solver) -> PolicyError {
    let needed = "no time grid, or a solver of a flow with fixed steps".into();
    PolicyError::Shape { what: "the solver of a time grid", found: solver.to_string(), needed }
}

/// What a policy is compiled as.
enum Compiled<'a> {
    Flow(&'a dyn Field, Solver),
    Steps(&'a PolicySteps<'a>),
}

/// Compiles a field of a policy: `hold` comes after the integration, then physical units and the count of what is not finite.
pub(super) fn compile(
    policy: &Policy,
    device: &Device,
    field: &dyn Field,
    batch: Batch,
    options: &SamplerOptions,
    hold: Option<Finish<'_>>,
) -> Result<Integrator> {
    if options.times.is_some() || options.trajectory {
        policy.spec.needs_flow("a time grid or a trajectory")?;
    }
    finished(policy, device, Compiled::Flow(field, options.solver), batch, options, hold)
}

fn finished(
    policy: &Policy,
    device: &Device,
    what: Compiled<'_>,
    batch: Batch,
    options: &SamplerOptions,
    hold: Option<Finish<'_>>,
) -> Result<Integrator> {
    let spec = &policy.spec;
    let finish = |program: &mut Program, batch: Batch, x: BufferId, inputs: &[(&'static str, BufferId)]| {
        let find = |program: &Program, name: &str| {
            inputs.iter().find(|(n, _)| *n == name).map_or_else(|| program.named(name), |(_, b)| Ok(*b))
        };
        let x = match hold {
            Some(hold) => hold(program, batch, x, inputs)?,
            None => x,
        };
        let (obs, state) = (find(program, OBS)?, find(program, STATE)?);
        let affine = program.constant(&spec.affine())?;
        let output = program.resident(OUTPUT, batch.rows() * spec.chunk())?;
        let shape = DenormShape {
            rows: batch.rows(),
            samples_per_obs: batch.samples,
            horizon: spec.horizon,
            action_dim: spec.action_dim,
            history: spec.history,
            obs_dim: spec.obs_dim,
        };
        program.push(denormalize::command(&shape, x, affine, obs, output, state))?;
        Ok(output)
    };
    let integrate = IntegrateOptions {
        times: options.times.as_deref(),
        trajectory: options.trajectory,
        fusion: options.fusion,
        precision: options.precision,
        max_steps: options.max_steps,
        deadline: options.deadline,
        finish: Some(&finish),
        ..IntegrateOptions::default()
    };
    let params = policy.params(options.weights);
    let mut integrator = match what {
        Compiled::Flow(field, solver) => {
            Integrator::new(device, field, &params.layout, solver, batch, &integrate)?
        }
        Compiled::Steps(steps) => Integrator::recurrent(device, steps, &params.layout, batch, &integrate)?,
    };
    integrator.set_params(&params.values)?;
    Ok(integrator)
}

impl Sampler {
    /// The policy's spec.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// Chunks in physical units [observations, samples, horizon, action_dim] into `actions`, for raw observations
    /// [observations, history, obs_dim].
    ///
    /// # Errors
    /// [`FlowError::NonFinite`](crate::flow::FlowError::NonFinite) or [`FlowError::Unfinished`](crate::flow::FlowError::Unfinished) if a
    /// chunk failed: its actions are NaN, the others hold, and [`Sampler::outcomes`] says which is which. Else arrays of another
    /// length, values that are not finite, or a failing device.
    pub fn sample(&mut self, obs: &[f32], noise: Noise<'_>, actions: &mut [f32]) -> Result<()> {
        self.run(obs, noise, actions, None)
    }

    /// As [`Sampler::sample`], but a chunk that fails is no error: its actions are NaN, and its outcome says why. One outcome for
    /// each chunk, [observations, samples].
    ///
    /// # Errors
    /// Arrays of another length, values that are not finite, or a failing device.
    pub fn sample_each(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        actions: &mut [f32],
    ) -> Result<&[RowOutcome]> {
        self.integrator.forget_outcomes();
        let start = self.start(noise)?;
        self.run_each(obs, start, actions, None)
    }

    /// What became of each chunk of the last batch, and in how many steps, [observations, samples]; none if there was no call yet, or
    /// the last one failed as a whole (arrays of another length, a failing device).
    pub fn outcomes(&self) -> &[RowOutcome] {
        self.integrator.outcomes()
    }

    /// As [`Sampler::sample`], with all states in physical units [observations, samples, steps + 1, horizon, action_dim].
    pub fn sample_trajectory(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        actions: &mut [f32],
    ) -> Result<Vec<f32>> {
        let (rows, chunk, times) = (self.batch.rows(), self.spec.chunk(), self.integrator.steps() + 1);
        let mut raw = vec![0.0f32; times * rows * chunk];
        self.run(obs, noise, actions, Some(&mut raw))?;
        let (offset, scale) = self.spec.action_statistics();
        let mut out = vec![0.0f32; raw.len()];
        for r in 0..rows {
            let request = &obs[r / self.batch.samples * self.spec.request()..][..self.spec.request()];
            for s in 0..times {
                let from = &raw[(s * rows + r) * chunk..][..chunk];
                let to = &mut out[(r * times + s) * chunk..][..chunk];
                for (((to, from), o), k) in to.iter_mut().zip(from).zip(&offset).zip(&scale) {
                    *to = denormalized(*from, *o, *k);
                }
                self.spec.absolute(to, request)?;
            }
        }
        Ok(out)
    }

    fn run(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        actions: &mut [f32],
        trajectory: Option<&mut [f32]>,
    ) -> Result<()> {
        self.integrator.forget_outcomes();
        let start = self.start(noise)?;
        self.run_from(obs, start, actions, trajectory)
    }

    fn start<'a>(&self, noise: Noise<'a>) -> Result<Start<'a>> {
        Ok(match noise {
            // What starts from zeros needs no noise, whatever is given.
            _ if !self.zeros.is_empty() => Start::Given(&[]),
            Noise::Seed { seed, request } => Start::Noise { seed, request },
            Noise::PerObservation(keys) => {
                count("noise keys", keys.len(), self.batch.requests)?;
                Start::Keys(keys)
            }
            Noise::Given(x) => {
                expect("noise", x.len(), self.batch.rows() * self.integrator.start_cols())?;
                finite("noise", x)?;
                Start::Given(x)
            }
        })
    }

    /// Chunks of the rows of a larger batch that begin at row `first_row`, from that batch's seed and request.
    pub(super) fn sample_part(
        &mut self,
        obs: &[f32],
        NoiseKey { seed, request }: NoiseKey,
        first_row: usize,
        actions: &mut [f32],
    ) -> Result<&[RowOutcome]> {
        let first = (first_row * self.integrator.start_cols()) as u64;
        self.run_each(obs, Start::Part { seed, request, first }, actions, None)
    }

    fn run_from(
        &mut self,
        obs: &[f32],
        start: Start<'_>,
        actions: &mut [f32],
        trajectory: Option<&mut [f32]>,
    ) -> Result<()> {
        self.run_each(obs, start, actions, trajectory)?;
        Ok(self.integrator.all_done()?)
    }

    fn run_each(
        &mut self,
        obs: &[f32],
        start: Start<'_>,
        actions: &mut [f32],
        trajectory: Option<&mut [f32]>,
    ) -> Result<&[RowOutcome]> {
        self.integrator.forget_outcomes();
        expect("observations", obs.len(), self.batch.requests * self.spec.request())?;
        expect("actions", actions.len(), self.batch.rows() * self.spec.chunk())?;
        finite("observations", obs)?;
        let start = if self.zeros.is_empty() { start } else { Start::Given(&self.zeros) };
        let outcomes = self.integrator.run_each(start, &[obs], actions, trajectory)?;
        self.spec.wrap(actions);
        if self.settles {
            let (method, dim) = (self.spec.objective.method(), self.spec.action_dim);
            let chunks = actions.chunks_exact_mut(self.spec.chunk()).zip(outcomes);
            for (chunk, _) in chunks.filter(|(_, outcome)| outcome.status.is_done()) {
                method.settle(dim, chunk)?;
            }
        }
        Ok(outcomes)
    }

    /// The solver in use: a regression is evaluated once, whatever was asked for.
    pub fn solver(&self) -> Solver {
        self.solver
    }

    /// Evaluations of the network for one chunk; `None` where the solver chooses its steps.
    pub fn evaluations(&self) -> Option<usize> {
        self.evaluations
    }

    /// Values of the noise of one chunk ([`Noise::Given`]): its start, and for a sampler that draws noise at its steps the noise of each.
    /// 0 where chunks start from no noise.
    pub fn noise_values(&self) -> usize {
        if self.zeros.is_empty() { self.integrator.start_cols() } else { 0 }
    }

    /// How long each call to come may take; none: as long as the device's own limit of a wait allows
    /// ([`GpuOptions::timeout`](crate::device::GpuOptions::timeout)). A call that is not done then fails with
    /// [`DeviceError::Timeout`](crate::device::DeviceError::Timeout), and its actions are NaN. The next call begins afresh: on a GPU
    /// within its own time it first waits for what is still under way, and it never takes a late pass's actions for its own.
    pub fn set_deadline(&mut self, deadline: Option<Duration>) {
        self.integrator.set_deadline(deadline);
    }

    /// Observations and samples for each.
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// On the CPU, reads the weights of another sampler of the same policy in place of a copy of its own: for samplers of several
    /// batch sizes. On a GPU each keeps its own.
    ///
    /// # Errors
    /// [`PolicyError`] if the other has another number of weights. That they are equal is not checked.
    pub fn share_weights(&mut self, other: &mut Sampler) -> Result<()> {
        Ok(self.integrator.share_params(&mut other.integrator)?)
    }

    /// The compiled integration.
    pub fn integrator(&self) -> &Integrator {
        &self.integrator
    }

    /// Counts of the device so far.
    pub fn counters(&self) -> CounterSnapshot {
        self.integrator.counters()
    }
}

/// Free sampling: the previous chunk is not looked at.
impl ChunkSource for Sampler {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn robots(&self) -> usize {
        self.batch.requests
    }

    fn max_delay(&self) -> Option<usize> {
        None
    }

    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        _: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        count("samples for each observation of a chunk source", self.batch.samples, 1)?;
        self.run(obs, Noise::PerObservation(noise), chunks, None)
    }

    fn sample_each(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        _: Option<&Previous<'_>>,
        chunks: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        count("samples for each observation of a chunk source", self.batch.samples, 1)?;
        count("outcomes", outcomes.len(), self.batch.requests)?;
        outcomes.copy_from_slice(Sampler::sample_each(self, obs, Noise::PerObservation(noise), chunks)?);
        Ok(())
    }
}

pub(super) fn expect(what: &'static str, found: usize, needed: usize) -> Result<()> {
    match found == needed {
        true => Ok(()),
        false => Err(PolicyError::Shape {
            what,
            found: format!("{found} values"),
            needed: format!("{needed} values"),
        }),
    }
}

pub(super) fn count(what: &'static str, found: usize, needed: usize) -> Result<()> {
    match found == needed {
        true => Ok(()),
        false => Err(PolicyError::Shape { what, found: found.to_string(), needed: needed.to_string() }),
    }
}

pub(super) fn finite(what: &'static str, data: &[f32]) -> Result<()> {
    match data.iter().position(|v| !v.is_finite()) {
        Some(element) => Err(PolicyError::NonFinite { what, value: data[element], element }),
        None => Ok(()),
    }
}
