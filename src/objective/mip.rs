//! The minimal iterative policy (Pan, Simchowitz 2025): the same network regresses the action from nothing at t = 0, and from a
//! noised action at t* = 0.9:
//! |(pi(0, 0) - a) / t*|² + |(pi(a + (1 - t*) noise, t*) - a) / (1 - t*)|². Two evaluations sample: pi(pi(0, 0), t*). The input
//! a + (1 - t*) noise is that of the released code.

use super::{Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, ops};
use crate::flow::Solver;
use crate::graph::{Result, Shape, Value};
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective; its times are 0 and t*.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mip {
    /// t*, in (0, 1).
    pub t_star: f32,
}

impl Default for Mip {
    fn default() -> Mip {
        Mip { t_star: 0.9 }
    }
}

impl Method for Mip {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        match self.t_star > 0.0 && self.t_star < 1.0 {
            true => Ok(()),
            false => {
                Err(ObjectiveError::setting("objective.mip.t_star", self.t_star, "a number between 0 and 1"))
            }
        }
    }

    fn starts_from_noise(&self) -> bool {
        false
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let x0 = p.noise()?;
        p.bind("x0", x0);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let obs = task.obs(b.graph)?;
        let g = &mut *b.graph;
        let column = Shape::matrix(task.batch, 1);
        let (nothing, start) = (g.zeros(Shape::matrix(task.batch, task.chunk()))?, g.zeros(column)?);
        let late = g.constant(column, vec![self.t_star; task.batch])?;
        let noised = g.axpby(1.0, x1, 1.0 - self.t_star, x0)?;
        let first = net.query(b, Query { a: nothing, t: start, interval: None, obs })?;
        let second = net.query(b, Query { a: noised, t: late, interval: None, obs })?;
        let g = &mut *b.graph;
        let counts = task.counts(g)?;
        let (e0, e1) = (ops::mse(g, first, x1, counts)?, ops::mse(g, second, x1, counts)?);
        let weight = |s: f32| 1.0 / (s * s);
        Ok(Loss::of(g.axpby(weight(self.t_star), e0, weight(1.0 - self.t_star), e1)?))
    }

    /// Two evaluations, whatever is asked for.
    fn sampling(&self, _: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let clock = vec![vec![0.0, 0.0], vec![self.t_star, 1.0]];
        Ok(Sampling::Steps(Steps { solver: Solver::euler(2), clock, noise: 0 }))
    }

    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, _: &Task, s: &State) -> Result<Value> {
        let (t, keep) = (b.graph.slice(s.clock, 0, 1)?, b.graph.slice(s.clock, 1, 1)?);
        let a = b.graph.mul(s.x, keep)?;
        net.query(b, Query { a, t, interval: None, obs: s.obs })
    }
}
