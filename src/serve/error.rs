//! What can go wrong: starting a server, a request that cannot be answered, and on the client's side.

use super::wire::{WireError, extents};
use crate::policy::PolicyError;
use std::io;

/// A server that cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting that makes no sense.
    #[error("{what}: found {found}, needed {needed}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        needed: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The policy cannot be compiled or run for a batch size.
    #[error("batches of {batch}: {source}")]
    Compile {
        /// Observations in a batch.
        batch: usize,
        /// Why.
        source: PolicyError,
    },
    /// The policy's first run, on an observation of the demonstrations' middle, gave no actions.
    #[error("batches of {batch}: the first run gave no actions: {fault}")]
    FirstRun {
        /// Observations in a batch.
        batch: usize,
        /// Why.
        fault: &'static str,
    },
    /// Threads or sockets could not be had from the system.
    #[error("cannot start the server: {0}")]
    System(#[from] io::Error),
    /// A thread of the server ended by a panic.
    #[error("the server's {0} thread ended by a panic")]
    Panicked(&'static str),
}

/// Why one request gets an error frame in place of actions. Its text is the frame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The frame is no message of the protocol.
    #[error("the request cannot be read: {0}")]
    Wire(#[from] WireError),
    /// A text frame came.
    #[error("found a text frame, needed a binary frame with a msgpack map of observations")]
    Text,
    /// A frame longer than the server takes.
    #[error("found a message longer than {limit} bytes, needed at most so many; the connection is closed")]
    Oversize {
        /// The limit.
        limit: usize,
    },
    /// An observation that the policy needs is not in the map.
    #[error("the observation {name:?} is missing, found {found}; needed: {needed}")]
    Missing {
        /// Its key.
        name: String,
        /// The keys that are there, the first few, escaped.
        found: String,
        /// All keys that are needed.
        needed: String,
    },
    /// A key that the policy does not know, where the server is strict.
    #[error("the key \"{name}\" is unknown{}; needed: {needed}, and optionally seed and request", and_more(*more))]
    Unknown {
        /// The first such key's first characters, escaped.
        name: String,
        /// Other keys that the policy does not know.
        more: usize,
        /// All keys that are needed.
        needed: String,
    },
    /// A key is in the map twice (by its two names, perhaps).
    #[error("the key \"{name}\" is there twice, needed once")]
    Twice {
        /// The key.
        name: String,
    },
    /// An array of the wrong shape.
    #[error("{name:?} has the shape {}; needed [{history}, {dim}] or [{dim}]{}", extents(found), number(*dim))]
    Shape {
        /// Its key.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// Steps of the policy's history.
        history: usize,
        /// Values of a step.
        dim: usize,
    },
    /// What a key holds is no array of numbers.
    #[error("{name:?}: {reason}")]
    Value {
        /// Its key.
        name: String,
        /// What is wrong with it.
        reason: WireError,
    },
    /// A value is NaN or infinite, or too large for f32.
    #[error("{name:?} holds {value} at element {element}; needed finite 32-bit floats")]
    NonFinite {
        /// Its key.
        name: String,
        /// The value.
        value: f32,
        /// Its place, counted over the whole array.
        element: usize,
    },
    /// `seed` or `request` is no whole number.
    #[error("{name:?} is {found}; needed a whole number from 0 to 2^64 - 1")]
    Noise {
        /// seed or request.
        name: &'static str,
        /// What it is.
        found: String,
    },
    /// The policy failed on this observation.
    #[error("the policy gave no actions: {0}")]
    Inference(String),
    /// The device is still busy with a pass that took longer than it may.
    #[error("the policy gave no actions: the device is late with an earlier pass; ask again")]
    Late,
    /// The server is stopping, or its device is lost.
    #[error("the policy gave no actions: the server has stopped sampling; connect again later")]
    Stopped,
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(", and {more} more") }
}

/// What an input of one value may be, too.
fn number(dim: usize) -> &'static str {
    if dim == 1 { ", or a number" } else { "" }
}

/// The kinds of errors that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not msgpack, not a map, a text frame.
    Malformed,
    /// Longer than the limit.
    Oversize,
    /// A key, shape, type or value that the policy does not take.
    Observation,
    /// The policy or the device failed.
    Inference,
}

impl ErrorKind {
    /// All of them, in the order of their counters.
    pub const ALL: [ErrorKind; 4] =
        [ErrorKind::Malformed, ErrorKind::Oversize, ErrorKind::Observation, ErrorKind::Inference];

    /// Its label in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Malformed => "malformed",
            ErrorKind::Oversize => "oversize",
            ErrorKind::Observation => "observation",
            ErrorKind::Inference => "inference",
        }
    }
}

impl RequestError {
    /// Which counter it belongs to.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RequestError::Wire(_) | RequestError::Text => ErrorKind::Malformed,
            RequestError::Oversize { .. } => ErrorKind::Oversize,
            RequestError::Inference(_) | RequestError::Late | RequestError::Stopped => ErrorKind::Inference,
            _ => ErrorKind::Observation,
        }
    }
}

/// What a client of the library meets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No server answers there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The server answered the handshake with a status.
    #[error("{address} refused the connection: {status}")]
    Refused {
        /// The address.
        address: String,
        /// The HTTP status: 401 for a wrong key, 503 for a server that is full.
        status: u16,
    },
    /// The server answered a request with an error; the connection goes on.
    #[error("the server answers: {0}")]
    Server(String),
    /// The server's message is not of the protocol.
    #[error("the server's message cannot be read: {0}")]
    Wire(#[from] WireError),
    /// The server's message lacks something or holds something else.
    #[error("the server's message: {0}")]
    Message(String),
    /// The server closed the connection.
    #[error("the server closed the connection: {0}")]
    Closed(String),
    /// The connection broke, or the call was not done in time.
    #[error("the connection broke: {0}")]
    Broken(String),
}
