//! What can be wrong with a controller, its settings, or what it is given.

use crate::data::DataError;
use crate::policy::{PolicyError, RowStatus};

/// An error of controlling robots with a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A setting out of its range.
    #[error("{what}: found {found}, needed {needed}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        needed: String,
    },
    /// An array of another length.
    #[error("{what}: found {found} values, needed {needed}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length needed.
        needed: usize,
    },
    /// An observation that is NaN or infinite: its robot holds.
    #[error("the observation of robot {robot} holds {value} at element {element}: needed finite values")]
    Observation {
        /// Which robot.
        robot: usize,
        /// Which value of its observation.
        element: usize,
        /// What it is.
        value: f32,
    },
    /// A robot that does not exist.
    #[error("robot {found}: needed a number below {robots}")]
    Robot {
        /// The number asked for.
        found: usize,
        /// How many there are.
        robots: usize,
    },
    /// The policy gave no chunk.
    #[error("inference failed: {0}")]
    Inference(#[from] PolicyError),
    /// The policy gave no chunk that one robot could use; what the others got holds.
    #[error("the chunk of robot {robot} failed: {status}")]
    Chunk {
        /// Which robot.
        robot: usize,
        /// What became of it.
        status: RowStatus,
    },
    /// The inference thread panicked; it samples no more.
    #[error("the inference thread panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The inference thread could not be started.
    #[error("cannot start the inference thread: {0}")]
    Thread(std::io::Error),
    /// Demonstrations that limits cannot be fitted to.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Result of the control floor.
pub type Result<T> = std::result::Result<T, ControlError>;

/// An array of the length needed, or an error that names it.
pub(super) fn expect(what: &'static str, found: usize, needed: usize) -> Result<()> {
    match found == needed {
        true => Ok(()),
        false => Err(ControlError::Shape { what, found, needed }),
    }
}
