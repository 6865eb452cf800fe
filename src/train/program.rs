//! The training step as one plan: draw a batch, gather, interpolate, forward, backward, clip, AdamW, EMA.

use super::Result;
use super::config::{EmaSpec, RunConfig, ScheduleSpec};
use crate::flow::Path;
use crate::graph::lower::lower;
use crate::graph::{Graph, Op, ParamLayout, Plan, Program, Shape, Value};
use crate::kernel::adamw::{self, AdamWParams};
use crate::kernel::draw::{self, Law};
use crate::kernel::tick::{self, Ema, Schedule, TickParams};
use crate::kernel::window::{self, WindowShape};
use crate::kernel::{BufferId, Target, View, path, prefix, state, sumsq};
use crate::nn::Builder;
use crate::policy::{Objective, PolicySpec};

/// Streams of the training draws (sampling uses others, so that no number is used twice).
mod streams {
    pub const INDEX: u32 = 0x10;
    pub const TIME: u32 = 0x11;
    pub const NOISE: u32 = 0x12;
    pub const PATH: u32 = 0x13;
    pub const DELAY: u32 = 0x14;
}

/// Rows of the ring that losses come back through.
pub const RING: usize = 1024;

/// The sizes of the resident data.
#[derive(Clone, Copy, Debug)]
pub struct DataSize {
    /// Rows of observations and actions.
    pub rows: usize,
    /// Windows that batches are drawn from.
    pub windows: usize,
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
}

/// What both plans begin with; returns the normalised observations, x_t, u_t, t and, with a prefix, the mask of the loss.
struct Front {
    params: BufferId,
    state: BufferId,
    obs: BufferId,
    xt: BufferId,
    ut: BufferId,
    t: BufferId,
    mask: Option<BufferId>,
}

impl Front {
    /// What the loss graph's inputs are bound to.
    fn inputs(&self) -> Vec<(&'static str, BufferId)> {
        let mut out = vec![("xt", self.xt), ("ut", self.ut), ("t", self.t), ("obs", self.obs)];
        out.extend(self.mask.map(|mask| ("mask", mask)));
        out
    }
}

fn front(
    p: &mut Program,
    spec: &PolicySpec,
    config: &RunConfig,
    layout: &ParamLayout,
    batch: usize,
    size: DataSize,
    draw_index: bool,
) -> Result<Front> {
    let chunk = spec.chunk();
    let params = p.resident(names::PARAMS, layout.len())?;
    let state = p.resident(names::STATE, state::WORDS)?;
    let raw_obs = p.resident(names::OBS, size.rows * spec.obs_dim)?;
    let raw_action = p.resident(names::ACTION, size.rows * spec.action_dim)?;
    let table = p.resident(names::TABLE, 3 * size.windows)?;
    let affine = p.constant(&spec.affine())?;
    let empty = p.empty();
    let index = p.resident(names::INDEX, batch)?;
    if draw_index {
        let law = Law::Index { below: size.windows as u32 };
        p.push(draw::command(law, batch, 0, streams::INDEX, state, empty, (index, 0)))?;
    }
    let (t, x0, (kind, sigma)) = match spec.objective {
        Objective::FlowMatching => {
            let (law, quantiles) = config.time_law.kernel()?;
            let quantiles = if quantiles.is_empty() { empty } else { p.constant(&quantiles)? };
            let t = p.temporary(batch)?;
            p.push(draw::command(law, batch, 0, streams::TIME, state, quantiles, (t, 0)))?;
            let x0 = p.temporary(batch * chunk)?;
            p.push(draw::command(Law::Normal, batch * chunk, 0, streams::NOISE, state, empty, (x0, 0)))?;
            (t, x0, spec.path.kernel())
        }
        // From zero at t = 0 the linear path's x_t is 0 and its target the chunk itself.
        Objective::BehaviourCloning => {
            let zeros = p.constant(&vec![0.0; batch * chunk])?;
            (zeros, zeros, Path::Ot { sigma_min: 0.0 }.kernel())
        }
        Objective::Denoising(_) => return Err(super::config::no_denoising()),
    };
    let eps = if kind.reads_noise() {
        let eps = p.temporary(batch * chunk)?;
        p.push(draw::command(Law::Normal, batch * chunk, 0, streams::PATH, state, empty, (eps, 0)))?;
        eps
    } else {
        empty
    };
    let (obs, x1) = (p.temporary(batch * spec.request())?, p.temporary(batch * chunk)?);
    let shape = WindowShape {
        batch,
        history: spec.history,
        obs_dim: spec.obs_dim,
        horizon: spec.horizon,
        action_dim: spec.action_dim,
        action_offset: spec.action_offset,
    };
    p.push(window::command(&shape, index, table, raw_obs, raw_action, affine, obs, x1))?;
    let (xt, ut) = (p.temporary(batch * chunk)?, p.temporary(batch * chunk)?);
    p.push(path::command(kind, sigma, [batch, chunk], x0, x1, t, eps, xt, ut))?;
    let Some(spec_prefix) = &spec.prefix else {
        return Ok(Front { params, state, obs, xt, ut, t, mask: None });
    };
    let delay = p.temporary(batch)?;
    let law = Law::Index { below: spec_prefix.max_delay as u32 + 1 };
    p.push(draw::command(law, batch, 0, streams::DELAY, state, empty, (delay, 0)))?;
    let (times, mask) = (p.temporary(batch * spec.horizon)?, p.temporary(batch * chunk)?);
    let buffers = prefix::Buffers { delay, t, x1, xt, ut, times, mask };
    let weight = spec_prefix.loss_factor(spec.horizon).sqrt() as f32;
    p.push(prefix::command([batch, spec.horizon, spec.action_dim], weight, &buffers))?;
    Ok(Front { params, state, obs, xt, ut, t: times, mask: Some(mask) })
}

/// The loss graph of the conditional flow-matching objective (Lipman 2022): mean (v(x_t, t, o) - u_t)^2. After a prefix it is
/// the mean over the actions that are not decided: their sum over the expected number of them, so that the loss is of the
/// same size as without a prefix, every action counts the same, and a batch's gradient is no ratio of two random sums.
fn loss_graph(spec: &PolicySpec, batch: usize) -> Result<(Graph, Value)> {
    let mut g = Graph::new();
    let x = g.input("xt", Shape::matrix(batch, spec.chunk()))?;
    let u = g.input("ut", Shape::matrix(batch, spec.chunk()))?;
    let times = if spec.prefix.is_some() { spec.horizon } else { 1 };
    let t = g.input("t", Shape::matrix(batch, times))?;
    let o = g.input("obs", Shape::matrix(batch, spec.request()))?;
    let v = spec.velocity(&mut Builder::new(&mut g), x, t, o)?;
    let v = match spec.prefix {
        Some(_) => {
            let mask = g.input("mask", Shape::matrix(batch, spec.chunk()))?;
            g.mul(v, mask)?
        }
        None => v,
    };
    let loss = g.mse(v, u)?;
    Ok((g, loss))
}

/// One optimiser step; replaying it is training.
pub fn training(
    spec: &PolicySpec,
    config: &RunConfig,
    layout: &ParamLayout,
    size: DataSize,
    target: Target,
) -> Result<Plan> {
    let mut p = Program::new(target);
    p.phase("step");
    let f = front(&mut p, spec, config, layout, config.batch_size, size, true)?;
    let grads = p.resident(names::GRADS, layout.len())?;
    let first = p.resident(names::FIRST, layout.len())?;
    let second = p.resident(names::SECOND, layout.len())?;
    let ema = p.resident(names::EMA, layout.len())?;
    let ring = p.resident(names::RING, 4 * RING)?;
    let loss_buffer = p.resident(names::LOSS, 4)?;

    let (mut g, loss) = loss_graph(spec, config.batch_size)?;
    let params: Vec<Value> = g.values().filter(|v| matches!(g.node(*v).op, Op::Param(_))).collect();
    let gradients = g.grad(loss, &params)?;
    let mut outputs = vec![(loss, (loss_buffer, View::dense(0, 1)))];
    for (v, d) in params.iter().zip(&gradients) {
        let Op::Param(param) = &g.node(*v).op else { continue };
        let info = layout.get(&param.name)?;
        outputs.push((*d, (grads, View::dense(info.offset, info.shape.cols()))));
    }
    lower(&mut p, &g, (layout, f.params), &f.inputs(), &outputs)?;

    let n = layout.len();
    let partial = p.temporary(sumsq::partials(n))?;
    p.push(sumsq::command(n, (grads, 0), partial))?;
    let o = &config.optimizer;
    let schedule = match o.schedule {
        ScheduleSpec::Constant => Schedule::Constant { warmup: o.warmup },
        ScheduleSpec::Cosine => {
            Schedule::Cosine { warmup: o.warmup.min(config.steps as u32 / 2), total: config.steps as u32 }
        }
    };
    let tick = TickParams {
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
    };
    p.push(tick::command(&tick, partial, sumsq::partials(n), loss_buffer, f.state, ring))?;
    let constants = AdamWParams { beta1: o.beta1, beta2: o.beta2, eps: o.eps, weight_decay: o.weight_decay };
    p.push(adamw::command(&constants, n, f.params, grads, first, second, ema, f.state))?;
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
    let f = front(&mut p, spec, config, layout, batch, size, false)?;
    let loss_buffer = p.resident(names::LOSS, 4)?;
    let (g, loss) = loss_graph(spec, batch)?;
    lower(&mut p, &g, (layout, f.params), &f.inputs(), &[(loss, (loss_buffer, View::dense(0, 1)))])?;
    Ok(p.finish()?)
}
