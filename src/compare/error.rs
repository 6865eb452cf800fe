//! What can go wrong in a comparison.

use crate::data::{DataError, WriteError};
use crate::device::DeviceError;
use crate::policy::PolicyError;
use crate::train::TrainError;
use std::path::PathBuf;

/// An error of a comparison.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A task that does not exist.
    #[error("unknown task {found:?}: needed {known} or a FILE.npz")]
    UnknownTask {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// A method that does not exist.
    #[error("unknown method {found:?}: needed all or some of {known}")]
    UnknownMethod {
        /// What was asked for.
        found: String,
        /// What there is.
        known: String,
    },
    /// A task that needs data, or is given data that it does not read.
    #[error("task {task}: {needed}")]
    TaskData {
        /// The task.
        task: String,
        /// What it needs.
        needed: &'static str,
    },
    /// A folder or file of demonstrations that holds none.
    #[error("{path}: {reason}", path = path.display())]
    Demonstrations {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A number out of its range.
    #[error("{what}: found {found}, needed {needed}")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        needed: &'static str,
    },
    /// The folder holds a comparison with other settings.
    #[error("{folder} holds a comparison with other settings: {difference}; needed the same settings or another folder", folder = folder.display())]
    Settings {
        /// The folder.
        folder: PathBuf,
        /// The settings that differ, with both values.
        difference: String,
    },
    /// A file of the folder that cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Stored {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Demonstrations or samples do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A training run failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A policy could not be sampled.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CompareError {
    /// Whether what was asked for, and not the work, is at fault.
    pub fn is_usage(&self) -> bool {
        use CompareError::*;
        matches!(self, UnknownTask { .. } | UnknownMethod { .. } | TaskData { .. } | Range { .. })
    }
}

/// Result of the comparison floor.
pub type Result<T> = std::result::Result<T, CompareError>;
