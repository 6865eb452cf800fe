//! Lanes: one resident plan each, and the blocks of rows that a run sends through it.

use super::outcome::{RowOutcome, RowStatus};
use super::{Batch, KEYED_NOISE, KEYS, NOISE, NOISE_STREAM, NoiseKey, OUTPUT, STATE, Start};
use crate::flow::Result;
use crate::flow::adaptive::{FIRST_STEP, adaptive_names};
use crate::flow::fixed::names;
use crate::graph::Session;
use crate::graph::packing::{PACK, PACKED};
use crate::kernel::draw::KEY;
use crate::kernel::ode_control::{RECORD, record};
use crate::kernel::state::{State, WORDS};
use crate::kernel::{BufferId, philox};

/// Adaptive steps between two looks at how many samples still move.
const STEPS_PER_LOOK: usize = 8;

/// One resident plan and where its buffers are.
pub(super) struct Lane {
    pub(super) session: Session,
    pub(super) params: BufferId,
    /// The phase that packs weights, and the buffer that it fills.
    pub(super) pack: Option<(usize, BufferId)>,
    pub(super) start: BufferId,
    pub(super) state: BufferId,
    pub(super) keys: BufferId,
    pub(super) output: BufferId,
    pub(super) output_cols: usize,
    pub(super) trajectory: Option<BufferId>,
    pub(super) non_finite: bool,
    pub(super) requests: Vec<(BufferId, usize)>,
    pub(super) control: Option<[BufferId; 2]>,
    pub(super) phases: Phases,
    pub(super) scratch: Vec<f32>,
}

/// The phases of a plan by what they are replayed for.
pub(super) struct Phases {
    /// Once per checkpoint.
    pub(super) load: usize,
    /// What a run replays: everything, or for an adaptive solver all up to the first step.
    pub(super) all: Vec<usize>,
    /// The same after drawing the noise from one key.
    pub(super) with_noise: Vec<usize>,
    /// The same after drawing the noise from a key for each request.
    pub(super) with_keys: Vec<usize>,
    /// One step of an adaptive solver.
    pub(super) step: Option<usize>,
    /// What follows an adaptive solver's last step.
    pub(super) finish: Option<usize>,
}

/// What is still to be done on the device before the integration.
#[derive(Clone, Copy)]
enum Draw {
    Nothing,
    OneKey,
    Keys,
}

/// What every lane of a run reads.
pub(super) struct Shared<'a> {
    pub(super) requests: &'a [&'a [f32]],
    pub(super) start: Start<'a>,
    pub(super) batch: Batch,
    pub(super) block: Batch,
    pub(super) dim: usize,
    pub(super) start_cols: usize,
    pub(super) t0: f64,
    pub(super) t1: f64,
    pub(super) max_steps: usize,
    /// Of a solver with fixed steps.
    pub(super) steps: usize,
}

impl Shared<'_> {
    /// Runs the blocks of rows `first .. first + rows` on one lane. The results of rows that fail are NaN.
    pub(super) fn lane(
        &self,
        lane: &mut Lane,
        first: usize,
        rows: usize,
        out: &mut [f32],
        kept: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        let block = self.block.rows();
        let per_row = kept.len().checked_div(rows).unwrap_or(0);
        for at in (0..rows).step_by(block) {
            let n = block.min(rows - at);
            let cols = lane.output_cols;
            let draw = self.write(lane, first + at, n)?;
            let mut state = [0.0f32; WORDS];
            let (out, outcomes) = (&mut out[at * cols..(at + n) * cols], &mut outcomes[at..at + n]);
            self.integrate(lane, draw, out, &mut state, outcomes)?;
            // The device counts what is not finite; which rows those are is looked up only where there are any.
            let some_bad = lane.non_finite && State::from_words(&state).non_finite > 0;
            for (row, outcome) in out.chunks_exact_mut(cols).zip(outcomes) {
                if some_bad && outcome.status.is_done() && row.iter().any(|v| !v.is_finite()) {
                    outcome.status = RowStatus::NonFinite;
                }
                if !outcome.status.is_done() {
                    row.fill(f32::NAN);
                }
            }
            if let (Some(t), true) = (lane.trajectory, per_row > 0) {
                // Rows beyond n are padding of the last block: read per time.
                let times = per_row / self.dim;
                for s in 0..times {
                    let to = at * per_row + s * n * self.dim;
                    lane.session.read_at(t, s * block * self.dim, &mut kept[to..to + n * self.dim])?;
                }
            }
        }
        Ok(())
    }

    /// Writes the inputs of rows `first .. first + n`; the rest of the block repeats the last row's request. What noise is still to be
    /// drawn on the device.
    fn write(&self, lane: &mut Lane, first: usize, n: usize) -> Result<Draw> {
        let (whole, block, samples) = (self.block == self.batch, self.block, self.batch.samples);
        // The requests of the block.
        let requests = || (0..block.requests).map(|q| (first + (q * block.samples).min(n - 1)) / samples);
        for (data, &(id, cols)) in self.requests.iter().zip(&lane.requests) {
            if whole || self.batch.requests == 1 {
                lane.session.write(id, data)?;
                continue;
            }
            lane.scratch.clear();
            for request in requests() {
                lane.scratch.extend_from_slice(&data[request * cols..(request + 1) * cols]);
            }
            lane.session.write(id, &lane.scratch)?;
        }
        let element = (first * self.start_cols) as u64;
        let (state, draw) = match self.start {
            Start::Given(x) => {
                lane.session.write(lane.start, &x[first * self.start_cols..(first + n) * self.start_cols])?;
                (State::new(0, 0), Draw::Nothing)
            }
            Start::Noise { seed, request } | Start::Keys(&[NoiseKey { seed, request }]) => {
                (State::new(seed, request).from_element(element), Draw::OneKey)
            }
            Start::Part { seed, request, first } => {
                (State::new(seed, request).from_element(first.wrapping_add(element)), Draw::OneKey)
            }
            Start::Keys(keys) if block.samples == samples => {
                lane.scratch.clear();
                for request in requests() {
                    let state = [State::new(keys[request].seed, keys[request].request)];
                    lane.scratch.extend_from_slice(&bytemuck::cast_slice(&state)[..KEY]);
                }
                lane.session.write(lane.keys, &lane.scratch)?;
                (State::new(0, 0), Draw::Keys)
            }
            Start::Keys(keys) => {
                // Rows of a block may lie within their requests' sequences: drawn here.
                lane.scratch.resize(n * self.start_cols, 0.0);
                for (r, row) in lane.scratch.chunks_exact_mut(self.start_cols).enumerate() {
                    let (key, sample) = (keys[(first + r) / samples], (first + r) % samples);
                    let element = (sample * self.start_cols) as u64;
                    philox::fill_normal(key.seed, NOISE_STREAM, key.request, element, row);
                }
                lane.session.write(lane.start, &lane.scratch)?;
                (State::new(0, 0), Draw::Nothing)
            }
        };
        if lane.non_finite || matches!(draw, Draw::OneKey) {
            lane.session.write(lane.state, bytemuck::cast_slice(&[state]))?;
        }
        Ok(draw)
    }

    /// Integrates and reads the result, the state words, and how far each row came.
    fn integrate(
        &self,
        lane: &mut Lane,
        draw: Draw,
        out: &mut [f32],
        state: &mut [f32; WORDS],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        let Lane { session, phases, output, state: state_id, control, non_finite, scratch, .. } = lane;
        let all = match draw {
            Draw::Nothing => &phases.all,
            Draw::OneKey => &phases.with_noise,
            Draw::Keys => &phases.with_keys,
        };
        let words = if *non_finite { WORDS } else { 0 };
        let Some([control, active]) = *control else {
            session.run_reading(all, &mut [(*output, out), (*state_id, &mut state[..words])])?;
            outcomes.fill(RowOutcome { steps: self.steps as u32, ..RowOutcome::default() });
            return Ok(());
        };
        let block = self.block.rows();
        let interval = (self.t1 - self.t0) as f32;
        let begin = record(self.t0 as f32, self.t1 as f32, FIRST_STEP * interval);
        scratch.clear();
        (0..block).for_each(|_| scratch.extend(begin));
        session.write(control, scratch)?;
        session.write_u32(active, &[block as u32, 0])?;
        session.run_serial(all)?;
        let mut counts = [0u32; 2];
        let mut done = 0;
        while done < self.max_steps {
            let now = STEPS_PER_LOOK.min(self.max_steps - done);
            let steps = [phases.step.unwrap_or_default(); STEPS_PER_LOOK];
            session.run_reading(&steps[..now], &mut [(active, bytemuck::cast_slice_mut(&mut counts))])?;
            done += now;
            if counts[0] == 0 {
                break;
            }
        }
        scratch.resize(outcomes.len() * RECORD, 0.0);
        session.run_reading(
            phases.finish.as_slice(),
            &mut [(*output, out), (*state_id, &mut state[..words]), (control, &mut scratch[..])],
        )?;
        for (outcome, record) in outcomes.iter_mut().zip(scratch.as_chunks().0) {
            *outcome = RowOutcome::of_record(record);
        }
        Ok(())
    }
}

impl Lane {
    pub(super) fn new(
        session: Session,
        request: &[(&'static str, usize)],
        finish: bool,
        block: Batch,
    ) -> Result<Lane> {
        let plan = session.plan();
        let control = match plan.phase("step") {
            Ok(_) => Some([plan.buffer(adaptive_names::CONTROL)?, plan.buffer(adaptive_names::ACTIVE)?]),
            Err(_) => None,
        };
        let finish_phase = if finish { Some(plan.phase("finish")?) } else { None };
        let mut all =
            vec![plan.phase("request")?, plan.phase(if control.is_some() { "start" } else { "steps" })?];
        if control.is_none() {
            all.extend(finish_phase);
        }
        let with_noise = [vec![plan.phase(NOISE)?], all.clone()].concat();
        let with_keys = [vec![plan.phase(KEYED_NOISE)?], all.clone()].concat();
        let step = plan.phase("step").ok();
        let load = plan.phase("load")?;
        let phases = Phases { load, all, with_noise, with_keys, step, finish: finish_phase };
        let pack = plan.phase(PACK).ok().zip(plan.buffer(PACKED).ok());
        let output = plan.buffer(if finish { OUTPUT } else { names::RESULT })?;
        let requests =
            request.iter().map(|(name, cols)| Ok((plan.buffer(name)?, *cols))).collect::<Result<Vec<_>>>()?;
        Ok(Lane {
            params: plan.buffer(names::PARAMS)?,
            pack,
            start: plan.buffer(names::START)?,
            state: plan.buffer(STATE)?,
            keys: plan.buffer(KEYS)?,
            output,
            output_cols: plan.slots[output.0 as usize].elements / block.rows(),
            trajectory: plan.buffer(names::TRAJECTORY).ok(),
            non_finite: finish,
            requests,
            control,
            phases,
            scratch: Vec::new(),
            session,
        })
    }
}
