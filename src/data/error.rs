//! What can be wrong with demonstrations.

use std::path::PathBuf;

use super::aside::WriteError;
use super::budget::BudgetError;
use super::lerobot::LeRobotError;
use super::narrow::Narrowed;

/// A fault in a data file, in demonstrations or in how they were asked for. Each is one line that names the thing,
/// what was found and what was needed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file does not exist.
    #[error("{}: no such file", path.display())]
    NotFound {
        /// The file asked for.
        path: PathBuf,
    },
    /// The operating system refused to read the file.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file says that its contents take more memory than it may have.
    #[error("{}: {source}", path.display())]
    Budget {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        source: BudgetError,
    },
    /// A LeRobot directory is at fault.
    #[error(transparent)]
    LeRobot(#[from] LeRobotError),
    /// A file or folder of a known kind that is not read.
    #[error("{}: found {found}: {way}", path.display())]
    Unread {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What can be done.
        way: &'static str,
    },
    /// A file of a known kind cannot be read.
    #[error("{}: not readable as {kind}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// f32 keeps too little of a column.
    #[error("{0}")]
    Narrowed(Box<Narrowed>),
    /// The folder is no data set.
    #[error(
        "{}: found a folder without meta/info.json, needed a LeRobot directory, another data set's folder or a file",
        path.display()
    )]
    NotDataSet {
        /// The folder.
        path: PathBuf,
    },
    /// One of several data sets is at fault.
    #[error("{}", within(path, source))]
    In {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<DataError>,
    },
    /// Data sets that are to be one differ.
    #[error("{what} differs between data sets: {left} in {first}, {right} in {second}")]
    Disagree {
        /// In what they differ.
        what: &'static str,
        /// One data set.
        first: String,
        /// Another.
        second: String,
        /// What the first has.
        left: String,
        /// What the second has.
        right: String,
    },
    /// The file is not a readable .npz archive.
    #[error("{}: not a readable .npz archive: {reason}", path.display())]
    NotNpz {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is not a readable .mat file.
    #[error("{}: not a readable .mat file of version 7 or older: {reason}", path.display())]
    NotMat {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An array's header or stored bytes cannot be read.
    #[error("{what}: not a readable .npy array: {reason}")]
    NotNpy {
        /// The file, with the array's name where it lies in an archive.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An array ends before its header says.
    #[error("{what}: truncated: found {found} bytes of data, needed {needed}")]
    Truncated {
        /// The file, with the array's name where it lies in an archive.
        what: String,
        /// Bytes of data present.
        found: u64,
        /// Bytes of data that shape and dtype need.
        needed: u64,
    },
    /// An array's element type is none that can be used.
    #[error("{what}: wrong dtype: found {found}, needed {needed}")]
    Dtype {
        /// The file, with the array's name where it lies in an archive.
        what: String,
        /// The dtype as numpy writes it.
        found: String,
        /// The types that can be used.
        needed: &'static str,
    },
    /// The archive lacks an array.
    #[error("{}: no array '{array}'; present: {}{}", path.display(), list(present), way(array, present))]
    MissingArray {
        /// The file.
        path: PathBuf,
        /// The array asked for.
        array: String,
        /// The arrays that the archive has.
        present: Vec<String>,
    },
    /// An array has the wrong number of axes, or an axis of length 0.
    #[error("{array}: wrong shape: found {found:?}, needed {needed}")]
    Shape {
        /// The array.
        array: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape needed.
        needed: &'static str,
    },
    /// A count does not match what it must.
    #[error("{what}: found {found}, needed {needed}")]
    Count {
        /// What was counted.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A value is outside what it may be.
    #[error("{what}: found {found}, needed {needed}")]
    Value {
        /// The setting or element.
        what: String,
        /// Its value.
        found: String,
        /// What it may be.
        needed: &'static str,
    },
    /// A value is NaN or infinite.
    #[error(
        "{array}: found {value} at row {row}, column {column} (episode {episode}), needed finite numbers"
    )]
    NonFinite {
        /// The array.
        array: String,
        /// Row over the whole array, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// Episode that the row lies in, from 0.
        episode: usize,
        /// The value.
        value: f32,
    },
    /// There is no episode.
    #[error("{what}: found no episode, needed at least one")]
    NoEpisodes {
        /// The array or the list of episodes.
        what: String,
    },
    /// An episode has no step.
    #[error("{array}: episode {episode} has length 0, needed at least 1 step")]
    EmptyEpisode {
        /// The array of lengths.
        array: String,
        /// The episode, from 0.
        episode: usize,
    },
    /// Only successful episodes were asked for, but the data does not say which succeeded.
    #[error("successful_only: found no array '{array}' that says which episodes succeeded")]
    NoSuccessArray {
        /// The array asked for.
        array: String,
    },
    /// Only successful episodes were asked for, and none succeeded.
    #[error("successful_only: found 0 successful episodes of {episodes}, needed at least 1")]
    NoSuccessfulEpisode {
        /// Episodes in the data.
        episodes: usize,
    },
    /// An index is past the end.
    #[error("{what} {index} does not exist: there are {count}")]
    OutOfRange {
        /// What was indexed.
        what: &'static str,
        /// The index.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// No episode is long enough.
    #[error("all {episodes} episodes are too short: found at most {longest} steps, needed {needed}")]
    AllShort {
        /// How many there are.
        episodes: usize,
        /// Steps of the longest.
        longest: usize,
        /// Steps that one must have.
        needed: usize,
    },
    /// An episode is too short to hold one window.
    #[error(
        "episode {episode} has {length} steps: too short for a window of horizon {horizon} \
         (action_offset {action_offset}, pad_after {pad_after}){}",
        and_more(*more)
    )]
    ShortEpisode {
        /// The episode, from 0.
        episode: usize,
        /// Its steps.
        length: usize,
        /// Action steps per window.
        horizon: usize,
        /// Steps from the newest observation to the first action.
        action_offset: usize,
        /// Padded steps allowed.
        pad_after: usize,
        /// How many other episodes are too short as well.
        more: usize,
    },
}

impl DataError {
    /// The episode that alone is at fault, by its number in the data set, where it is but one.
    pub(super) fn episode(&self) -> Option<usize> {
        match self {
            DataError::LeRobot(
                LeRobotError::Frame { episode, .. } | LeRobotError::Timestamp { episode, .. },
            ) => Some(*episode),
            _ => None,
        }
    }
}

/// The fault, after the data set's path unless it names it.
fn within(path: &std::path::Path, source: &DataError) -> String {
    let (path, text) = (path.display().to_string(), source.to_string());
    if text.contains(&path) { text } else { format!("{path}: {text}") }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!("; and so are {more} other episodes") }
}

/// Reads by a library that promises errors for damaged files: a panic inside it all the same (of sums that are checked in a debug
/// build, say) becomes an error too.
#[cfg(any(feature = "hdf5", feature = "mcap"))]
pub(super) fn guarded<T>(
    path: &std::path::Path,
    kind: &'static str,
    read: impl FnOnce() -> Result<T, DataError>,
) -> Result<T, DataError> {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let damaged = |_| DataError::Malformed { path: path.into(), kind, reason: "the file is damaged".into() };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| Err(damaged(panic)))
}

/// What to do where an array is missing, by what is there in its place.
fn way(array: &str, present: &[String]) -> String {
    let has = |names: &[&'static str]| names.iter().copied().find(|name| present.iter().any(|p| p == name));
    let text = match array {
        "obs" | "action" if !present.is_empty() => {
            "Say which arrays are what: [data] obs = [\"a\", \"b\"], action = \"c\", episode_len = \"d\""
                .into()
        }
        "episode_len" => {
            let made = if let Some(name) = has(&["done", "dones", "terminals", "terminal", "is_last"]) {
                format!("np.diff(np.flatnonzero({name}), prepend=-1)")
            } else if let Some(name) = has(&["episode_index", "episode_id", "episode_ids", "episode"]) {
                format!("np.bincount({name})")
            } else if let Some(name) = has(&["episode_starts", "starts"]) {
                format!("np.diff({name}, append=len(obs))")
            } else {
                return ". It is the number of steps of each episode: [data] episode_len names another array"
                    .into();
            };
            format!("Store the steps of each episode: episode_len = {made}")
        }
        _ => return String::new(),
    };
    format!(". {text}")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(all(test, any(feature = "hdf5", feature = "mcap")))]
mod tests {
    use super::*;

    #[test]
    fn a_librarys_panic_is_an_error() {
        let read = |length: usize| guarded("a.h5".as_ref(), "HDF5", || Ok([7][length]));
        assert_eq!(read(0).unwrap(), 7);
        assert_eq!(read(1).unwrap_err().to_string(), "a.h5: not readable as HDF5: the file is damaged");
    }
}
