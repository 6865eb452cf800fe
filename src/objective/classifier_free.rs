//! Classifier-free guidance (Ho & Salimans 2022) of a flow: in training an observation is dropped with probability `dropout`, a learned
//! one standing for none; sampling follows v(none) + weight (v(observation) - v(none)). A weight of 1 is the conditional flow,
//! 0 the unconditional one, and more than 1 sharpens what the observation says.

use super::{FlowMatching, Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, Task};
use crate::flow::Solver;
use crate::graph::{Result, Value};
use crate::nn::{Builder, Init};
use serde::{Deserialize, Serialize};

/// The objective; path and law of the times are settings of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierFree {
    /// Probability that an observation is dropped, in steps of 1/256.
    pub dropout: f32,
    /// Weight of the observation when sampling.
    pub weight: f32,
}

impl Default for ClassifierFree {
    fn default() -> ClassifierFree {
        ClassifierFree { dropout: 0.1, weight: 1.5 }
    }
}

/// Chances that a dropout is rounded to.
const CHANCES: usize = 256;

/// The learned observation that stands for none, [1, obs].
fn none(b: &mut Builder<'_>, obs: usize) -> Result<Value> {
    b.param("no_observation".into(), &[1, obs], Init::Zeros)
}

/// A network whose observations are kept where `keep` [rows, 1] is 1.
struct Dropping<'a> {
    net: &'a dyn Net,
    keep: Value,
}

impl Net for Dropping<'_> {
    fn query(&self, b: &mut Builder<'_>, x: Query) -> Result<Value> {
        let cols = b.graph.shape(x.obs).cols();
        let none = none(b, cols)?;
        let off = b.graph.sub(x.obs, none)?;
        let none = b.graph.broadcast(none, b.graph.shape(off))?;
        let obs = b.graph.fma(off, self.keep, none)?;
        self.net.query(b, Query { obs, ..x })
    }
}

impl Method for ClassifierFree {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        if !(self.dropout > 0.0 && self.dropout < 1.0) {
            let what = "objective.classifier_free.dropout";
            return Err(ObjectiveError::setting(what, self.dropout, "a number between 0 and 1"));
        }
        match self.weight.is_finite() {
            true => Ok(()),
            false => Err(ObjectiveError::setting(
                "objective.classifier_free.weight",
                self.weight,
                "a finite number",
            )),
        }
    }

    fn couples(&self) -> bool {
        true
    }

    fn queries(&self) -> usize {
        2
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        FlowMatching.prepare(p)?;
        let dropped = ((self.dropout * CHANCES as f32).round() as usize).clamp(1, CHANCES - 1);
        let table: Vec<f32> = (0..CHANCES).map(|i| if i < dropped { 0.0 } else { 1.0 }).collect();
        let keep = p.pick(&table, 1)?;
        p.bind("keep", keep);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let keep = task.columns(b.graph, "keep", 1)?;
        FlowMatching.loss(b, &Dropping { net, keep }, task)
    }

    fn sampling(&self, wanted: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        match wanted {
            Solver::Discrete { .. } => Err(ObjectiveError::Solver {
                objective: "classifier_free",
                solver: wanted.to_string(),
                needed: "a flow's solver (euler:N, rk4:N, dopri5:RTOL, ...)",
            }),
            flow => Ok(Sampling::Flow(flow)),
        }
    }

    fn velocity(&self, b: &mut Builder<'_>, net: &dyn Net, x: Query) -> Result<Value> {
        let with = net.query(b, x)?;
        let cols = b.graph.shape(x.obs).cols();
        let obs = none(b, cols)?;
        let without = net.query(b, Query { obs, ..x })?;
        b.graph.axpby(self.weight, with, 1.0 - self.weight, without)
    }
}
