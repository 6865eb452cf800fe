//! Streaming flow policy (Jiang 2025): the flow's state is one action and its time runs along the chunk. Around a demonstrated
//! trajectory xi it keeps p(a | t) = N(xi(t), s0² e^(-2kt)), which the velocity xi'(t) - k (a - xi(t)) does; every solver step
//! emits an action. The published Push-T code drops the stabilising -k (a - xi); it is kept here.
//!
//! xi goes from where the robot is now through the chunk's actions at t = 1/H, 2/H, ..., 1, straight between them. So the
//! actions must be relative to the observation, with one normaliser for all steps of a chunk.

use super::error::positive;
use super::task::streams;
use super::{
    Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, euler_steps, ops,
};
use crate::flow::Solver;
use crate::graph::error::shape_error;
use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::draw::Law;
use crate::kernel::math::Activation;
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective; its times are uniform.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streaming {
    /// k, per chunk: how strongly the flow returns to the trajectory.
    pub k: f32,
    /// s0, the width at the start, in the units of normalised actions.
    pub sigma0: f32,
}

impl Default for Streaming {
    fn default() -> Streaming {
        Streaming { k: 2.5, sigma0: 0.1 }
    }
}

impl Streaming {
    /// The point a = xi + s0 e^(-kt) noise and the velocity xi' - k (a - xi) there.
    pub(crate) fn target(&self, g: &mut Graph, [xi, slope, noise, t]: [Value; 4]) -> Result<[Value; 2]> {
        let decay = g.affine(t, -self.k, 0.0)?;
        let decay = g.map(Activation::Exp, decay)?;
        let width = g.affine(decay, self.sigma0, 0.0)?;
        let a = g.fma(noise, width, xi)?;
        let off = g.sub(a, xi)?;
        Ok([a, g.axpby(1.0, slope, -self.k, off)?])
    }

    /// Where the robot is now, [1, action_dim].
    fn present(&self, g: &mut Graph, task: &Task) -> Result<Value> {
        match &task.present {
            Some(now) => g.constant(Shape::matrix(1, task.action_dim), now.clone()),
            None => Err(shape_error("streaming", &[], PRESENT)),
        }
    }
}

/// What it needs of a task.
const PRESENT: &str = "actions relative to the observation (relative_to) and one normaliser for all steps (action_scope = \"per_dim\")";

impl Method for Streaming {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        positive("objective.streaming.k", self.k.into())?;
        positive("objective.streaming.sigma0", self.sigma0.into())
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let (horizon, dim) = (p.task.horizon, p.task.action_dim);
        // Of segment i: its first time, then 1 for each value of knot i, then 1 for each value of knot i + 1.
        let knots = (horizon + 1) * dim;
        let mut table = vec![0.0; horizon * (1 + 2 * knots)];
        for (i, row) in table.chunks_exact_mut(1 + 2 * knots).enumerate() {
            row[0] = i as f32 / horizon as f32;
            row[1 + i * dim..1 + (i + 1) * dim].fill(1.0);
            row[1 + knots + (i + 1) * dim..1 + knots + (i + 2) * dim].fill(1.0);
        }
        let segment = p.pick(&table, 1 + 2 * knots)?;
        let within = p.draw(Law::Uniform, 1, streams::TIME)?;
        let noise = p.draw(Law::Normal, dim, streams::NOISE)?;
        p.bind("segment", segment);
        p.bind("within", within);
        p.bind("noise", noise);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (horizon, dim) = (task.horizon, task.action_dim);
        let knots = (horizon + 1) * dim;
        let (x1, obs) = (task.x1(b.graph)?, task.obs(b.graph)?);
        let segment = task.columns(b.graph, "segment", 1 + 2 * knots)?;
        let (within, noise) = (task.columns(b.graph, "within", 1)?, task.columns(b.graph, "noise", dim)?);
        let g = &mut *b.graph;
        let now = self.present(g, task)?;
        let now = g.broadcast(now, Shape::matrix(task.batch, dim))?;
        let all = g.concat(&[now, x1])?;
        let mut pick = vec![0.0; dim * knots];
        (0..knots).for_each(|e| pick[e % dim * knots + e] = 1.0);
        let pick = g.constant(Shape::matrix(dim, knots), pick)?;
        let mut knot = |start: usize| {
            let ones = g.slice(segment, start, knots)?;
            let chosen = g.mul(all, ones)?;
            g.matmul_nt(chosen, pick)
        };
        let (from, to) = (knot(1)?, knot(1 + knots)?);
        // A segment counts as the action that it ends at does.
        let counts = match task.counts(g)? {
            None => None,
            Some(counts) => {
                let first = g.zeros(Shape::matrix(task.batch, dim))?;
                let all = g.concat(&[first, counts])?;
                let ones = g.slice(segment, 1 + knots, knots)?;
                let chosen = g.mul(all, ones)?;
                Some(g.matmul_nt(chosen, pick)?)
            }
        };
        let step = g.sub(to, from)?;
        let xi = g.fma(step, within, from)?;
        let slope = g.affine(step, horizon as f32, 0.0)?;
        let begin = g.slice(segment, 0, 1)?;
        let t = g.axpby(1.0, begin, 1.0 / horizon as f32, within)?;
        let [a, target] = self.target(g, [xi, slope, noise, t])?;
        let v = net.query(b, Query { a, t, interval: None, obs })?;
        Ok(Loss { value: ops::mse(b.graph, v, target, counts)?, parts: vec![("a", a)] })
    }

    /// One step for every action, whatever number is asked for.
    fn sampling(&self, wanted: Solver, task: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        euler_steps("streaming", wanted)?;
        if task.present.is_none() {
            return Err(ObjectiveError::setting("streaming", "absolute actions", PRESENT));
        }
        let h = 1.0 / task.horizon as f32;
        // The first step starts from where the robot is, with the noise of one action.
        let row = |s: usize| match s {
            0 => vec![0.0, h, self.sigma0, 1.0],
            s => vec![s as f32 * h, h, 1.0, 0.0],
        };
        let clock = (0..task.horizon).map(row).collect();
        let solver = Solver::euler(task.horizon);
        Ok(Sampling::Steps(Steps { solver, clock, noise: 0 }))
    }

    /// The chunk moves along by one action: the newest comes last.
    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task, s: &State) -> Result<Value> {
        let (chunk, dim) = (task.chunk(), task.action_dim);
        let g = &mut *b.graph;
        let clock: Vec<Value> = (0..4).map(|i| g.slice(s.clock, i, 1)).collect::<Result<_>>()?;
        let newest = g.slice(s.x, chunk - dim, dim)?;
        let now = self.present(g, task)?;
        let begin = g.mul(now, clock[3])?;
        let a = g.fma(newest, clock[2], begin)?;
        let v = net.query(b, Query { a, t: clock[0], interval: None, obs: s.obs })?;
        let g = &mut *b.graph;
        let next = g.fma(v, clock[1], a)?;
        if chunk == dim {
            return Ok(next);
        }
        let earlier = g.slice(s.x, dim, chunk - dim)?;
        g.concat(&[earlier, next])
    }
}
