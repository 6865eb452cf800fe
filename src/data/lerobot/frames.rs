//! The frames of the data files, with the checks that make rows mean times: numbered without gaps, one period apart. Rows say
//! which episode they belong to; the list of episodes says which there must be.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::episodes::{Listed, Listing, cut_off};
use super::error::{LeRobotError, Result};
use super::info::{Info, Layout};
use super::table::Table;
use crate::data::narrow::Watch;

/// Most faults that are kept; the rest is counted.
const MOST_FAULTS: usize = 64;
/// Most frames: windows count rows in 32 bits.
const MOST_FRAMES: usize = u32::MAX as usize;

/// A column that is wanted: its name and how many values it has.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The column.
    pub name: String,
    /// Shape of a frame's values.
    pub shape: Vec<usize>,
}

impl Wanted {
    /// Values per frame.
    pub fn dim(&self) -> usize {
        self.shape.iter().product()
    }
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
    /// What becoming f32 costs each.
    pub watches: Vec<Watch>,
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
    /// What the list of episodes says and the rows do not, a line each: the rows were believed.
    pub notes: Vec<String>,
    /// The largest time whose f32 cannot show a frame that is missing, where there is one.
    pub unchecked: Option<Unchecked>,
}

/// Timestamps that are too large for their type: two of them do not tell whether a frame is missing between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unchecked {
    /// The time, in seconds.
    pub time: f64,
    /// The step of f32 there, in seconds.
    pub step: f64,
    /// The period that should be seen, in seconds.
    pub period: f64,
}

/// Rows of one file that follow each other and belong to one episode.
#[derive(Clone, Debug)]
struct Run {
    episode: i64,
    file: usize,
    /// The rows, over all files read.
    rows: Range<usize>,
}

/// The columns that number the rows of all files read.
#[derive(Default)]
struct Numbers {
    episode: Vec<i64>,
    frame: Vec<i64>,
    time: Vec<f64>,
    /// The success column, where it is wanted.
    flags: Vec<f32>,
    files: Vec<PathBuf>,
    runs: Vec<Run>,
}

impl Frames {
    /// Reads the files that the list names, and the others where something is missing. Columns that are missing or of another
    /// type end it; what can be read and is wrong becomes a fault.
    pub fn read(listing: &Listing, request: &Request<'_>) -> Result<Frames> {
        let info = request.info;
        let mut frames = Frames { columns: vec![Vec::new(); request.columns.len()], ..Frames::default() };
        frames.watches = request.columns.iter().map(|wanted| Watch::new(wanted.dim())).collect();
        let mut numbers = Numbers::default();
        let mut absent = None;
        for path in &listing.files {
            match path.try_exists() {
                Ok(true) => frames.add(path, &mut numbers, request, listing)?,
                _ => absent = absent.or(Some(path)),
            }
        }
        let missing = |numbers: &Numbers| -> bool {
            let found = numbers.lengths();
            let listed = listing.episodes.iter().flatten();
            let mut listed = listed.map(|episode| found.contains_key(&number(episode.index)));
            listed.any(|there| !there) || numbers.episode.len() < info.total_frames
        };
        if listing.episodes.is_none() || missing(&numbers) {
            for path in &listing.others {
                frames.add(path, &mut numbers, request, listing)?;
            }
        }
        if let Some(path) = absent.filter(|_| missing(&numbers)) {
            // Says what the system says of a file that is not there.
            Table::open(path)?;
        }
        if numbers.runs.is_empty() && listing.episodes.is_none() {
            let reason = "there is no list of episodes, and no data file".to_owned();
            return Err(LeRobotError::Parquet { path: listing.path.clone(), column: None, reason });
        }
        frames.arrange(&mut numbers);
        frames.judge(&numbers, listing, request);
        Ok(frames)
    }

    fn fault(&mut self, fault: LeRobotError) {
        self.fault_count += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Reads a file's rows.
    fn add(
        &mut self,
        path: &Path,
        numbers: &mut Numbers,
        request: &Request<'_>,
        listing: &Listing,
    ) -> Result<()> {
        if request.info.layout == Layout::V3 && cut_off(path) {
            return Err(LeRobotError::Unfinished {
                path: path.into(),
                lost: lost(path, listing, request.info),
            });
        }
        let table = Table::open(path)?;
        let mut episode = table.integers("episode_index")?;
        let mut frame = table.integers("frame_index")?;
        let mut time = table.numbers("timestamp")?;
        let rows = episode.len();
        let count = |column: &str, found: usize| match found == rows {
            true => Ok(()),
            false => {
                let what = format!("rows of column '{column}' (as many as episode_index has)");
                Err(LeRobotError::Count { path: path.into(), what, found, needed: rows })
            }
        };
        count("frame_index", frame.len())?;
        count("timestamp", time.len())?;
        let before = numbers.episode.len();
        if rows > MOST_FRAMES - before {
            let (path, key) = (path.into(), "frames of all files".into());
            let found = (before + rows).to_string();
            return Err(LeRobotError::Setting { path, key, found, needed: "at most 4,294,967,295" });
        }
        for ((wanted, values), watch) in request.columns.iter().zip(&mut self.columns).zip(&mut self.watches)
        {
            let mut column = table.floats(&wanted.name, &wanted.shape, watch)?;
            count(&wanted.name, column.len() / wanted.dim())?;
            values.append(&mut column);
        }
        if request.tasks {
            let mut tasks = table.integers("task_index")?;
            count("task_index", tasks.len())?;
            self.tasks.append(&mut tasks);
        }
        if let Some(name) = &request.success {
            let mut flags = table.floats(name, &[], &mut Watch::new(1))?;
            count(name, flags.len())?;
            numbers.flags.append(&mut flags);
        }
        let mut row = before;
        for run in episode.chunk_by(|a, b| a == b) {
            let rows = row..row + run.len();
            row = rows.end;
            numbers.runs.push(Run { episode: run[0], file: numbers.files.len(), rows });
        }
        numbers.episode.append(&mut episode);
        numbers.frame.append(&mut frame);
        numbers.time.append(&mut time);
        numbers.files.push(path.into());
        Ok(())
    }

    /// Puts the rows in the order of their episodes and frames, where the files have them in another.
    fn arrange(&mut self, numbers: &mut Numbers) {
        let frame = &numbers.frame;
        let key = |run: &Run| (run.episode, frame[run.rows.start]);
        if numbers.runs.is_sorted_by_key(key) {
            return;
        }
        let mut runs = numbers.runs.clone();
        runs.sort_by_key(key);
        let order: Vec<usize> = runs.iter().flat_map(|run| run.rows.clone()).collect();
        for values in &mut self.columns {
            let dim = values.len() / order.len();
            *values = order.iter().flat_map(|&row| &values[row * dim..(row + 1) * dim]).copied().collect();
        }
        fn taken<T: Copy>(values: &mut Vec<T>, order: &[usize]) {
            if !values.is_empty() {
                *values = order.iter().map(|&row| values[row]).collect();
            }
        }
        taken(&mut self.tasks, &order);
        taken(&mut numbers.episode, &order);
        taken(&mut numbers.frame, &order);
        taken(&mut numbers.time, &order);
        taken(&mut numbers.flags, &order);
        let mut row = 0;
        for run in &mut runs {
            run.rows = row..row + run.rows.len();
            row = run.rows.end;
        }
        numbers.runs = runs;
        self.notes
            .push("rows lay in another order than their episodes and frames: they were put in order".into());
    }

    /// Compares the rows with the list and with what info.json counts.
    fn judge(&mut self, numbers: &Numbers, listing: &Listing, request: &Request<'_>) {
        let info = request.info;
        let listed: BTreeMap<i64, (usize, &Listed)> =
            listing.episodes.iter().flatten().enumerate().map(|(at, e)| (number(e.index), (at, e))).collect();
        self.success = request.success.as_ref().map(|_| Vec::new());
        let (mut elsewhere, mut unlisted) = (Vec::new(), Vec::new());
        for runs in numbers.runs.chunk_by(|a, b| a.episode == b.episode) {
            let (first, last) = (&runs[0], &runs[runs.len() - 1]);
            let rows = first.rows.start..last.rows.end;
            let path = &numbers.files[first.file];
            match listed.get(&first.episode) {
                Some((at, episode)) => {
                    if episode.length != rows.len() {
                        let what = length_of(episode.index);
                        let (found, needed) = (rows.len(), episode.length);
                        self.fault(LeRobotError::Count { path: path.clone(), what, found, needed });
                    }
                    let named =
                        listing.places.get(*at).copied().flatten().and_then(|at| listing.files.get(at));
                    if named != Some(path) {
                        elsewhere.push(episode.index);
                    }
                }
                None => unlisted.push((first.episode, path)),
            }
            self.check(path, first.episode, rows.clone(), numbers, request);
            self.lengths.push(rows.len());
            if let Some(success) = &mut self.success {
                success.push(numbers.flags[rows].iter().any(|flag| *flag != 0.0));
            }
        }
        let found = numbers.lengths();
        let mut strangers = unlisted.iter();
        for (number, (_, episode)) in listed.iter().filter(|(number, _)| !found.contains_key(number)) {
            match strangers.next() {
                Some((other, path)) => self.fault(LeRobotError::Frame {
                    path: path.to_path_buf(),
                    column: "episode_index",
                    episode: episode.index,
                    frame: 0,
                    found: *other,
                    needed: *number,
                }),
                None => {
                    let (what, path) = (length_of(episode.index), numbers.files.last());
                    let path = path.unwrap_or(&listing.path).clone();
                    self.fault(LeRobotError::Count { path, what, found: 0, needed: episode.length });
                }
            }
        }
        let rows = numbers.episode.len();
        let counted = info.total_episodes == self.lengths.len() && info.total_frames == rows;
        let newer = strangers.len();
        if listing.episodes.is_some() && newer > 0 && !counted {
            let what = "episodes of the list (as many as the data files hold)".into();
            let (found, needed) = (listed.len(), found.len());
            self.fault(LeRobotError::Count { path: listing.path.clone(), what, found, needed });
        }
        for (key, found, needed) in [
            ("total_episodes", info.total_episodes, self.lengths.len()),
            ("total_frames", info.total_frames, rows),
        ] {
            if found != needed {
                let what = format!("{key} (as many as the data files hold)");
                self.fault(LeRobotError::Count { path: info.path.clone(), what, found, needed });
            }
        }
        let list = listing.path.display();
        if listing.episodes.is_none() {
            self.notes.push(format!(
                "{list} is absent or was never closed: the recording ended without finalize(). The {} episodes were found by their \
                 rows",
                self.lengths.len()
            ));
        }
        if newer > 0 && counted && listing.episodes.is_some() {
            self.notes.push(format!(
                "{list} lacks {newer} episodes that the data files hold: a recording ended without finalize(). They were found by \
                 their rows"
            ));
        }
        if let Some(first) = elsewhere.first() {
            self.notes.push(format!(
                "{list} names no data file or another for {} episodes (first: episode {first}): they were found by their rows",
                elsewhere.len()
            ));
        }
    }

    /// Whether rows are an episode, numbered from its first frame and evenly in time.
    fn check(
        &mut self,
        path: &Path,
        episode: i64,
        rows: Range<usize>,
        numbers: &Numbers,
        request: &Request<'_>,
    ) {
        // A number that is listed is a usize; one that is not can be anything.
        let episode = usize::try_from(episode).unwrap_or(self.lengths.len());
        let frames = &numbers.frame[rows.clone()];
        if let Some(frame) = (0..frames.len()).find(|&n| frames[n] != n as i64) {
            let (found, needed) = (frames[frame], frame as i64);
            let (path, column) = (path.into(), "frame_index");
            self.fault(LeRobotError::Frame { path, column, episode, frame, found, needed });
        }
        let times = &numbers.time[rows];
        let period = 1.0 / request.fps;
        // The format has timestamps as f32, whose steps grow with the time; what is stored as f64 and uses it is exact.
        let exact = times.iter().any(|&time| f64::from(time as f32) != time && !time.is_nan());
        let step = |time: f64| if exact { 0.0 } else { time.abs() * f64::from(f32::EPSILON) };
        let largest =
            times.iter().copied().filter(|time| time.is_finite()).fold(0.0, |a: f64, b| a.max(b.abs()));
        if step(largest) > period / 2.0 && self.unchecked.is_none_or(|found| found.time < largest) {
            let next = (largest as f32).next_up();
            self.unchecked = Some(Unchecked { time: largest, step: f64::from(next) - largest, period });
        }
        let off = |n: &usize| {
            let found = times[*n] - times[*n - 1];
            let deviation = (found - period).abs();
            deviation.is_nan() || deviation > request.tolerance + step(times[*n])
        };
        if let Some(frame) = (1..times.len()).find(off) {
            let (found, tolerance) = (times[frame] - times[frame - 1], request.tolerance);
            let found = (found * 1e6).round() / 1e6;
            let needed = (period * 1e6).round() / 1e6;
            let path = path.into();
            self.fault(LeRobotError::Timestamp { path, episode, frame, found, needed, tolerance });
        }
    }
}

impl Numbers {
    /// Rows of each episode.
    fn lengths(&self) -> HashMap<i64, usize> {
        let mut lengths = HashMap::new();
        for run in &self.runs {
            *lengths.entry(run.episode).or_default() += run.rows.len();
        }
        lengths
    }
}

/// An episode's number as rows have it.
fn number(episode: usize) -> i64 {
    i64::try_from(episode).unwrap_or(i64::MAX)
}

fn length_of(episode: usize) -> String {
    format!("frames of episode {episode} (its length in the list of episodes)")
}

/// What is lost with a file that was never closed, as far as its neighbours tell.
fn lost(path: &Path, listing: &Listing, info: &Info) -> String {
    let others = listing.files.iter().chain(&listing.others).filter(|other| *other != path);
    let mut kept = 0usize;
    for table in others.filter_map(|other| Table::open(other).ok()) {
        kept += table.rows();
    }
    match kept {
        0 => format!("{} episodes, {} frames, as info.json counts", info.total_episodes, info.total_frames),
        _ => format!(
            "{} of {} frames, as info.json counts",
            info.total_frames.saturating_sub(kept),
            info.total_frames
        ),
    }
}
