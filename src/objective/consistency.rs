//! Consistency flow matching (Yang 2024; FlowPolicy, Zhang 2024): within each of a few equal segments of time, where the velocity
//! leads by the segment's end must not depend on where along the path it is asked: with f(x, t) = x + (end - t) v(x, t),
//! |f(x_t, t) - f(x_r, r)|² + alpha |v(x_t, t) - v(x_r, r)|², r = min(t + delta, end), the second of each without a gradient. As many
//! Euler steps as segments sample it.

use super::error::{count, positive};
use super::task::streams;
use super::{Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, Task, ops};
use crate::flow::Solver;
use crate::graph::{Result, Value};
use crate::kernel::draw::Law;
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective; its times are its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    /// Equal segments of [0, 1].
    pub segments: usize,
    /// Between the two times.
    pub delta: f32,
    /// Weight of the velocities' difference.
    pub alpha: f32,
}

impl Default for Consistency {
    fn default() -> Consistency {
        Consistency { segments: 2, delta: 1e-2, alpha: 1e-5 }
    }
}

impl Consistency {
    /// The loss of samples at `t` in segments that end at `end`, both [rows, 1]; `counts` as [`Task::counts`].
    pub(crate) fn difference(
        &self,
        b: &mut Builder<'_>,
        net: &dyn Net,
        [x0, x1, t, end, obs]: [Value; 5],
        counts: Option<Value>,
    ) -> Result<Value> {
        let g = &mut *b.graph;
        let later = g.affine(t, 1.0, self.delta)?;
        let r = ops::min(g, later, end)?;
        let (xt, xr) = (ops::straight(g, x0, x1, t)?, ops::straight(g, x0, x1, r)?);
        let v = net.query(b, Query { a: xt, t, interval: None, obs })?;
        let w = net.query(b, Query { a: xr, t: r, interval: None, obs })?;
        let g = &mut *b.graph;
        let w = g.stop_gradient(w)?;
        let (left, less) = (g.sub(end, t)?, g.sub(end, r)?);
        let (f, h) = (g.fma(v, left, xt)?, g.fma(w, less, xr)?);
        let (ends, velocities) = (ops::mse(g, f, h, counts)?, ops::mse(g, v, w, counts)?);
        g.axpby(1.0, ends, self.alpha, velocities)
    }
}

impl Method for Consistency {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        count("objective.consistency.segments", self.segments, [1, 1024], "1 to 1024 segments")?;
        positive("objective.consistency.delta", self.delta.into())?;
        match self.alpha.is_finite() && self.alpha >= 0.0 {
            true => Ok(()),
            false => Err(ObjectiveError::setting(
                "objective.consistency.alpha",
                self.alpha,
                "a number, at least 0",
            )),
        }
    }

    fn couples(&self) -> bool {
        true
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let table: Vec<f32> = (0..self.segments).map(|s| s as f32 / self.segments as f32).collect();
        let begin = p.pick(&table, 1)?;
        let within = p.draw(Law::Uniform, 1, streams::TIME)?;
        let x0 = p.paired_noise()?;
        p.bind("begin", begin);
        p.bind("within", within);
        p.bind("x0", x0);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let (begin, within) = (task.columns(b.graph, "begin", 1)?, task.columns(b.graph, "within", 1)?);
        let obs = task.obs(b.graph)?;
        let length = 1.0 / self.segments as f32;
        let t = b.graph.axpby(1.0, begin, length, within)?;
        let end = b.graph.affine(begin, 1.0, length)?;
        let counts = task.counts(b.graph)?;
        Ok(Loss::of(self.difference(b, net, [x0, x1, t, end, obs], counts)?))
    }

    fn sampling(&self, wanted: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        match wanted {
            Solver::Discrete { .. } => Err(ObjectiveError::Solver {
                objective: "consistency",
                solver: wanted.to_string(),
                needed: "a flow's solver, best euler with as many steps as segments",
            }),
            flow => Ok(Sampling::Flow(flow)),
        }
    }
}
