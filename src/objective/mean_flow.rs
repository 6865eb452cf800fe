//! MeanFlow (Geng 2025), in this direction of time: the network u(x, t, r) is the mean velocity over [t, r]. Differentiating
//! (r - t) u = ∫ v along the path gives u = v + (r - t) du/dt, where du/dt is the derivative along the path, one JVP with the tangents
//! (v, 1, 0) for (x, t, r); the right side is the target, without a gradient. One step samples: x1 = x0 + u(x0, 0, 1).
//!
//! The derivative goes through the network's time embedding, whose frequencies multiply it: give the network the raw times, or an
//! embedding of low frequencies.
//!
//! One sample of every `every` has an interval, the others r = t (there the target is v). The loss of a sample is
//! |u - target|² / (sg |u - target|² + c)^p over the chunk.

use super::error::{count, positive};
use super::task::streams;
use super::{
    Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, euler_steps, ops,
};
use crate::flow::Solver;
use crate::graph::{Result, Shape, Value};
use crate::kernel::draw::Law;
use crate::kernel::math::Activation;
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective; its times are its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeanFlow {
    /// Of this many samples one has an interval (4: r = t for three quarters; MP1 uses 2).
    pub every: usize,
    /// Mean of the logit of the times (published as -0.4 with noise at t = 1).
    pub mean: f32,
    /// Standard deviation of the logit.
    pub sd: f32,
    /// p of the adaptive weight; 0: plain mean square.
    pub power: f32,
    /// c of the adaptive weight (0.01 in the authors' code, 1e-3 in the paper).
    pub c: f32,
}

impl Default for MeanFlow {
    fn default() -> MeanFlow {
        MeanFlow { every: 4, mean: 0.4, sd: 1.0, power: 1.0, c: 0.01 }
    }
}

/// u at (x_t, t, r) and its target, given the path's velocity v there.
pub(crate) fn identity(
    b: &mut Builder<'_>,
    net: &dyn Net,
    [xt, v, t, r, obs]: [Value; 5],
) -> Result<[Value; 2]> {
    let u = net.query(b, Query { a: xt, t, interval: Some(r), obs })?;
    let g = &mut *b.graph;
    let ones = g.constant(g.shape(t), vec![1.0; g.shape(t).len()])?;
    let du = g.jvp(&[(xt, v), (t, ones)], &[u])?[0];
    let length = g.sub(r, t)?;
    let target = g.fma(du, length, v)?;
    let target = g.stop_gradient(target)?;
    Ok([u, target])
}

impl MeanFlow {
    /// The weighted squares of every row, [rows, 1].
    fn weighted(&self, b: &mut Builder<'_>, u: Value, target: Value, counts: Option<Value>) -> Result<Value> {
        let g = &mut *b.graph;
        let delta = g.sub(u, target)?;
        let delta = ops::counted(g, delta, counts)?;
        let squares = ops::row_squares(g, delta)?;
        if self.power == 0.0 {
            return g.affine(squares, 1.0 / g.shape(u).cols() as f32, 0.0);
        }
        let base = g.affine(squares, 1.0, self.c)?;
        let weight = if self.power == 1.0 {
            g.map(Activation::Reciprocal, base)?
        } else {
            let log = g.map(Activation::Log, base)?;
            let log = g.affine(log, -self.power, 0.0)?;
            g.map(Activation::Exp, log)?
        };
        let weight = g.stop_gradient(weight)?;
        g.mul(squares, weight)
    }
}

impl Method for MeanFlow {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        count("objective.mean_flow.every", self.every, [2, 1024], "2 to 1024 samples")?;
        positive("objective.mean_flow.sd", self.sd.into())?;
        positive("objective.mean_flow.c", self.c.into())?;
        match self.power.is_finite() && self.power >= 0.0 && self.mean.is_finite() {
            true => Ok(()),
            false => Err(ObjectiveError::setting(
                "objective.mean_flow.power and mean",
                format!("{} and {}", self.power, self.mean),
                "finite numbers, the power not negative",
            )),
        }
    }

    fn batch_multiple(&self) -> usize {
        self.every
    }

    fn couples(&self) -> bool {
        true
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let law = Law::LogitNormal { mean: self.mean, sd: self.sd };
        let (s, t) = (p.draw(law, 1, streams::TIME)?, p.draw(law, 1, streams::SECOND_TIME)?);
        let x0 = p.paired_noise()?;
        p.bind("s", s);
        p.bind("t", t);
        p.bind("x0", x0);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let (s, t) = (task.columns(b.graph, "s", 1)?, task.columns(b.graph, "t", 1)?);
        let obs = task.obs(b.graph)?;
        let g = &mut *b.graph;
        let early = ops::min(g, s, t)?;
        let both = g.add(s, t)?;
        let late = g.sub(both, early)?;
        let mut parts = Vec::new();
        for x in [x0, x1, early, late, t, obs] {
            parts.push(ops::split_rows(g, x, self.every, 1)?);
        }
        let &[x0, x1, early, late, t, obs] = parts.as_slice() else {
            return Err(crate::graph::error::shape_error("mean_flow", &[], "six inputs"));
        };
        let counts = task.counts(g)?;
        let [counts, counts_still] = ops::split_counts(g, counts, self.every, 1)?;
        let mut losses = Vec::new();
        let g = &mut *b.graph;
        let v = g.sub(x1[0], x0[0])?;
        let xt = g.fma(v, early[0], x0[0])?;
        let [u, target] = identity(b, net, [xt, v, early[0], late[0], obs[0]])?;
        losses.push(self.weighted(b, u, target, counts)?);
        // No interval: the time is any of the two draws, and nothing is differentiated.
        let g = &mut *b.graph;
        let v = g.sub(x1[1], x0[1])?;
        let xt = g.fma(v, t[1], x0[1])?;
        let u = net.query(b, Query { a: xt, t: t[1], interval: Some(t[1]), obs: obs[1] })?;
        losses.push(self.weighted(b, u, v, counts_still)?);
        let g = &mut *b.graph;
        let (a, c) = (sum(g, losses[0])?, sum(g, losses[1])?);
        let total = g.add(a, c)?;
        Ok(Loss::of(g.affine(total, 1.0 / task.batch as f32, 0.0)?))
    }

    fn sampling(&self, wanted: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let steps = euler_steps("mean_flow", wanted)?;
        let at = |s: usize| (s as f64 / steps as f64) as f32;
        let clock = (0..steps).map(|s| vec![at(s), at(s + 1), at(s + 1) - at(s)]).collect();
        Ok(Sampling::Steps(Steps { solver: wanted, clock, noise: 0 }))
    }

    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, _: &Task, s: &State) -> Result<Value> {
        let (t, r) = (b.graph.slice(s.clock, 0, 1)?, b.graph.slice(s.clock, 1, 1)?);
        let u = net.query(b, Query { a: s.x, t, interval: Some(r), obs: s.obs })?;
        let h = b.graph.slice(s.clock, 2, 1)?;
        b.graph.fma(u, h, s.x)
    }
}

/// The sum of a column, [1, 1].
fn sum(g: &mut crate::graph::Graph, x: Value) -> Result<Value> {
    let rows = g.shape(x).rows();
    let out = g.col_sum(x, rows, 1.0)?;
    g.reshape(out, Shape::matrix(1, 1))
}
