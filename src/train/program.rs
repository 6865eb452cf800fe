//! The training step as one plan: draw a batch, gather, interpolate, forward, backward, clip, AdamW, EMA.

use super::Result;
use super::config::{EmaSpec, RunConfig, ScheduleSpec};
use crate::data::{Padding, Windows};
use crate::graph::lower::lower;
use crate::graph::{Fusion, Graph, GraphError, Op, ParamLayout, Plan, Program, Value, step};
use crate::kernel::adamw::{self, AdamWParams};
use crate::kernel::call;
use crate::kernel::draw::{self, Law};
use crate::kernel::tick::{self, Ema, Schedule, TickParams};
use crate::kernel::window::{self, WindowShape};
use crate::kernel::{BufferId, Target, View, state, sumsq, window_mask};
use crate::nn::Builder;
use crate::objective::task::{COUNTS, streams};
use crate::objective::{Preparation, Task};
use crate::policy::PolicySpec;

/// Rows of the ring that losses come back through.
pub const RING: usize = 1024;

/// The sizes of the resident data.
#[derive(Clone, Copy, Debug)]
pub struct DataSize {
    /// Rows of observations and actions.
    pub rows: usize,
    /// Windows that batches are drawn from.
    pub windows: usize,
    /// What an action within its episode counts, where those past its end count nothing.
    pub masked: Option<f32>,
}

impl DataSize {
    /// Of a run's windows.
    pub fn of(windows: &Windows<'_>, config: &RunConfig) -> DataSize {
        let max_delay = config.prefix.map(|p| p.max_delay);
        let (count, horizon) = (windows.count(), windows.spec().horizon);
        // The expected number of actions that count over that of all: a delay leaves action h free with this probability.
        let free = |h: usize| max_delay.map_or(1.0, |d| (h.min(d) + 1) as f64 / (d + 1) as f64);
        let (mut counted, mut all) = (0.0, 0.0);
        for (h, within) in windows.within().into_iter().enumerate() {
            counted += within as f64 * free(h);
            all += count as f64 * free(h);
        }
        let factor = if counted > 0.0 { all / counted } else { 1.0 };
        debug_assert_eq!(windows.within().len(), horizon);
        // The chunks of reflow's pairs are whole: the teacher's flow made all of their actions.
        let masks = windows.padding() == Padding::Mask && config.reflow.is_none();
        let masked = masks.then(|| factor.sqrt() as f32);
        DataSize { rows: windows.episodes().steps(), windows: count, masked }
    }
}

/// Names of the resident buffers.
pub mod names {
    #![allow(missing_docs)]
    pub const PARAMS: &str = "params";
    pub const GRADS: &str = "grads";
    pub const FIRST: &str = "first moment";
    pub const SECOND: &str = "second moment";
    pub const EMA: &str = "ema";
    pub const STATE: &str = "state";
    pub const RING: &str = "ring";
    pub const LOSS: &str = "loss";
    pub const OBS: &str = "observations";
    pub const ACTION: &str = "actions";
    pub const TABLE: &str = "windows";
    pub const INDEX: &str = "batch";
    pub const PAIR_NOISE: &str = "noise of the pairs";
    pub const PAIR_END: &str = "ends of the pairs";
}

/// What both plans begin with: a batch of windows and what the objective draws.
struct Front {
    params: BufferId,
    state: BufferId,
    /// What the loss graph's inputs are bound to.
    inputs: Vec<(&'static str, BufferId)>,
}

/// The windows of a batch.
pub(super) fn window_shape(spec: &PolicySpec, batch: usize) -> WindowShape {
    WindowShape {
        batch,
        history: spec.history,
        obs_dim: spec.seen_dim(),
        horizon: spec.horizon,
        action_dim: spec.action_dim,
        action_offset: spec.action_offset,
    }
}

fn front(
    p: &mut Program,
    spec: &PolicySpec,
    config: &RunConfig,
    layout: &ParamLayout,
    task: &Task,
    size: DataSize,
    draw_index: bool,
) -> Result<Front> {
    let (batch, chunk) = (task.batch, spec.chunk());
    let params = p.resident(names::PARAMS, layout.len())?;
    let state = p.resident(names::STATE, state::WORDS)?;
    let raw_obs = p.resident(names::OBS, size.rows * spec.seen_dim())?;
    let raw_action = p.resident(names::ACTION, size.rows * spec.action_dim)?;
    let table = p.resident(names::TABLE, 3 * size.windows)?;
    let affine = p.constant(&spec.seen_affine())?;
    let empty = p.empty();
    let index = p.resident(names::INDEX, batch)?;
    if draw_index {
        let law = Law::Index { below: size.windows as u32 };
        p.push(draw::command(law, batch, 0, streams::INDEX, state, empty, (index, 0)))?;
    }
    let (obs, x1) = (p.temporary(batch * spec.seen())?, p.temporary(batch * chunk)?);
    let shape = window_shape(spec, batch);
    p.push(window::command(&shape, index, table, raw_obs, raw_action, affine, obs, x1))?;
    // Pairs of a trained flow take the place of the demonstrated chunk and of drawn noise.
    let given = match config.reflow.is_some() {
        true => Some([names::PAIR_NOISE, names::PAIR_END].map(|name| p.resident(name, size.windows * chunk))),
        false => None,
    };
    let mut preparation = Preparation::new(p, task, state, [obs, x1]);
    // The host's pairings are for as many steps as there are losses between two looks; a validation has but one batch.
    if let Some(weight) = size.masked {
        let counts = preparation.program.temporary(batch * chunk)?;
        preparation.program.push(window_mask::command(&shape, weight, index, table, counts))?;
        preparation.bind(COUNTS, counts);
    }
    preparation.coupling = (config.coupling, if draw_index { RING } else { 1 });
    if let Some([noise, end]) = given {
        preparation.pair([noise?, end?], size.windows, index)?;
    }
    spec.objective.method().prepare(&mut preparation)?;
    Ok(Front { params, state, inputs: preparation.inputs() })
}

/// The loss of the policy's objective.
fn loss_graph(spec: &PolicySpec, task: &Task) -> Result<(Graph, Value)> {
    let mut g = Graph::new();
    let loss = spec.objective.method().loss(&mut Builder::new(&mut g), spec, task)?;
    Ok((g, loss.value))
}

/// One optimiser step; replaying it is training.
pub fn training(
    spec: &PolicySpec,
    config: &RunConfig,
    layout: &ParamLayout,
    size: DataSize,
    target: Target,
    fusion: Fusion,
) -> Result<Plan> {
    let mut p = Program::new(target);
    p.phase("step");
    let task = Task { masked: size.masked, ..spec.task(config.batch_size, config.time_law) };
    let f = front(&mut p, spec, config, layout, &task, size, true)?;
    let grads = p.resident(names::GRADS, layout.len())?;
    let first = p.resident(names::FIRST, layout.len())?;
    let second = p.resident(names::SECOND, layout.len())?;
    let ema = p.resident(names::EMA, layout.len())?;
    let ring = p.resident(names::RING, 4 * RING)?;
    let loss_buffer = p.resident(names::LOSS, 4)?;

    let (mut g, loss) = loss_graph(spec, &task)?;
    let params: Vec<Value> = g.values().filter(|v| matches!(g.node(*v).op, Op::Param(_))).collect();
    let gradients = g.grad(loss, &params)?;
    let mut outputs = vec![(loss, (loss_buffer, View::dense(0, 1)))];
    for (v, d) in params.iter().zip(&gradients) {
        let Op::Param(param) = &g.node(*v).op else { continue };
        let info = layout.get(&param.name)?;
        outputs.push((*d, (grads, View::dense(info.offset, info.shape.cols()))));
    }
    let from = p.commands.len();
    lower(&mut p, &g, (layout, f.params), &f.inputs, &outputs)?;
    step::fuse(&mut p, from, [f.params, grads], fusion)?;

    let n = layout.len();
    // Weights that one binding does not take are done in parts.
    let parts: Vec<_> = call::parts(n, p.target.binding).collect();
    let groups = sumsq::partials(parts[0].len()).min(sumsq::MOST / parts.len()).max(1);
    let partials = groups * parts.len();
    if partials > sumsq::MOST {
        let what =
            format!("{} parts of the weights, each of one binding; at most {} are", parts.len(), sumsq::MOST);
        return Err(GraphError::Plan { kernel: "sumsq", what }.into());
    }
    let partial = p.temporary(partials)?;
    for (i, part) in parts.iter().enumerate() {
        p.push(sumsq::command((part.len(), groups), (grads, part.start), (partial, i * groups)))?;
    }
    let (o, tick) = (&config.optimizer, tick_of(config));
    p.push(tick::command(&tick, partial, partials, loss_buffer, f.state, ring))?;
    let constants = AdamWParams { beta1: o.beta1, beta2: o.beta2, eps: o.eps, weight_decay: o.weight_decay };
    for part in parts {
        let buffers = [f.params, grads, first, second, ema];
        p.push(adamw::command(&constants, (part.start, part.len()), buffers, f.state))?;
    }
    Ok(p.finish()?)
}

/// The loss on given windows with given weights; times and noise are drawn from the state's seed and step.
pub fn validation(
    spec: &PolicySpec,
    config: &RunConfig,
    layout: &ParamLayout,
    batch: usize,
    size: DataSize,
    target: Target,
) -> Result<Plan> {
    let mut p = Program::new(target);
    p.phase("loss");
    let task = Task { masked: size.masked, ..spec.task(batch, config.time_law) };
    let f = front(&mut p, spec, config, layout, &task, size, false)?;
    let loss_buffer = p.resident(names::LOSS, 4)?;
    let (g, loss) = loss_graph(spec, &task)?;
    lower(&mut p, &g, (layout, f.params), &f.inputs, &[(loss, (loss_buffer, View::dense(0, 1)))])?;
    Ok(p.finish()?)
}

/// What the optimiser's step needs to know.
fn tick_of(config: &RunConfig) -> TickParams {
    let o = &config.optimizer;
    let schedule = match o.schedule {
        ScheduleSpec::Constant => Schedule::Constant { warmup: o.warmup },
        ScheduleSpec::Cosine => {
            Schedule::Cosine { warmup: o.warmup.min(config.steps as u32 / 2), total: config.steps as u32 }
        }
    };
    TickParams {
        base_lr: o.lr,
        schedule,
        max_norm: if o.clip > 0.0 { o.clip } else { f32::INFINITY },
        beta1: o.beta1,
        beta2: o.beta2,
        ema: match o.ema {
            EmaSpec::Constant { decay } => Ema::Constant(decay),
            EmaSpec::Power { power, max } => Ema::Power { power, max },
        },
        ring_rows: RING as u32,
    }
}

/// The learning rate after `step` steps.
pub(super) fn learning_rate(config: &RunConfig, step: u64) -> f64 {
    tick::learning_rate(&tick_of(config), step)
}
