//! Behaviour cloning by mean square error, the field's control: the same network at a = 0, t = 0 is the action itself, which is the
//! flow from 0 in one Euler step.

use super::{Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, Task, ops};
use crate::flow::Solver;
use crate::graph::{Result, Shape};
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehaviourCloning;

impl Method for BehaviourCloning {
    fn starts_from_noise(&self) -> bool {
        false
    }

    fn prepare(&self, _: &mut Preparation<'_>) -> Result<()> {
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let a = b.graph.zeros(Shape::matrix(task.batch, task.chunk()))?;
        let t = b.graph.zeros(Shape::matrix(task.batch, 1))?;
        let (x1, obs) = (task.x1(b.graph)?, task.obs(b.graph)?);
        let y = net.query(b, Query { a, t, interval: None, obs })?;
        let counts = task.counts(b.graph)?;
        Ok(Loss::of(ops::mse(b.graph, y, x1, counts)?))
    }

    /// Evaluated once, whatever is asked for.
    fn sampling(&self, _: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        Ok(Sampling::Flow(Solver::euler(1)))
    }
}
