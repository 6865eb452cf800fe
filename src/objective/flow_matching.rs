//! Conditional flow matching (Lipman 2022): mean |v(x_t, t, o) - u_t|², the network being the velocity of a flow from noise to
//! action along any of the paths of [`crate::flow::Path`].
//!
//! Sampling integrates the flow, or, with the solver `sde:N`, the stochastic process of the same marginals (Song 2021; Ma 2024):
//! with the score (t v - x) / (1 - t) of the straight path and the diffusion g² = 2 (1 - t), an Euler-Maruyama step is
//! x + h (v + t v - x) + sqrt(2 (1 - t) h) noise.

use super::task::streams;
use super::{Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, ops};
use crate::flow::solver::DiscreteMethod;
use crate::flow::{Path, Solver};
use crate::graph::{Result, Value};
use crate::kernel::draw::Law;
use crate::kernel::{path, prefix};
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective; the path, the law of the times and the prefix are settings of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowMatching;

/// What the mean over a whole chunk is multiplied by to be the mean over the actions after a prefix: delays are uniform in
/// 0..=max_delay, so of `horizon` actions max_delay / 2 are given on average.
pub(crate) fn loss_factor(max_delay: usize, horizon: usize) -> f64 {
    horizon as f64 / (horizon as f64 - max_delay as f64 / 2.0)
}

impl Method for FlowMatching {
    fn couples(&self) -> bool {
        true
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let task = p.task;
        let (batch, chunk) = (task.batch, task.chunk());
        let t = p.times()?;
        let x0 = p.paired_noise()?;
        let (kind, sigma) = task.path.kernel();
        let eps = match kind.reads_noise() {
            true => p.draw(Law::Normal, chunk, streams::PATH)?,
            false => p.empty(),
        };
        let (xt, ut) = (p.program.temporary(batch * chunk)?, p.program.temporary(batch * chunk)?);
        p.program.push(path::command(kind, sigma, [batch, chunk], x0, p.x1, t, eps, xt, ut))?;
        p.bind("xt", xt);
        p.bind("ut", ut);
        let Some(max_delay) = task.max_delay else {
            p.bind("t", t);
            return Ok(());
        };
        let delay = p.draw(Law::Index { below: max_delay as u32 + 1 }, 1, streams::DELAY)?;
        let times = p.program.temporary(batch * task.horizon)?;
        let mask = p.program.temporary(batch * chunk)?;
        let buffers = prefix::Buffers { delay, t, x1: p.x1, xt, ut, times, mask };
        let weight = loss_factor(max_delay, task.horizon).sqrt() as f32;
        p.program.push(prefix::command([batch, task.horizon, task.action_dim], weight, &buffers))?;
        p.bind("t", times);
        p.bind("mask", mask);
        Ok(())
    }

    /// After a prefix it is the mean over the actions that are not decided: their sum over the expected number of them, so that the
    /// loss is of the same size as without a prefix, every action counts the same, and a batch's gradient is no ratio of two
    /// random sums.
    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (a, u) = (task.chunks(b.graph, "xt")?, task.chunks(b.graph, "ut")?);
        let t = task.columns(b.graph, "t", if task.max_delay.is_some() { task.horizon } else { 1 })?;
        let obs = task.obs(b.graph)?;
        let v = net.query(b, Query { a, t, interval: None, obs })?;
        let masked = match task.max_delay {
            Some(_) => {
                let mask = task.chunks(b.graph, "mask")?;
                b.graph.mul(v, mask)?
            }
            None => v,
        };
        let counts = task.counts(b.graph)?;
        Ok(Loss { value: ops::mse(b.graph, masked, u, counts)?, parts: vec![("v", v)] })
    }

    fn sampling(&self, wanted: Solver, task: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let refuse = |needed| {
            Err(ObjectiveError::Solver { objective: "flow_matching", solver: wanted.to_string(), needed })
        };
        match wanted {
            Solver::Discrete { method: DiscreteMethod::Sde, steps } => {
                if task.path != (Path::Ot { sigma_min: 0.0 }) {
                    return refuse("for sde:N a policy of the straight path (ot with sigma_min 0)");
                }
                let h = 1.0 / steps as f64;
                let row = |s: usize| {
                    let t = s as f64 * h;
                    // The last step ends where it leads, without noise.
                    let spread = if s + 1 < steps { (2.0 * (1.0 - t) * h).sqrt() } else { 0.0 };
                    [t, h, spread].map(|v| v as f32).to_vec()
                };
                let clock = (0..steps).map(row).collect();
                Ok(Sampling::Steps(Steps { solver: wanted, clock, noise: task.chunk() }))
            }
            Solver::Discrete { .. } => refuse("a flow's solver (euler:N, rk4:N, dopri5:RTOL, ...) or sde:N"),
            flow => Ok(Sampling::Flow(flow)),
        }
    }

    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, _: &Task, s: &State) -> Result<Value> {
        let t = b.graph.slice(s.clock, 0, 1)?;
        let v = net.query(b, Query { a: s.x, t, interval: None, obs: s.obs })?;
        let g = &mut *b.graph;
        let (h, spread) = (g.slice(s.clock, 1, 1)?, g.slice(s.clock, 2, 1)?);
        let drift = g.fma(v, t, v)?;
        let drift = g.sub(drift, s.x)?;
        let x = g.fma(drift, h, s.x)?;
        match s.noise {
            Some(noise) => g.fma(noise, spread, x),
            None => Ok(x),
        }
    }
}
