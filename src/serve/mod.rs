//! The policy server: robots ask for action chunks over OpenPI's WebSocket wire, and those that ask at the same time share one
//! pass of the device.
//!
//! The wire. The server first sends a msgpack map of metadata. Each request is one binary frame, a msgpack map of observations:
//! `observation/state` for a policy of one input, else one key for each input, with [history, dim] or `[dim]` (which then
//! stands for every step of the history) as a numpy array of any number type, or a list of numbers. The reply is a map
//! with `actions`, an f32 array [horizon, action_dim] in physical units, and plain numbers. What cannot be answered gets a text
//! frame with the reason, and the connection goes on; only a message longer than the limit ends it. Keys that the policy has no use for
//! (OpenPI's clients send a prompt and pictures with the state) are passed over, which is said once in the log; `strict` refuses them.
//! A key that is there twice is an error.
//!
//! Noise. The chunk of a request is decided by the observation and a [`NoiseKey`], a seed and a request number. The seed is [`robot_seed`] of the server's
//! seed and the connection's number, the request number counts the connection's answered requests from 0. A request may name
//! its own with the plain integers `seed` and `request`; every reply says what it used, so it can be had again. Who
//! shares the batch changes a chunk by rounding at most.
//!
//! Deadline. A reply that is later than the deadline is counted as a miss, and sent all the same, with
//! `server_timing.deadline_missed` set: only the robot knows whether a late chunk is better than none.
//!
//! `GET /healthz` answers 200 while the device works (503 once it is lost, or while it is late with a pass that took
//! longer than it may), without a key. `GET /metrics` is Prometheus text,
//! behind the key if there is one. A handshake with an `Origin` header comes from a browser page and is refused unless
//! there is a key: else any page could drive a robot on its visitor's machine.

mod array;
mod batcher;
pub mod client;
mod connection;
pub mod error;
mod frames;
mod key;
mod listener;
pub mod metrics;
mod observation;
mod server;
pub mod wire;

pub use array::{Array, ndarray, numbers};
pub use client::{ClientOptions, Observation, PolicyClient, Reply};
pub use error::{ClientError, ErrorKind, RequestError, ServeError};
pub use key::Key;
pub use metrics::{Metrics, Refusal};
pub use observation::{ObservationReader, Request, STATE};
pub use server::Server;

pub use crate::policy::NoiseKey;
use crate::policy::SamplerOptions;
use std::time::Duration;

/// Version of the protocol as the metadata has it: OpenPI's wire and the keys of this page.
pub const PROTOCOL_VERSION: u64 = 1;

/// How a policy is served.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Address or name of the interface; 127.0.0.1 is this machine alone.
    pub host: String,
    /// Port; 0 takes one that is free.
    pub port: u16,
    /// What the metadata calls the policy.
    pub name: String,
    /// Solver and weights.
    pub sampler: SamplerOptions,
    /// Requests that share a pass at most. Batches of 1, 2, 4, ... up to this are compiled and run once at the start; on
    /// a GPU each has a copy of the weights, on the CPU they share one.
    pub max_batch: usize,
    /// How long the first request of a pass waits for others, if there are other robots. They gather without it
    /// while the device is busy.
    pub batch_wait: Duration,
    /// A reply later than this is a miss.
    pub deadline: Option<Duration>,
    /// Seed of the noise.
    pub seed: u64,
    /// Refuse requests with keys that the policy has no use for, in place of passing over them.
    pub strict: bool,
    /// What clients must show; none lets in everybody who can connect.
    pub key: Option<Key>,
    /// Limits on what clients may do.
    pub limits: Limits,
}

impl Default for ServeConfig {
    fn default() -> ServeConfig {
        ServeConfig {
            host: "127.0.0.1".into(),
            port: 8000,
            name: "policy".into(),
            sampler: SamplerOptions::default(),
            max_batch: 64,
            batch_wait: Duration::from_micros(200),
            deadline: None,
            seed: 0,
            strict: false,
            key: None,
            limits: Limits::default(),
        }
    }
}

/// Limits on what clients may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a message. The default has room for three pictures of 480 x 640 x 3 as doubles, which a policy without cameras passes
    /// over.
    pub message: usize,
    /// Robots connected at once. Sockets that have not shown the key yet are none, and are limited apart.
    pub connections: usize,
    /// A connection without any frame for this long is closed. The server sends pings three times in that time, and an answer
    /// to one counts: what is closed is gone, or stuck. So is one whose message has not come to its end for this long, whatever pings
    /// it sends meanwhile.
    pub idle: Duration,
    /// From accepting a socket to the end of the WebSocket handshake.
    pub handshake: Duration,
    /// A client that does not take a reply for this long is closed.
    pub write: Duration,
    /// A pass that takes a GPU longer is given up: its robots get an error, as do those that ask before the device is done with it. On the
    /// CPU it ends between two kernels.
    pub pass: Duration,
    /// At shutdown, requests under way and closing handshakes have this long.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message: 32 << 20,
            connections: 256,
            idle: Duration::from_secs(120),
            handshake: Duration::from_secs(10),
            write: Duration::from_secs(10),
            pass: Duration::from_secs(30),
            shutdown: Duration::from_secs(5),
        }
    }
}

/// The noise seed of a connection: the server's seed and the connection's number, mixed (SplitMix64), so that servers of
/// neighbouring seeds share none.
pub fn robot_seed(seed: u64, robot: u64) -> u64 {
    mix(mix(seed) ^ robot)
}

/// One step of SplitMix64.
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn robots_have_seeds_of_their_own() {
        // SplitMix64's first output of state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        let mut seeds: Vec<u64> =
            (0..20).flat_map(|seed| (0..500).map(move |robot| robot_seed(seed, robot))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 20 * 500);
    }
}
