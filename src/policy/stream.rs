//! Streaming flow policies action by action (Jiang 2025): every solver step emits an action, so the first one is there after a
//! single evaluation of the network, and the rest while it is executed.

use super::checkpoint::{Policy, Weights};
use super::sampler::{expect, finite};
use super::spec::{OBS, PolicySpec, observation};
use super::{NoiseKey, Objective, PolicyError, Result, RowOutcome};
use crate::device::Device;
use crate::flow::integrator::{NOISE_STREAM, OUTPUT, STATE, Start};
use crate::flow::{Batch, FlowError, IntegrateOptions, Integrator, Recurrence, Solver, Step, TimeLaw};
use crate::graph::{Graph, Program, Value};
use crate::kernel::denormalize::{self, DenormShape};
use crate::kernel::{BufferId, philox, window};
use crate::nn::Builder;
use crate::objective::{Sampling, State};

/// Name of the input with the numbers of each robot's step.
const MOMENT: &str = "moment";

/// A streaming policy compiled for one step of a number of robots, each at a step of its own. A whole chunk of it is what
/// [`Sampler`](super::Sampler) makes of the same noise.
pub struct Stream {
    spec: PolicySpec,
    integrator: Integrator,
    /// The numbers of each step.
    clock: Vec<Vec<f32>>,
    robots: usize,
    /// Actions that each robot's trajectory has emitted; the horizon: none is open.
    emitted: Vec<usize>,
    /// Raw observations [robots, history, obs_dim], what the trajectories began from.
    obs: Vec<f32>,
    /// Model space, [robots, action_dim].
    state: Vec<f32>,
    moments: Vec<f32>,
    output: Vec<f32>,
    kept: Vec<f32>,
}

impl Policy {
    /// Compiles a stream for `robots` robots.
    ///
    /// # Errors
    /// [`PolicyError::Shape`] for a policy of another objective than `streaming`; a failing device.
    pub fn stream(&self, device: &Device, robots: usize, weights: Weights) -> Result<Stream> {
        let spec = &self.spec;
        if !matches!(spec.objective, Objective::Streaming(_)) {
            return Err(PolicyError::Shape {
                what: "the objective of a stream",
                found: spec.objective.name().into(),
                needed: "streaming".into(),
            });
        }
        let clock = match spec
            .objective
            .method()
            .sampling(Solver::euler(1), &spec.task(1, TimeLaw::default()))?
        {
            Sampling::Steps(steps) => steps.clock,
            Sampling::Flow(solver) => {
                let needed = "steps that emit actions".into();
                return Err(PolicyError::Shape { what: "the sampling", found: solver.to_string(), needed });
            }
        };
        let finish =
            |program: &mut Program, batch: Batch, x: BufferId, inputs: &[(&'static str, BufferId)]| {
                let find = |name: &str| match inputs.iter().find(|(n, _)| *n == name) {
                    Some((_, buffer)) => Ok(*buffer),
                    None => program.named(name),
                };
                let (obs, state) = (find(OBS)?, find(STATE)?);
                let affine = program.constant(&one_action(spec))?;
                let output = program.resident(OUTPUT, batch.rows() * spec.action_dim)?;
                let shape = DenormShape {
                    rows: batch.rows(),
                    samples_per_obs: 1,
                    horizon: 1,
                    action_dim: spec.action_dim,
                    history: spec.history,
                    obs_dim: spec.obs_dim,
                };
                program.push(denormalize::command(&shape, x, affine, obs, output, state))?;
                Ok(output)
            };
        // The state after the step is kept: it is where the next one starts.
        let options =
            IntegrateOptions { trajectory: true, finish: Some(&finish), ..IntegrateOptions::default() };
        let params = self.params(weights);
        let batch = Batch { requests: robots, samples: 1 };
        let one = OneStep { spec, columns: clock.first().map_or(0, Vec::len) };
        let mut integrator = Integrator::recurrent(device, &one, &params.layout, batch, &options)?;
        integrator.set_params(&params.values)?;
        Ok(Stream {
            integrator,
            robots,
            emitted: vec![spec.horizon; robots],
            obs: vec![0.0; robots * spec.request()],
            state: vec![0.0; robots * spec.action_dim],
            moments: vec![0.0; robots * one.columns],
            output: vec![0.0; robots * spec.action_dim],
            kept: vec![0.0; 2 * robots * spec.action_dim],
            clock,
            spec: spec.clone(),
        })
    }
}

/// The normaliser of one action: all steps of a streaming policy's chunk share it.
fn one_action(spec: &PolicySpec) -> Vec<f32> {
    let (obs, action, dim) = (&spec.obs_normalizer, &spec.action_normalizer, spec.action_dim);
    let relative = match &spec.relative_to {
        Some(r) => r.0.clone(),
        None => vec![None; dim],
    };
    let clip = &obs.clip;
    window::affine([&obs.offset, &obs.scale, clip], [&action.offset[..dim], &action.scale[..dim]], &relative)
}

impl Stream {
    /// The policy's spec.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// How many robots.
    pub fn robots(&self) -> usize {
        self.robots
    }

    /// Actions that a robot's trajectory has emitted so far; the horizon if it is at its end or none was begun.
    pub fn emitted(&self, robot: usize) -> usize {
        self.emitted.get(robot).copied().unwrap_or(self.spec.horizon)
    }

    /// Begins a robot's trajectory from a raw observation [history, obs_dim].
    ///
    /// # Errors
    /// [`PolicyError`] for a robot that does not exist, a wrong length or a value that is not finite.
    pub fn begin(&mut self, robot: usize, obs: &[f32], noise: NoiseKey) -> Result<()> {
        let (dim, request, chunk) = (self.spec.action_dim, self.spec.request(), self.spec.chunk());
        if robot >= self.robots {
            let needed = format!("below {}", self.robots);
            return Err(PolicyError::Shape { what: "a robot's number", found: robot.to_string(), needed });
        }
        expect("observations", obs.len(), request)?;
        finite("observations", obs)?;
        self.obs[robot * request..][..request].copy_from_slice(obs);
        // The noise that a whole chunk of this key begins with.
        let state = &mut self.state[robot * dim..][..dim];
        philox::fill_normal(noise.seed, NOISE_STREAM, noise.request, (chunk - dim) as u64, state);
        self.emitted[robot] = 0;
        Ok(())
    }

    /// The next action of every robot for which `wanted` says so, one evaluation of the network for all of them together;
    /// `emit` is given its robot's number, the action's number in the trajectory, and the action in physical units.
    ///
    /// # Errors
    /// [`PolicyError`] if a wanted trajectory is at its end, for an action that is not finite (the others are emitted all the same, its
    /// own trajectory is at its end), or a failing device.
    pub fn next(&mut self, wanted: &[bool], emit: impl FnMut(usize, usize, &[f32])) -> Result<()> {
        let outcomes = self.next_each(wanted, emit)?;
        let failed = |robot: &usize| wanted[*robot] && !outcomes[*robot].status.is_done();
        match (0..outcomes.len()).find(failed) {
            None => Ok(()),
            Some(first) => {
                let count = (0..outcomes.len()).filter(failed).count();
                Err(FlowError::NonFinite { count, total: wanted.iter().filter(|w| **w).count(), first }
                    .into())
            }
        }
    }

    /// As [`Stream::next`], but a robot whose action is not finite is no error: nothing is emitted for it, its trajectory is at its
    /// end, and its outcome \[robots\] says why. The outcomes of robots that are not wanted mean nothing.
    ///
    /// # Errors
    /// [`PolicyError`] if a wanted trajectory is at its end, or a failing device.
    pub fn next_each(
        &mut self,
        wanted: &[bool],
        mut emit: impl FnMut(usize, usize, &[f32]),
    ) -> Result<&[RowOutcome]> {
        self.integrator.forget_outcomes();
        expect("robots", wanted.len(), self.robots)?;
        let (dim, columns) = (self.spec.action_dim, self.clock.first().map_or(0, Vec::len));
        if let Some(robot) = (0..self.robots).find(|r| wanted[*r] && self.emitted[*r] >= self.spec.horizon) {
            return Err(PolicyError::Shape {
                what: "a trajectory to go on with",
                found: format!("that of robot {robot} at its end"),
                needed: format!("fewer than {} actions emitted", self.spec.horizon),
            });
        }
        for (robot, moment) in self.moments.chunks_exact_mut(columns).enumerate() {
            moment.copy_from_slice(&self.clock[self.emitted[robot].min(self.spec.horizon - 1)]);
        }
        let inputs = [&self.obs[..], &self.moments];
        let (start, kept) = (Start::Given(&self.state), Some(&mut self.kept[..]));
        let outcomes = self.integrator.run_each(start, &inputs, &mut self.output, kept)?;
        self.spec.wrap(&mut self.output);
        let after = &self.kept[self.robots * dim..];
        for robot in (0..self.robots).filter(|r| wanted[*r]) {
            if !outcomes[robot].status.is_done() {
                self.emitted[robot] = self.spec.horizon;
                continue;
            }
            let span = robot * dim..(robot + 1) * dim;
            self.state[span.clone()].copy_from_slice(&after[span.clone()]);
            emit(robot, self.emitted[robot], &self.output[span]);
            self.emitted[robot] += 1;
        }
        Ok(outcomes)
    }

    /// The compiled step.
    pub fn integrator(&self) -> &Integrator {
        &self.integrator
    }
}

/// One step of the objective's sampler, its numbers an input.
struct OneStep<'a> {
    spec: &'a PolicySpec,
    columns: usize,
}

impl Recurrence for OneStep<'_> {
    fn dim(&self) -> usize {
        self.spec.action_dim
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![(OBS, self.spec.request()), (MOMENT, self.columns)]
    }

    fn clock(&self) -> Vec<Vec<f32>> {
        vec![vec![0.0]]
    }

    fn next(&self, g: &mut Graph, x: &Step<'_>) -> crate::graph::Result<Value> {
        let obs = self.spec.normal(g, observation(x.request)?)?;
        let Some(&clock) = x.request.get(1) else {
            return Err(crate::graph::error::shape_error("stream", &[], "the numbers of a step"));
        };
        // A chunk of one action: the state is the newest one.
        let mut task = self.spec.task(g.shape(x.state).rows(), TimeLaw::default());
        task.horizon = 1;
        let state = State { x: x.state, clock, noise: None, solver: Solver::euler(1), obs };
        self.spec.objective.method().step(&mut Builder::new(g), self.spec, &task, &state)
    }
}
