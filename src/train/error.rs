//! What can go wrong in training.

use crate::data::{DataError, WriteError};
use crate::flow::FlowError;
use crate::graph::GraphError;
use crate::policy::{NormError, PolicyError};
use std::path::PathBuf;

/// An error of a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting out of its range.
    #[error("{what}: found {found}, needed {needed}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        needed: &'static str,
    },
    /// A demonstrated action that is not on its manifold.
    #[error("row {row} of the actions: {why}")]
    Action {
        /// Its row, from 0.
        row: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A batch that the objective cannot divide.
    #[error("batch_size: found {found}, needed a multiple of {of} for {objective}")]
    Batch {
        /// The objective.
        objective: &'static str,
        /// Its size.
        found: usize,
        /// What it must be a multiple of.
        of: usize,
    },
    /// A configuration file that cannot be read.
    #[error("config {path}: {reason}", path = path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The loss or the gradient became NaN or infinite.
    #[error(
        "the loss is not finite at step {step} (loss {loss}, gradient norm {grad_norm}): a lower learning rate or a stronger clip may help"
    )]
    NonFinite {
        /// The first such step.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its gradient norm.
        grad_norm: f32,
    },
    /// The loss on the held-out windows became NaN or infinite.
    #[error(
        "the validation loss is not finite at step {step}: found {loss}, needed a number. The moving average of the weights has overflowed, or held-out episodes are far outside what training saw"
    )]
    Validation {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
    },
    /// The loss is finite and beyond all reason.
    #[error(
        "the {what} is {loss:.3e} at step {step}, in normalised units, where a policy that knows nothing has about 1: {why}"
    )]
    AbsurdLoss {
        /// `loss` (the mean since the last line of metrics) or `validation loss`.
        what: &'static str,
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
        /// Columns that may be the cause, or what else may help.
        why: String,
    },
    /// metrics.jsonl cannot be read or written.
    #[error("cannot write the metrics {path}: {reason}", path = path.display())]
    Metrics {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of a stopped run that cannot be continued.
    #[error("cannot resume from {path}: {reason}", path = path.display())]
    Resume {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The demonstrations do not serve.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Statistics cannot be fitted.
    #[error(transparent)]
    Norm(#[from] NormError),
    /// The policy cannot be made or written.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A path or time law out of range.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The plan or the device failed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Result of the training floor.
pub type Result<T> = std::result::Result<T, TrainError>;
