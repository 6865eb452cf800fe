//! What a policy was trained to do, and so how it is sampled.

use super::denoising::Denoising;
use super::{PolicyError, Result};
use crate::flow::Solver;
use serde::{Deserialize, Serialize};

/// The training objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Conditional flow matching (Lipman 2022): the network is the velocity of a flow from noise to action.
    #[default]
    FlowMatching,
    /// Regression by mean square error, the field's control: the same network with a = 0 and t = 0 is the action itself,
    /// which is the flow from 0 in one Euler step.
    BehaviourCloning,
    /// Denoising diffusion, of an imported checkpoint: the network predicts noise or the clean chunk. It is neither trained
    /// nor sampled here yet.
    Denoising(Denoising),
}

impl Objective {
    /// Every objective that trains, by name.
    pub const ALL: [Objective; 2] = [Objective::FlowMatching, Objective::BehaviourCloning];

    /// Its name in files and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Objective::FlowMatching => "flow_matching",
            Objective::BehaviourCloning => "behaviour_cloning",
            Objective::Denoising(_) => "denoising",
        }
    }

    /// Whether chunks start from standard normal noise (else from zeros).
    pub fn starts_from_noise(&self) -> bool {
        !matches!(self, Objective::BehaviourCloning)
    }

    /// The solver that samples it, where `wanted` is asked for: a regression is evaluated once whatever is asked for.
    pub fn solver(&self, wanted: Solver) -> Solver {
        match self {
            Objective::FlowMatching | Objective::Denoising(_) => wanted,
            Objective::BehaviourCloning => Solver::euler(1),
        }
    }

    /// # Errors
    /// [`PolicyError::Objective`] if nothing here samples it: no flow's solver may integrate a noise prediction.
    pub fn can_be_sampled(&self) -> Result<()> {
        match self {
            Objective::FlowMatching | Objective::BehaviourCloning => Ok(()),
            Objective::Denoising(_) => self.needs_flow("sampling (denoising samplers are still to come)"),
        }
    }

    /// # Errors
    /// [`PolicyError::Objective`] unless there is a flow, which `what` needs.
    pub fn needs_flow(&self, what: &'static str) -> Result<()> {
        match self {
            Objective::FlowMatching => Ok(()),
            other => Err(PolicyError::Objective { what, objective: other.name() }),
        }
    }
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Objective, String> {
        let names = || Objective::ALL.map(|o| o.name()).join(" or ");
        Objective::ALL
            .into_iter()
            .find(|o| o.name() == text)
            .ok_or_else(|| format!("needed {}, found {text:?}", names()))
    }
}
