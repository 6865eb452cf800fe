//! What a path holds, whichever kind of data set it is: read, and not yet judged.

use std::path::Path;

use serde::Serialize;

use super::episodes::{EpisodeArrays, Episodes};
use super::error::DataError;
use super::findings::SMALL;
use super::format;
use super::narrow::{Narrowed, digits};
use super::sets::DataSets;
use super::spec::DataSpec;

/// Kind of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A numpy archive.
    Npz,
    /// A LeRobot directory with a file per episode.
    #[serde(rename = "lerobot-v2.1")]
    LeRobotV2,
    /// A LeRobot directory with many episodes in a file.
    #[serde(rename = "lerobot-v3.0")]
    LeRobotV3,
    /// An HDF5 file: robomimic's, Minari's, or one episode.
    Hdf5,
    /// A table of text, a row a line.
    Csv,
    /// A zarr store: diffusion policy's replay buffer.
    Zarr,
    /// A ROS 2 recording in MCAP.
    Mcap,
}

impl Kind {
    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Npz => "npz",
            Kind::LeRobotV2 => "lerobot-v2.1",
            Kind::LeRobotV3 => "lerobot-v3.0",
            Kind::Hdf5 => "hdf5",
            Kind::Csv => "csv",
            Kind::Zarr => "zarr",
            Kind::Mcap => "mcap",
        }
    }
}

/// A column that was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: String,
    /// Its shape, as `480x640x3`.
    pub size: String,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.name, self.dtype, self.size)
    }
}

/// What a person should know of the numbers before they trust them; found while they were read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Caution {
    /// f32 keeps little of a column.
    Narrowed(Narrowed),
    /// Timestamps are so large that their f32 cannot show a missing frame, so that the times were not checked.
    Times {
        /// The largest, in seconds.
        time: f64,
        /// The step of f32 there, in seconds.
        step: f64,
        /// The period that should be seen, in seconds.
        period: f64,
    },
}

impl Caution {
    /// Whether training refuses such data.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Caution::Narrowed(Narrowed { fatal: true, .. }))
    }
}

impl std::fmt::Display for Caution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Caution::Narrowed(narrowed) => narrowed.fmt(f),
            Caution::Times { time, step, period } => write!(
                f,
                "timestamps cannot be checked: float32 keeps steps of {} s at {} s, and a frame is {} s; a gap within an episode \
                 would not be seen. Store times since the episode's start",
                digits(*step),
                digits(*time),
                digits(*period)
            ),
        }
    }
}

/// Instructions that go with the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// The texts.
    pub texts: Vec<String>,
    /// Number of each row's text.
    pub of_row: Vec<i64>,
}

/// Demonstrations as they lie on the disk. [`Source::episodes`] judges whether training can use them.
#[derive(Debug)]
pub struct Source {
    /// What it is.
    pub kind: Kind,
    /// Its arrays; they may hold NaN and contradict each other.
    pub arrays: EpisodeArrays,
    /// What the file calls observations, actions, lengths and success.
    pub labels: [String; 4],
    /// Image columns, which are not read.
    pub images: Vec<Skipped>,
    /// Other columns that are not read.
    pub unused: Vec<Skipped>,
    /// What a reader should know, a line each, without the images.
    pub notes: Vec<String>,
    /// What training refuses: counts and times that contradict each other. At most 64 are kept.
    pub faults: Vec<DataError>,
    /// How many faults there are.
    pub fault_count: usize,
    /// Instructions, where there are any.
    pub tasks: Option<Tasks>,
    /// What the numbers lost on their way, or what could not be checked of them.
    pub cautions: Vec<Caution>,
}

impl Source {
    /// Reads a data set of any kind that there is a reader for; what it is follows from its first bytes, or from what lies in its
    /// folder.
    ///
    /// # Errors
    /// [`DataError`] if nothing is there, it is of a kind that is not read ([`DataError::Unread`] names it), or it cannot be read.
    pub fn open(path: impl AsRef<Path>, spec: &DataSpec) -> Result<Source, DataError> {
        let path = path.as_ref();
        if !(spec.tolerance_s.is_finite() && spec.tolerance_s >= 0.0) {
            let (what, found) = ("tolerance_s".into(), spec.tolerance_s.to_string());
            return Err(DataError::Value { what, found, needed: "a number of seconds, at least 0" });
        }
        for (what, names) in [("obs_names", &spec.obs_names), ("action_names", &spec.action_names)] {
            let names = names.as_deref().unwrap_or_default();
            let again = (0..names.len()).find(|&i| names[..i].contains(&names[i]));
            if let Some(i) = again {
                let found = format!("'{}' again as value {i}", names[i]);
                return Err(DataError::Value {
                    what: what.into(),
                    found,
                    needed: "a name of its own for each",
                });
            }
        }
        let mut source = format::read(path, spec)?;
        source.pass_over_rest();
        for (what, names) in
            [("obs_names", &source.arrays.obs_names), ("action_names", &source.arrays.action_names)]
        {
            let names = names.as_deref().unwrap_or_default();
            let twice = (0..names.len()).find(|&i| names[..i].contains(&names[i]));
            if let Some(i) = twice {
                let name = &names[i];
                source
                    .notes
                    .push(format!("{what}: {name:?} stands for several values, so none is meant by it"));
            }
        }
        Ok(source)
    }

    /// Drops what was said of columns that f32 cannot show to move, and that hardly move beside the others of their array: a locked
    /// joint's noise, of which there is nothing to keep.
    fn pass_over_rest(&mut self) {
        let arrays = &self.arrays;
        let spread = |data: &[f32], dim: usize| {
            (0..dim)
                .map(|column| {
                    let values = || data.iter().skip(column).step_by(dim).copied().filter(|x| x.is_finite());
                    f64::from(values().fold(f32::MIN, f32::max))
                        - f64::from(values().fold(f32::MAX, f32::min))
                })
                .fold(0.0, f64::max)
        };
        let rests = |caution: &Caution| matches!(caution, Caution::Narrowed(n) if !n.fatal);
        if !self.cautions.iter().any(rests) {
            return;
        }
        let most = spread(&arrays.obs, arrays.obs_dim).max(spread(&arrays.action, arrays.action_dim));
        self.cautions.retain(|caution| match caution {
            Caution::Narrowed(n) if !n.fatal => n.range[1] - n.range[0] > SMALL * most,
            _ => true,
        });
    }

    /// The demonstrations, once they are known to serve.
    ///
    /// # Errors
    /// The first fault, or what [`Episodes::from_arrays`] finds, or that none succeeded where only those are wanted.
    pub fn episodes(mut self, spec: &DataSpec) -> Result<Episodes, DataError> {
        if !self.faults.is_empty() {
            return Err(self.faults.swap_remove(0));
        }
        if spec.successful_only && self.arrays.success.is_none() {
            return Err(DataError::NoSuccessArray { array: self.labels[3].clone() });
        }
        if let Some(Caution::Narrowed(narrowed)) = self.cautions.iter().find(|caution| caution.is_fatal()) {
            return Err(DataError::Narrowed(Box::new(narrowed.clone())));
        }
        let [obs, action, lengths, success] = &self.labels;
        let episodes = Episodes::checked(self.arrays, [obs, action, lengths, success])?;
        if spec.successful_only { episodes.successful() } else { Ok(episodes) }
    }

    /// Whether its counts agree: episodes, rows, successes and tasks.
    pub(super) fn is_whole(&self) -> bool {
        let EpisodeArrays { obs, action, obs_dim, action_dim, lengths, success, .. } = &self.arrays;
        let rows = lengths.iter().try_fold(0usize, |sum, &length| sum.checked_add(length));
        let fits = |data: &[f32], dim: usize| rows.and_then(|rows| rows.checked_mul(dim)) == Some(data.len());
        fits(obs, *obs_dim)
            && fits(action, *action_dim)
            && success.as_ref().is_none_or(|flags| flags.len() == lengths.len())
            && self.tasks.as_ref().is_none_or(|tasks| Some(tasks.of_row.len()) == rows)
    }

    /// Keeps some episodes, by their places in ascending order; `numbers` are those that faults know them by. To be called where
    /// [`Source::is_whole`].
    pub(super) fn keep(&mut self, kept: &[usize], numbers: &[usize]) {
        let arrays = &mut self.arrays;
        let starts: Vec<usize> = arrays
            .lengths
            .iter()
            .scan(0, |row, length| {
                *row += length;
                Some(*row - length)
            })
            .collect();
        fn rows<T: Copy>(data: &mut Vec<T>, dim: usize, kept: impl Iterator<Item = std::ops::Range<usize>>) {
            let mut end = 0;
            for range in kept {
                let from = range.start * dim..range.end * dim;
                let length = from.len();
                data.copy_within(from, end);
                end += length;
            }
            data.truncate(end);
        }
        let ranges = || kept.iter().map(|&n| starts[n]..starts[n] + arrays.lengths[n]);
        rows(&mut arrays.obs, arrays.obs_dim, ranges());
        rows(&mut arrays.action, arrays.action_dim, ranges());
        if let Some(tasks) = &mut self.tasks {
            rows(&mut tasks.of_row, 1, ranges());
        }
        if let Some(success) = &mut arrays.success {
            *success = kept.iter().map(|&n| success[n]).collect();
        }
        arrays.lengths = kept.iter().map(|&n| arrays.lengths[n]).collect();
        let before = self.faults.len();
        let still = |n: usize| kept.iter().any(|&at| numbers[at] == n);
        self.faults.retain(|fault| fault.episode().is_none_or(still));
        self.fault_count -= before - self.faults.len();
    }

    /// What the file calls observations, actions, lengths and success.
    pub(super) fn names(&self) -> [&str; 4] {
        self.labels.each_ref().map(String::as_str)
    }

    /// What a person should be told, a line each: first the image columns that are skipped.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.images.is_empty() {
            let names: Vec<String> = self.images.iter().map(Skipped::to_string).collect();
            lines.push(format!("skipped image columns: {}", names.join(", ")));
        }
        lines.extend(self.notes.iter().cloned());
        lines.extend(self.cautions.iter().map(Caution::to_string));
        lines
    }
}

/// Demonstrations, and what a person should be told about them.
#[derive(Debug)]
pub struct Loaded {
    /// The demonstrations.
    pub episodes: Episodes,
    /// A line each.
    pub notes: Vec<String>,
    /// Which episodes were too short for a window and are left out, where there were any; a warning says the same.
    pub short: Option<String>,
}

impl Episodes {
    /// Reads a numpy archive, or a LeRobot directory (a folder with meta/info.json).
    ///
    /// # Errors
    /// [`DataError`] as [`Source::open`] and [`Source::episodes`].
    pub fn load(path: impl AsRef<Path>, spec: &DataSpec) -> Result<Loaded, DataError> {
        let source = Source::open(&path, spec)?;
        DataSets::alone(path.as_ref(), source, spec)
    }

    /// Reads several data sets, of whatever kinds, as one: their episodes one after the other. Where there are several, notes and
    /// errors name the data set.
    ///
    /// # Errors
    /// [`DataError::In`] as [`Episodes::load`], or as [`Episodes::join`].
    pub fn load_all<P: AsRef<Path>>(paths: &[P], spec: &DataSpec) -> Result<Loaded, DataError> {
        DataSets::open(paths, spec)?.load(None)
    }
}
