//! What can be wrong with a policy, its file, or a request to it.

use super::NormError;
use crate::data::{DataError, WriteError};
use crate::device::DeviceError;
use crate::flow::FlowError;
use crate::graph::GraphError;
use crate::nn::{SizeError, StoreError};
use std::path::PathBuf;

/// An error of loading, saving or sampling a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder where a policy file is needed.
    #[error("{path} is a folder, needed a policy file; {hint}", path = path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What it holds, and what to do.
        hint: String,
    },
    /// The file is not a policy.
    #[error("{path} is not an advect policy: {reason}", path = path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is missing, unknown or malformed.
        reason: String,
    },
    /// The file is of another version.
    #[error("{path} has format version {found}, needed {needed}: train or convert it with a matching advect", path = path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// In the file.
        found: u64,
        /// Of this build.
        needed: u64,
    },
    /// A checkpoint of another program cannot be imported.
    #[error("cannot import {dir}: {file}: {what}", dir = dir.display())]
    Import {
        /// The checkpoint's directory.
        dir: PathBuf,
        /// Which of its files.
        file: String,
        /// What is missing, unknown or malformed.
        what: String,
    },
    /// A count or shape of the request does not fit the policy.
    #[error("{what}: found {found}, needed {needed}")]
    Shape {
        /// Which array.
        what: &'static str,
        /// Its shape or length.
        found: String,
        /// What the policy takes.
        needed: String,
    },
    /// An observation or noise value is NaN or infinite.
    #[error("{what} holds {value} at element {element}: needed finite values")]
    NonFinite {
        /// Which array.
        what: &'static str,
        /// The value.
        value: f32,
        /// Where.
        element: usize,
    },
    /// A tensor of the file is missing, unknown, or not what the network needs.
    #[error("{path}: {source}", path = path.display())]
    Tensor {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreError,
    },
    /// The objective's settings, or a solver that does not sample it.
    #[error(transparent)]
    Method(#[from] crate::objective::ObjectiveError),
    /// The observation's named inputs do not add up.
    #[error(transparent)]
    Inputs(Box<DataError>),
    /// The policy's objective has not what is asked for.
    #[error("{what} needs a policy with a flow, and this one was trained by {objective}")]
    Objective {
        /// What was asked for.
        what: &'static str,
        /// What the policy was trained by.
        objective: &'static str,
    },
    /// A prefix is asked of a policy that was not trained to continue one.
    #[error(
        "the policy was not trained to continue a prefix: needed a run with prefix = {{ max_delay = N }}"
    )]
    NoPrefix,
    /// A network that has one time for the whole chunk.
    #[error("a prefix needs a time for every action, which the network {network} does not take")]
    OneTime {
        /// Which network.
        network: &'static str,
    },
    /// A network or an encoder of a size that is out of range.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Named parameters do not fit the network.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Normaliser statistics do not fit.
    #[error(transparent)]
    Norm(#[from] NormError),
    /// The flow could not be integrated.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The graph or plan failed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<DataError> for PolicyError {
    fn from(error: DataError) -> PolicyError {
        PolicyError::Inputs(Box::new(error))
    }
}

/// Result of the policy floor.
pub type Result<T> = std::result::Result<T, PolicyError>;
