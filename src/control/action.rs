//! What a controller gives back.

use serde::Serialize;

/// Where an action comes from. In the order of preference, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no action for this step (or the gate refused it): the robot is held.
    Hold,
    /// A newer chunk was asked for and is not there yet: the one before goes on.
    Previous,
    /// The chunk of the newest observation handed over.
    Fresh,
}

/// The actions of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Action<'a> {
    /// [robots, action_dim], physical units, finite; within the limits if there is a gate.
    pub values: &'a [f32],
    /// The least of all robots' kinds; with one robot, its kind.
    pub kind: Kind,
    /// Of each robot.
    pub kinds: &'a [Kind],
    /// If a chunk was taken over in this call: the actions executed between its observation and now, which are skipped
    /// (the most of all robots).
    pub delay: Option<usize>,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls of act.
    pub ticks: u64,
    /// Actions of the newest chunk.
    pub fresh: u64,
    /// Actions of the chunk before, while a newer one was waited for.
    pub previous: u64,
    /// Holds.
    pub held: u64,
    /// Passes through the policy that gave chunks.
    pub chunks: u64,
    /// Chunks of one robot that came after their last action's time.
    pub expired: u64,
    /// Passes through the policy that failed, for all robots or for some.
    pub failures: u64,
    /// Observations of one robot that were NaN or infinite.
    pub bad_observations: u64,
    /// The most actions that a robot executed between an observation and its chunk. A robot that had nothing to execute counts
    /// the calls of act in which it waited.
    pub longest_delay: usize,
    /// Requests of one robot, in real-time chunking, whose delay is longer than the policy was trained to continue: the chunk
    /// follows the running one only for as long as that.
    pub beyond_prefix: u64,
}
