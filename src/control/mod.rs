//! A policy in a control loop: which action now, from which chunk, within which limits.
//!
//! [`Controller`] infers inside `act` and is deterministic; [`Actor`] infers on a thread of its own and is always back in
//! time; [`StreamController`] takes the actions of a streaming policy as its solver emits them. Both take any [`ChunkSource`](crate::policy::ChunkSource), any number of robots, and three ways of making one
//! motion of many chunks ([`Mode`]): receding horizon, temporal ensembling, real-time chunking. Both keep the history of
//! observations, ask for a new chunk early enough, and pass every action through the safety [`Gate`], if the settings have one.
//!
//! Counting: an action is executed each time that `act` returns one that is no hold, whether for want of an action or by the gate. Row i of a chunk whose observation
//! was made after n executed actions is the action number n + `action_offset` + i. So a chunk that is late is joined
//! where the robot is, and a robot that was held meanwhile has missed nothing.

mod action;
mod actor;
mod controller;
mod delay;
pub mod error;
mod history;
mod job;
mod pilot;
mod robot;
pub mod safety;
mod spec;
mod streaming;
#[cfg(test)]
mod tests;
mod worker;

pub use action::{Action, Counts, Kind};
pub use actor::Actor;
pub use controller::Controller;
pub use error::{ControlError, Result};
pub use safety::{FitOptions, Gate, GateCounts, Reaction, SafetySpec, Verdict};
pub use spec::{ControlSpec, Hold, Mode};
pub use streaming::StreamController;
