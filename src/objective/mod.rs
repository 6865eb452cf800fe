//! What a policy is trained to do, and so how it is sampled: one file for each objective of the field.
//!
//! An objective says what is drawn for a training batch ([`Method::prepare`]), the loss ([`Method::loss`]) and how a chunk is
//! made of the trained network ([`Method::sampling`], [`Method::step`]). To add one, add its file and its line in the table.

pub mod act;
pub mod behaviour_cloning;
pub mod classifier_free;
pub mod consistency;
pub mod denoising;
mod error;
pub mod flow_matching;
pub mod mean_flow;
pub mod mip;
pub(crate) mod ops;
pub mod riemannian;
pub mod shortcut;
pub mod streaming;
pub mod task;
pub mod vq_bet;

pub use error::ObjectiveError;
use flow_matching::FlowMatching;
pub use task::{Net, Preparation, Query, Task};

use crate::flow::Solver;
use crate::graph::{self, Value};
use crate::nn::Builder;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A loss and the values on the way to it that have names in the references.
pub struct Loss {
    /// The loss, [1, 1].
    pub value: Value,
    /// Named values.
    pub parts: Vec<(&'static str, Value)>,
}

impl Loss {
    /// A loss alone.
    pub fn of(value: Value) -> Loss {
        Loss { value, parts: Vec::new() }
    }
}

/// How chunks are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampling {
    /// The network is the velocity of a flow, integrated by a solver.
    Flow(Solver),
    /// The steps of [`Method::step`].
    Steps(Steps),
}

/// Steps that are no solver's.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// What they are called.
    pub solver: Solver,
    /// One row of numbers for each.
    pub clock: Vec<Vec<f32>>,
    /// Columns of standard normal noise that every step reads.
    pub noise: usize,
}

/// What one step of a sampler reads.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The chunk so far, [rows, horizon * action_dim].
    pub x: Value,
    /// The step's numbers, [1, columns].
    pub clock: Value,
    /// Standard normal noise, [rows, columns], where the steps read any.
    pub noise: Option<Value>,
    /// What the steps are called.
    pub solver: Solver,
    /// Normalised observations, [rows, obs].
    pub obs: Value,
}

/// An objective.
pub trait Method {
    /// Checks its settings.
    fn check(&self) -> Result<(), ObjectiveError> {
        Ok(())
    }

    /// How often a velocity or a step asks the network.
    fn queries(&self) -> usize {
        1
    }

    /// Batches are a multiple of this many windows.
    fn batch_multiple(&self) -> usize {
        1
    }

    /// Whether chunks start from standard normal noise (else from zeros).
    fn starts_from_noise(&self) -> bool {
        true
    }

    /// Whether it pairs noise with chunks by the run's [`Coupling`](crate::flow::Coupling).
    fn couples(&self) -> bool {
        false
    }

    /// Columns of an action that the network sees as they are: they are neither normalised nor relative.
    ///
    /// # Errors
    /// Settings that do not fit actions of `action_dim` values.
    fn raw_columns(&self, action_dim: usize) -> Result<Vec<usize>, ObjectiveError> {
        let _ = action_dim;
        Ok(Vec::new())
    }

    /// Checks a demonstrated action, where there are [`Method::raw_columns`].
    fn check_action(&self, action: &[f32]) -> Result<(), ObjectiveError> {
        let _ = action;
        Ok(())
    }

    /// Chooses among the equivalent forms of a sampled chunk in physical units, where there are [`Method::raw_columns`].
    fn settle(&self, action_dim: usize, chunk: &mut [f32]) -> Result<(), ObjectiveError> {
        let _ = (action_dim, chunk);
        Ok(())
    }

    /// Adds what a batch draws to a program and binds it to the loss graph's inputs.
    fn prepare(&self, p: &mut Preparation<'_>) -> graph::Result<()>;

    /// The loss of a batch. Its graph inputs are `obs`, `x1`, and what [`Method::prepare`] binds.
    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> graph::Result<Loss>;

    /// How chunks are made where `wanted` is asked for.
    fn sampling(&self, wanted: Solver, task: &Task) -> Result<Sampling, ObjectiveError>;

    /// The velocity of the flow, where sampling is by [`Sampling::Flow`]: the network's answer, or one made of several.
    fn velocity(&self, b: &mut Builder<'_>, net: &dyn Net, x: Query) -> graph::Result<Value> {
        net.query(b, x)
    }

    /// The next state, where sampling is by [`Sampling::Steps`].
    ///
    /// # Errors
    /// An objective that is a flow and nothing else has no steps.
    fn step(&self, b: &mut Builder<'_>, _: &dyn Net, _: &Task, s: &State) -> graph::Result<Value> {
        Err(graph::error::shape_error(
            "objective",
            &[b.graph.shape(s.x)],
            "an objective that is sampled by steps",
        ))
    }
}

macro_rules! objectives {
    ($($(#[$doc:meta])* $variant:ident($settings:ty) = $name:literal;)*) => {
        /// The training objective. In files and on the command line it goes by its name; where it has settings, a name alone
        /// stands for their defaults, and files that advect writes spell them out.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", remote = "Self")]
        pub enum Objective { $($(#[$doc])* $variant($settings),)* }

        impl Objective {
            /// The names of all objectives.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The objective of this name with its default settings.
            pub fn named(name: &str) -> Option<Objective> {
                match name {
                    $($name => Some(Objective::$variant(<$settings>::default())),)*
                    _ => None,
                }
            }

            /// Its name in files and on the command line.
            pub fn name(&self) -> &'static str {
                match self { $(Objective::$variant(_) => $name,)* }
            }

            /// What it does.
            pub fn method(&self) -> &dyn Method {
                match self { $(Objective::$variant(settings) => settings,)* }
            }

            fn has_settings(&self) -> bool {
                match self { $(Objective::$variant(_) => size_of::<$settings>() > 0,)* }
            }
        }
    };
}

objectives! {
    /// Conditional flow matching (Lipman 2022): the network is the velocity of a flow from noise to action.
    FlowMatching(FlowMatching) = "flow_matching";
    /// Flow matching with observations that are sometimes dropped, for guidance without a classifier (Ho & Salimans 2022).
    ClassifierFree(classifier_free::ClassifierFree) = "classifier_free";
    /// Regression by mean square error, the field's control.
    BehaviourCloning(behaviour_cloning::BehaviourCloning) = "behaviour_cloning";
    /// Mean velocities over an interval, for one step (Geng 2025).
    MeanFlow(mean_flow::MeanFlow) = "mean_flow";
    /// Velocities that know the length of their step (Frans 2024).
    Shortcut(shortcut::Shortcut) = "shortcut";
    /// Straight segments by self-consistency (Yang 2024).
    Consistency(consistency::Consistency) = "consistency";
    /// Two regressions, the second of a slightly noised action (Pan, Simchowitz 2025).
    Mip(mip::Mip) = "mip";
    /// A flow along the trajectory itself (Jiang 2025).
    Streaming(streaming::Streaming) = "streaming";
    /// Denoising diffusion (Ho 2020, Chi 2023): the network predicts noise or the clean chunk.
    Denoising(denoising::Denoising) = "denoising";
    /// The action chunking transformer (Zhao 2023), a conditional variational auto-encoder with a network of its own.
    Act(act::ActObjective) = "act";
    /// Quantised chunks, their codes as categories, and offsets (Lee 2024), with networks of its own.
    VqBet(vq_bet::VqBet) = "vq_bet";
    /// Flow matching along geodesics, for directions, rotations and poses (Chen & Lipman 2023).
    Riemannian(riemannian::Riemannian) = "riemannian";
}

impl Default for Objective {
    fn default() -> Objective {
        Objective::FlowMatching(FlowMatching)
    }
}

impl Objective {
    /// Behaviour cloning.
    pub fn behaviour_cloning() -> Objective {
        Objective::BehaviourCloning(behaviour_cloning::BehaviourCloning)
    }

    /// Whether the trained network is the velocity of a flow: what guidance, prefixes and log-likelihoods need.
    pub fn has_flow(&self) -> bool {
        matches!(self, Objective::FlowMatching(_))
    }
}

impl Serialize for Objective {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.has_settings() {
            true => Objective::serialize(self, s),
            false => s.serialize_str(self.name()),
        }
    }
}

impl<'de> Deserialize<'de> for Objective {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Objective, D::Error> {
        struct NameOrSettings;

        impl<'de> de::Visitor<'de> for NameOrSettings {
            type Value = Objective;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an objective, or a table of its settings under its name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Objective, E> {
                name.parse().map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Objective, A::Error> {
                Objective::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }

        d.deserialize_any(NameOrSettings)
    }
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Objective, String> {
        Objective::named(text).ok_or_else(|| {
            format!("found the objective {text:?}, needed one of {}", Objective::NAMES.join(", "))
        })
    }
}

/// The steps that Euler's method with `wanted` would take; what else is asked for is an error.
pub(crate) fn euler_steps(objective: &'static str, wanted: Solver) -> Result<usize, ObjectiveError> {
    match wanted {
        Solver::Fixed { method: crate::flow::solver::FixedMethod::Euler, steps } => Ok(steps),
        other => Err(ObjectiveError::Solver { objective, solver: other.to_string(), needed: "euler:N" }),
    }
}

#[cfg(test)]
mod tests;
