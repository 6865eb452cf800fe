//! Integrators: a field and a solver, compiled once for a batch size and replayed for every request.
//!
//! On a GPU one plan covers the whole batch, or, where that is more than the device holds, as large a block of it as fits, and is
//! replayed block after block. On the CPU a plan covers a block of rows that fits the caches, and every thread replays it over its
//! share of the blocks: all layers and solver steps of a block run without a hand-off.

use super::recurrence::Recurrence;
use super::solver::{check_times, even_times};
use super::{Batch, Field, FlowError, Result, Solver};
use crate::device::{CounterSnapshot, Cpu, Device, memory};
use crate::graph::packing;
use crate::graph::{Fusion, GraphError, ParamLayout, Plan, Profile};
use crate::kernel::BufferId;
use std::sync::Arc;
use std::time::Duration;

mod block;
mod lane;
mod options;
mod outcome;
mod plan;
mod run;
mod scheme;
mod start;
use lane::Lane;
pub use options::{Finish, IntegrateOptions, MAX_STEPS};
pub(crate) use outcome::all_done;
pub use outcome::{RowOutcome, RowStatus};
use plan::plan;
use scheme::Scheme;
pub use start::{NOISE_STREAM, NoiseKey, Start};

/// Operations of one product from which a lone block's kernels are split over the threads: its weights are megabytes that one core cannot
/// read, or keep in its caches, as fast as all of them. For smaller networks waking the other threads costs more than they do.
const SPLIT: f64 = 4e5;

/// A compiled integration.
pub struct Integrator {
    solver: Solver,
    batch: Batch,
    dim: usize,
    /// Columns of the start: the state, and the noise of a noisy recurrence.
    start_cols: usize,
    steps: usize,
    t0: f64,
    t1: f64,
    max_steps: usize,
    lanes: Vec<Lane>,
    block: Batch,
    cpu: Option<Cpu>,
    /// Of each row in the last run; those of an earlier one while `ran` is false.
    outcomes: Vec<RowOutcome>,
    /// Whether the last run came to its end.
    ran: bool,
    deadline: Option<Duration>,
}

impl Integrator {
    /// Compiles `field` with `solver` for a batch on a device. Parameters start as zeros: see [`Integrator::set_params`].
    pub fn new(
        device: &Device,
        field: &dyn Field,
        layout: &ParamLayout,
        solver: Solver,
        batch: Batch,
        options: &IntegrateOptions<'_>,
    ) -> Result<Integrator> {
        let times = match (options.times, solver) {
            (Some(t), _) => t.to_vec(),
            (None, Solver::Fixed { steps, .. }) => even_times(steps),
            (None, Solver::Adaptive { .. }) => vec![0.0, 1.0],
            (None, Solver::Discrete { .. }) => return Err(no_ode(solver)),
        };
        if matches!(solver, Solver::Discrete { .. }) {
            return Err(no_ode(solver));
        }
        solver.check()?;
        check_times(&times)?;
        if matches!(solver, Solver::Adaptive { .. }) && (options.trajectory || times.len() > 2) {
            return Err(FlowError::Unsupported {
                solver: solver.to_string(),
                what: "a trajectory or inner grid times",
            });
        }
        Integrator::compile(device, &Scheme::Flow { field, solver, times: &times }, layout, batch, options)
    }

    /// The plan of a whole batch by a solver with fixed steps, layer by layer, whatever schedule runs it, and on the CPU too, where
    /// runs take it in blocks: for what it costs at least. Its phases, by name: [`RUN_PHASES`] are what a run from drawn noise replays.
    pub fn whole_plan(
        device: &Device,
        field: &dyn Field,
        layout: &ParamLayout,
        solver: Solver,
        batch: Batch,
    ) -> Result<Plan> {
        let Solver::Fixed { steps, .. } = solver else {
            return Err(FlowError::Unsupported { solver: solver.to_string(), what: "a plan of a whole run" });
        };
        let scheme = Scheme::Flow { field, solver, times: &even_times(steps) };
        let options = IntegrateOptions { fusion: Fusion::Layers, ..IntegrateOptions::default() };
        Ok(plan(device, &scheme, layout, batch, &options)?)
    }

    /// Compiles the steps of a recurrence in place of a solver's. A noisy one starts from more columns: the state,
    /// then the noise of each step.
    pub fn recurrent(
        device: &Device,
        steps: &dyn Recurrence,
        layout: &ParamLayout,
        batch: Batch,
        options: &IntegrateOptions<'_>,
    ) -> Result<Integrator> {
        if options.times.is_some() {
            return Err(FlowError::Unsupported { solver: "a recurrence".into(), what: "a time grid" });
        }
        Integrator::compile(device, &Scheme::Steps(steps), layout, batch, options)
    }

    fn compile(
        device: &Device,
        scheme: &Scheme<'_>,
        layout: &ParamLayout,
        batch: Batch,
        options: &IntegrateOptions<'_>,
    ) -> Result<Integrator> {
        let values = batch
            .requests
            .checked_mul(batch.samples)
            .and_then(|rows| rows.checked_mul(scheme.start_cols().max(1)));
        if values.is_none_or(|n| n == 0 || n > isize::MAX as usize / 4) {
            let found = batch.requests as f64 * batch.samples as f64;
            return Err(FlowError::Range {
                what: "batch",
                found,
                needed: "at least one request and one sample, and no more than memory holds",
            });
        }
        if options.max_steps == 0 && matches!(scheme.solver(), Solver::Adaptive { .. }) {
            return Err(FlowError::Range { what: "max_steps", found: 0.0, needed: "at least one step" });
        }
        let mut outcomes = Vec::new();
        if outcomes.try_reserve_exact(batch.rows()).is_err() {
            let need = (batch.rows() as u64).saturating_mul(size_of::<RowOutcome>() as u64);
            return Err(GraphError::HostMemory { need, have: memory::available().unwrap_or(0) }.into());
        }
        outcomes.resize(batch.rows(), RowOutcome::default());
        let (block, threads, cpu) = match device {
            Device::Gpu(_) => (batch, 1, None),
            Device::Cpu(cpu) => {
                let (block, threads) = block::on_cpu(cpu, batch);
                (block, threads, Some(cpu.clone()))
            }
        };
        let make = |block| plan(device, scheme, layout, block, options);
        let (block, mut session) = block::resident(device, batch, block, make)?;
        let heavy = session.plan().costs.iter().any(|(_, flops)| *flops >= SPLIT);
        session.split_kernels(heavy && threads == 1);
        let request = scheme.request();
        let mut first = Lane::new(session, &request, options.finish.is_some(), block)?;
        let mut lanes = Vec::new();
        let shared: Vec<BufferId> =
            [Some(first.params), first.pack.map(|(_, packed)| packed)].into_iter().flatten().collect();
        for _ in 1..threads {
            let session = first.session.fork(&shared)?;
            lanes.push(Lane::new(session, &request, options.finish.is_some(), block)?);
        }
        lanes.insert(0, first);
        let (t0, t1) = scheme.span();
        Ok(Integrator {
            solver: scheme.solver(),
            batch,
            dim: scheme.dim(),
            start_cols: scheme.start_cols(),
            steps: scheme.steps(),
            t0,
            t1,
            max_steps: options.max_steps,
            lanes,
            block,
            cpu,
            outcomes,
            ran: false,
            deadline: options.deadline,
        })
    }

    /// The compiled plan: that of one block.
    pub fn plan(&self) -> &Arc<Plan> {
        self.lanes[0].session.plan()
    }

    /// Counts of the device so far.
    pub fn counters(&self) -> CounterSnapshot {
        self.lanes[0].session.counters()
    }

    /// Times single commands of the first lane's plan, over the data of the last run: what a run from drawn noise replays. A run
    /// takes [`Integrator::passes`] such passes one after another.
    pub fn profile(&mut self, replays: usize) -> Result<Profile> {
        let lane = &mut self.lanes[0];
        Ok(lane.session.profile(&lane.phases.with_noise, replays)?)
    }

    /// Passes of its plan that one lane of a run makes, as a share of full blocks; 1 on a GPU that takes the batch whole.
    pub fn passes(&self) -> f64 {
        self.batch.rows() as f64 / self.block.rows() as f64 / self.lanes.len() as f64
    }

    /// Lanes that work at the same time, each on a thread; 1 on a GPU, and where one lane has all threads.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The batch it was compiled for.
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// How long each run to come may take; none: as long as the device's own limit of a wait allows. A run that is not done then fails with
    /// [`DeviceError::Timeout`](crate::device::DeviceError::Timeout), and its output is NaN; the next one begins afresh.
    pub fn set_deadline(&mut self, deadline: Option<Duration>) {
        self.deadline = deadline;
    }

    /// The part of the batch that the plan covers: a run takes such blocks one after another.
    pub fn block(&self) -> Batch {
        self.block
    }

    /// Columns of the output.
    pub fn output_cols(&self) -> usize {
        self.lanes[0].output_cols
    }

    /// Columns of the start: the state's, and for a noisy recurrence those of its steps' noise.
    pub fn start_cols(&self) -> usize {
        self.start_cols
    }

    /// Number of steps of a fixed-step solver.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Sets the parameters (flat, as the layout says) and computes what depends on them and the times alone.
    pub fn set_params(&mut self, values: &[f32]) -> Result<()> {
        if !values.is_empty() {
            let params = self.lanes[0].params;
            self.lanes[0].session.write(params, values)?;
        }
        // The other lanes share the first one's parameters, packed ones too.
        let (first, rest) = self.lanes.split_at_mut(1);
        let first = &mut first[0];
        if let Some((phase, packed)) = first.pack {
            first.session.own(packed)?;
            first.session.run_serial(&[phase])?;
            first.session.publish(packed)?;
        }
        first.session.run_serial(&[first.phases.load])?;
        for lane in rest {
            for id in [Some(first.params), first.pack.map(|(_, packed)| packed)].into_iter().flatten() {
                lane.session.adopt(&first.session, id)?;
            }
            lane.session.run_serial(&[lane.phases.load])?;
        }
        Ok(())
    }

    /// On the CPU, reads the parameters of another integrator of the same field in place of a copy of its own. Both must have been
    /// given the same ones. On a GPU each keeps its own.
    pub(crate) fn share_params(&mut self, other: &mut Integrator) -> Result<()> {
        let theirs = &mut other.lanes[0];
        for lane in &mut self.lanes {
            lane.session.share(lane.params, &mut theirs.session, theirs.params)?;
            if let (Some((phase, packed)), Some((their_phase, their_packed))) = (lane.pack, theirs.pack)
                && packing::same(lane.session.plan(), phase, theirs.session.plan(), their_phase)
            {
                lane.session.share(packed, &mut theirs.session, their_packed)?;
            }
        }
        Ok(())
    }
}

/// A sampler that only an objective can turn into steps.
pub(super) fn no_ode(solver: Solver) -> FlowError {
    FlowError::Unsupported { solver: solver.to_string(), what: "the integration of a field" }
}

/// The finished output of an integrator with a [`Finish`]: the buffer that it must make resident under this name.
pub const OUTPUT: &str = "output";
/// Seed, request number and the count of non-finite values.
pub const STATE: &str = "state";
/// Noise keys, one for each request.
const KEYS: &str = "noise keys";
/// What a run of a solver with fixed steps replays, by name, if it draws its noise from one key and nothing follows.
pub const RUN_PHASES: [&str; 3] = [NOISE, "request", "steps"];
/// The phase that draws the noise of a whole batch from one key.
const NOISE: &str = "noise";
/// The phase that draws the noise of each request from its own key.
const KEYED_NOISE: &str = "keyed noise";
