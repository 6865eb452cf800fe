//! The frames of the data files, with the checks that make rows mean times: numbered without gaps, one period apart.

use super::episodes::{DataFile, Listed};
use super::error::{LeRobotError, Result};
use super::info::Info;
use super::table::Table;

/// Most faults that are kept; the rest is counted.
const MOST_FAULTS: usize = 64;
/// Most frames: windows count rows in 32 bits.
const MOST_FRAMES: usize = u32::MAX as usize;

/// A column that is wanted: its name and how many values it has.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The column.
    pub name: String,
    /// Values per frame.
    pub dim: usize,
}

/// What is wanted of the data files.
pub struct Request<'a> {
    /// The data set.
    pub info: &'a Info,
    /// Observation columns, then the action.
    pub columns: Vec<Wanted>,
    /// Column that says where an episode succeeded.
    pub success: Option<String>,
    /// Whether frames have a task.
    pub tasks: bool,
    /// Frames per second.
    pub fps: f64,
    /// Deviation of a period allowed, in seconds.
    pub tolerance: f64,
}

/// Frames of all episodes, end to end.
#[derive(Default)]
pub struct Frames {
    /// Values [T, dim] of each wanted column.
    pub columns: Vec<Vec<f32>>,
    /// Frames of each episode.
    pub lengths: Vec<usize>,
    /// Whether an episode's success column was ever true.
    pub success: Option<Vec<bool>>,
    /// Task of every frame.
    pub tasks: Vec<i64>,
    /// What contradicts itself, in the order found.
    pub faults: Vec<LeRobotError>,
    /// How many faults there are, those not kept included.
    pub fault_count: usize,
}

impl Frames {
    /// Reads the files in order. Columns that are missing or of another type end it; what can be read and is wrong becomes
    /// a fault.
    pub fn read(files: &[DataFile], request: &Request<'_>) -> Result<Frames> {
        let mut frames = Frames {
            columns: vec![Vec::new(); request.columns.len()],
            success: request.success.as_ref().map(|_| Vec::new()),
            ..Frames::default()
        };
        for file in files {
            frames.add(file, request)?;
        }
        let info = request.info;
        let rows: usize = frames.lengths.iter().sum();
        for (key, found, needed) in [
            ("total_episodes", info.total_episodes, frames.lengths.len()),
            ("total_frames", info.total_frames, rows),
        ] {
            if found != needed {
                let what = format!("{key} (as many as the data files hold)");
                frames.fault(LeRobotError::Count { path: info.path.clone(), what, found, needed });
            }
        }
        Ok(frames)
    }

    fn fault(&mut self, fault: LeRobotError) {
        self.fault_count += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    fn add(&mut self, file: &DataFile, request: &Request<'_>) -> Result<()> {
        let table = Table::open(&file.path)?;
        let numbers = Numbers {
            episode: table.integers("episode_index")?,
            frame: table.integers("frame_index")?,
            time: table.numbers("timestamp")?,
        };
        let rows = numbers.episode.len();
        let count = |column: &str, found: usize| match found == rows {
            true => Ok(()),
            false => {
                let what = format!("rows of column '{column}' (as many as episode_index has)");
                Err(LeRobotError::Count { path: file.path.clone(), what, found, needed: rows })
            }
        };
        count("frame_index", numbers.frame.len())?;
        count("timestamp", numbers.time.len())?;
        let before: usize = self.lengths.iter().sum();
        if rows > MOST_FRAMES - before {
            let (path, key) = (file.path.clone(), "frames of all files".into());
            let found = (before + rows).to_string();
            return Err(LeRobotError::Setting { path, key, found, needed: "at most 4,294,967,295" });
        }
        for (wanted, values) in request.columns.iter().zip(&mut self.columns) {
            let mut column = table.floats(&wanted.name, wanted.dim)?;
            count(&wanted.name, column.len() / wanted.dim)?;
            values.append(&mut column);
        }
        if request.tasks {
            let mut tasks = table.integers("task_index")?;
            count("task_index", tasks.len())?;
            self.tasks.append(&mut tasks);
        }
        let flags = match &request.success {
            Some(name) => {
                let flags = table.floats(name, 1)?;
                count(name, flags.len())?;
                Some(flags)
            }
            None => None,
        };
        let mut row = 0;
        let mut expected = file.episodes.iter();
        for run in numbers.episode.chunk_by(|a, b| a == b) {
            self.check(file, expected.next(), &numbers, row, run.len(), request);
            self.lengths.push(run.len());
            if let (Some(success), Some(flags)) = (&mut self.success, &flags) {
                success.push(flags[row..row + run.len()].iter().any(|flag| *flag != 0.0));
            }
            row += run.len();
        }
        if let Some(missing) = expected.next() {
            let what = format!("frames of episode {} (its length in the list of episodes)", missing.index);
            self.fault(LeRobotError::Count {
                path: file.path.clone(),
                what,
                found: 0,
                needed: missing.length,
            });
        }
        Ok(())
    }

    /// Whether rows `row..row + length` are the episode that is listed, whole and evenly in time.
    fn check(
        &mut self,
        file: &DataFile,
        listed: Option<&Listed>,
        numbers: &Numbers,
        row: usize,
        length: usize,
        request: &Request<'_>,
    ) {
        let path = || file.path.clone();
        let found = numbers.episode[row];
        // A number that is listed is a usize; one that is not can be anything.
        let episode = listed.map_or(self.lengths.len(), |listed| listed.index);
        let needed = i64::try_from(episode).unwrap_or(i64::MAX);
        if listed.is_none() || found != needed {
            self.fault(LeRobotError::Frame {
                path: path(),
                column: "episode_index",
                episode,
                frame: 0,
                found,
                needed,
            });
        }
        if let Some(listed) = listed.filter(|listed| listed.length != length) {
            let what = format!("frames of episode {episode} (its length in the list of episodes)");
            self.fault(LeRobotError::Count { path: path(), what, found: length, needed: listed.length });
        }
        let frames = &numbers.frame[row..row + length];
        if let Some(frame) = (0..length).find(|&n| frames[n] != n as i64) {
            let (found, needed) = (frames[frame], frame as i64);
            self.fault(LeRobotError::Frame {
                path: path(),
                column: "frame_index",
                episode,
                frame,
                found,
                needed,
            });
        }
        let times = &numbers.time[row..row + length];
        let period = 1.0 / request.fps;
        let off = |n: &usize| {
            let found = times[*n] - times[*n - 1];
            // Timestamps are stored as f32, whose steps grow with the time.
            let rounding = times[*n].abs() * f64::from(f32::EPSILON);
            let deviation = (found - period).abs();
            deviation.is_nan() || deviation > request.tolerance + rounding
        };
        if let Some(frame) = (1..length).find(off) {
            let (found, tolerance) = (times[frame] - times[frame - 1], request.tolerance);
            let found = (found * 1e6).round() / 1e6;
            let needed = (period * 1e6).round() / 1e6;
            self.fault(LeRobotError::Timestamp { path: path(), episode, frame, found, needed, tolerance });
        }
    }
}

/// The columns that number a file's rows.
struct Numbers {
    episode: Vec<i64>,
    frame: Vec<i64>,
    time: Vec<f64>,
}
