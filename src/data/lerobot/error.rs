//! What can be wrong with a LeRobot directory.

use std::path::PathBuf;

use super::super::budget::BudgetError;

/// A fault in a LeRobot data set: one line that names the file, the column or key, what was found and what was needed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LeRobotError {
    /// A JSON file, or a line of one, cannot be read as what it should be.
    #[error("{}{}: {reason}", path.display(), line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where the file has one document a line.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// The data set is of a version that is not read.
    #[error("{}: codebase_version: found {found}, needed v2.0, v2.1 or v3.0", path.display())]
    Version {
        /// meta/info.json.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// A file is larger than is read.
    #[error("{}: found {found} bytes, needed at most {most}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// A column says that it takes more memory than its file may have.
    #[error("{}: column '{column}': {source}", path.display())]
    Budget {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it asks for.
        source: BudgetError,
    },
    /// A parquet file is damaged, or packed in a way that is not read.
    #[error("{}{}: not readable as parquet: {reason}", path.display(), of(column))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The column, if one is at fault.
        column: Option<String>,
        /// What the reader said.
        reason: String,
    },
    /// A recording was cut off: the data file was never closed.
    #[error(
        "{}: not readable as parquet: it has no footer: the recording ended before finalize() was called (or a copy was cut \
         short), and the file's frames are lost ({lost}). Call finalize() at the end of a recording, also where it fails",
        path.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// What was in it, as far as the other files tell.
        lost: String,
    },
    /// There is no such column.
    #[error("{}: no column '{column}'; present: {}", path.display(), list(present))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns there are.
        present: Vec<String>,
    },
    /// A column or a feature is not of the type or shape that it must be.
    #[error("{}: column '{column}': found {found}, needed {needed}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type or shape.
        found: String,
        /// What it must be.
        needed: String,
    },
    /// A list of a column has another length than the feature's shape says.
    #[error("{}: column '{column}', row {row}: found {found} values, needed {needed}", path.display())]
    ListLength {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The row in the file, from 0.
        row: usize,
        /// Values in the list.
        found: usize,
        /// Values that the shape says.
        needed: usize,
    },
    /// A value is absent.
    #[error("{}: column '{column}', row {row}: found null, needed a value", path.display())]
    Null {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The row in the file, from 0.
        row: usize,
    },
    /// A setting of meta/info.json cannot be used.
    #[error("{}: {key}: found {found}, needed {needed}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What it may be.
        needed: &'static str,
    },
    /// A count does not match another file's.
    #[error("{}: {what}: found {found}, needed {needed}", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// What was counted, and where the number needed comes from.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// Frames are not numbered as they must be.
    #[error("{}: column '{column}', episode {episode}, frame {frame}: found {found}, needed {needed}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// frame_index or episode_index.
        column: &'static str,
        /// The episode, from 0.
        episode: usize,
        /// The frame within it, from 0.
        frame: usize,
        /// The number there.
        found: i64,
        /// The number that must be there.
        needed: i64,
    },
    /// Two frames are not one period apart.
    #[error(
        "{}: column 'timestamp', episode {episode}, frame {frame}: found {found} s after the frame before, needed {needed} s \
         (1 / fps) within {tolerance} s; data.tolerance_s allows more",
        path.display()
    )]
    Timestamp {
        /// The file.
        path: PathBuf,
        /// The episode, from 0.
        episode: usize,
        /// The later frame within it, from 0.
        frame: usize,
        /// Seconds between the two.
        found: f64,
        /// Seconds that there must be.
        needed: f64,
        /// Deviation allowed, in seconds.
        tolerance: f64,
    },
}

fn of(column: &Option<String>) -> String {
    column.as_ref().map(|column| format!(": column '{column}'")).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Result of reading a LeRobot directory.
pub(super) type Result<T> = std::result::Result<T, LeRobotError>;
