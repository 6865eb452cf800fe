//! Shortcut models (Frans 2024): the network s(x, t, d) is the velocity that a step of length d takes. One sample of every four learns
//! that one step of d is two of d / 2 (target (s(x, t, d/2) + s(x + d/2 s, t + d/2, d/2)) / 2, without a gradient), the others are
//! flow matching with d = 0. N steps sample with d = 1 / N.
//!
//! d = 2^-k with k uniform in 0..levels, t a multiple of d; below the shortest step the halves are steps of d = 0.

use super::error::count;
use super::task::streams;
use super::{
    Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, euler_steps, ops,
};
use crate::flow::Solver;
use crate::graph::{Result, Value};
use crate::kernel::draw::Law;
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// One sample of this many is of self-consistency.
const EVERY: usize = 4;

/// The objective; its times are its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shortcut {
    /// Lengths of steps: 1, 1/2, 1/4, ...
    pub levels: usize,
}

impl Default for Shortcut {
    fn default() -> Shortcut {
        Shortcut { levels: 8 }
    }
}

/// What one step of length d at t should be, from two of half the length; `half` is the d that the halves are asked with.
/// All times [rows, 1].
pub(crate) fn two_halves(
    b: &mut Builder<'_>,
    net: &dyn Net,
    [xt, t, d, half, obs]: [Value; 5],
) -> Result<Value> {
    let first = net.query(b, Query { a: xt, t, interval: Some(half), obs })?;
    let step = b.graph.affine(d, 0.5, 0.0)?;
    let (a, later) = (b.graph.fma(first, step, xt)?, b.graph.add(t, step)?);
    let second = net.query(b, Query { a, t: later, interval: Some(half), obs })?;
    let target = b.graph.axpby(0.5, first, 0.5, second)?;
    b.graph.stop_gradient(target)
}

impl Method for Shortcut {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        count("objective.shortcut.levels", self.levels, [1, 12], "1 to 12 lengths")
    }

    fn batch_multiple(&self) -> usize {
        EVERY
    }

    fn couples(&self) -> bool {
        true
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        // Every level has as many entries as the finest one: each is as likely, and so are the times within it.
        let finest = 1usize << (self.levels - 1);
        let mut table = Vec::with_capacity(3 * self.levels * finest);
        for k in 0..self.levels {
            let (steps, last) = (1usize << k, k + 1 == self.levels);
            for i in 0..finest {
                let d = 1.0 / steps as f32;
                table.extend([(i * steps / finest) as f32 * d, d, if last { 0.0 } else { 0.5 * d }]);
            }
        }
        let steps = p.pick(&table, 3)?;
        let t = p.draw(Law::Uniform, 1, streams::TIME)?;
        let x0 = p.paired_noise()?;
        p.bind("steps", steps);
        p.bind("t", t);
        p.bind("x0", x0);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let (steps, t) = (task.columns(b.graph, "steps", 3)?, task.columns(b.graph, "t", 1)?);
        let obs = task.obs(b.graph)?;
        let g = &mut *b.graph;
        let [x0, y0] = ops::split_rows(g, x0, EVERY, 1)?;
        let [x1, y1] = ops::split_rows(g, x1, EVERY, 1)?;
        let [steps, _] = ops::split_rows(g, steps, EVERY, 1)?;
        let [_, t] = ops::split_rows(g, t, EVERY, 1)?;
        let [obs, obs_flow] = ops::split_rows(g, obs, EVERY, 1)?;
        let counts = task.counts(g)?;
        let [counts, counts_flow] = ops::split_counts(g, counts, EVERY, 1)?;

        let u = g.sub(y1, y0)?;
        let xt = g.fma(u, t, y0)?;
        let zero = g.zeros(g.shape(t))?;
        let v = net.query(b, Query { a: xt, t, interval: Some(zero), obs: obs_flow })?;
        let flow = ops::mse(b.graph, v, u, counts_flow)?;

        let g = &mut *b.graph;
        let (t, d, half) = (g.slice(steps, 0, 1)?, g.slice(steps, 1, 1)?, g.slice(steps, 2, 1)?);
        let xt = ops::straight(g, x0, x1, t)?;
        let target = two_halves(b, net, [xt, t, d, half, obs])?;
        let s = net.query(b, Query { a: xt, t, interval: Some(d), obs })?;
        let consistency = ops::mse(b.graph, s, target, counts)?;
        let share = 1.0 / EVERY as f32;
        Ok(Loss::of(b.graph.axpby(1.0 - share, flow, share, consistency)?))
    }

    fn sampling(&self, wanted: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let steps = euler_steps("shortcut", wanted)?;
        let clock = (0..steps).map(|s| vec![s as f32 / steps as f32, 1.0 / steps as f32]).collect();
        Ok(Sampling::Steps(Steps { solver: wanted, clock, noise: 0 }))
    }

    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, _: &Task, s: &State) -> Result<Value> {
        let (t, d) = (b.graph.slice(s.clock, 0, 1)?, b.graph.slice(s.clock, 1, 1)?);
        let v = net.query(b, Query { a: s.x, t, interval: Some(d), obs: s.obs })?;
        b.graph.fma(v, d, s.x)
    }
}
