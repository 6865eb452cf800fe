//! What is in a data set, and what in it would ruin training. Works on data that training refuses.

mod advice;
mod column;
mod follow;
mod warnings;

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::episodes::{EpisodeArrays, Episodes};
use super::error::DataError;
use super::inputs::ObsInput;
use super::scaling;
use super::source::{Kind, Skipped, Source};
use super::spec::DataSpec;
pub use column::{BARS, Column, Place};
pub use follow::Following;
pub use warnings::Warning;

/// How long the episodes are, in steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// Of the shortest.
    pub min: usize,
    /// 10 % quantile.
    pub q10: f64,
    /// Median.
    pub median: f64,
    /// 90 % quantile.
    pub q90: f64,
    /// Of the longest.
    pub max: usize,
    /// Share of the episodes in each of [`BARS`] equal parts of min to max.
    pub histogram: Vec<f32>,
}

/// What [`inspect`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// How many episodes.
    pub episodes: usize,
    /// Their steps together.
    pub steps: usize,
    /// Steps per second.
    pub fps: Option<f64>,
    /// Seconds of all steps.
    pub seconds: Option<f64>,
    /// How long the episodes are.
    pub lengths: Lengths,
    /// Share of successful episodes, where the data says.
    pub success: Option<f64>,
    /// The named inputs of an observation.
    pub obs_inputs: Vec<ObsInput>,
    /// Dimensions of the observation.
    pub obs: Vec<Column>,
    /// Dimensions of the action.
    pub action: Vec<Column>,
    /// How the state follows the action, where it does.
    pub following: Option<Following>,
    /// Instructions.
    pub tasks: Vec<String>,
    /// Image columns, which are not read.
    pub images: Vec<Skipped>,
    /// Other columns that are not read.
    pub unused: Vec<Skipped>,
    /// What else a reader should know.
    pub notes: Vec<String>,
    /// What may ruin training, the worst first.
    pub warnings: Vec<Warning>,
}

/// The rows that belong to episodes.
struct Rows<'a> {
    obs: &'a [f32],
    action: &'a [f32],
    obs_dim: usize,
    action_dim: usize,
    /// Rows that both arrays have.
    count: usize,
    /// Rows of each episode that lies within them.
    episodes: Vec<Range<usize>>,
}

impl<'a> Rows<'a> {
    fn of(arrays: &'a EpisodeArrays) -> Rows<'a> {
        let rows = |data: &[f32], dim: usize| data.len().checked_div(dim).unwrap_or(0);
        let count = rows(&arrays.obs, arrays.obs_dim).min(rows(&arrays.action, arrays.action_dim));
        let mut end = 0usize;
        let mut episodes = Vec::new();
        for &length in &arrays.lengths {
            let start = end;
            end = end.saturating_add(length);
            if end > count {
                break;
            }
            episodes.push(start..end);
        }
        let (obs_dim, action_dim) = (arrays.obs_dim.max(1), arrays.action_dim.max(1));
        Rows { obs: &arrays.obs, action: &arrays.action, obs_dim, action_dim, count, episodes }
    }

    fn place(&self, row: usize) -> Place {
        let at = self.episodes.partition_point(|episode| episode.start <= row);
        match at.checked_sub(1).map(|at| (at, &self.episodes[at])) {
            Some((episode, range)) if range.contains(&row) => {
                Place { row, episode: Some(episode), step: Some(row - range.start) }
            }
            _ => Place { row, episode: None, step: None },
        }
    }
}

/// Reads a data set and reports on it. `horizon` is that of the policy to be trained: shorter episodes are a fault.
///
/// # Errors
/// [`DataError`] if it cannot be read at all.
pub fn inspect(path: impl AsRef<Path>, spec: &DataSpec, horizon: usize) -> Result<Report, DataError> {
    let source = Source::open(path.as_ref(), spec)?;
    let structure = Episodes::structure(&source.arrays, source.names()).err();
    Ok(report(path.as_ref(), &source, structure, horizon))
}

fn report(path: &Path, source: &Source, structure: Option<DataError>, horizon: usize) -> Report {
    let arrays = &source.arrays;
    let rows = Rows::of(arrays);
    let columns = |data: &[f32], dim: usize, names: &Option<Vec<String>>| -> Vec<Column> {
        use rayon::prelude::*;
        let name = |index: usize| names.as_ref().and_then(|names| names.get(index).cloned());
        let column = |index| Column::of(data, dim, index, name(index), |row| rows.place(row));
        (0..dim).into_par_iter().map(column).collect()
    };
    let names = |names: &'_ Option<Vec<String>>| names.clone();
    let (obs_names, action_names) = (names(&arrays.obs_names), names(&arrays.action_names));
    let following = follow::following(&rows, [obs_names.as_deref(), action_names.as_deref()]);
    let steps = arrays.lengths.iter().fold(0usize, |sum, &length| sum.saturating_add(length));
    let success = arrays.success.as_ref().filter(|flags| !flags.is_empty());
    let mut report = Report {
        path: path.into(),
        kind: source.kind,
        episodes: arrays.lengths.len(),
        steps,
        fps: arrays.fps,
        seconds: arrays.fps.filter(|fps| *fps > 0.0).map(|fps| steps as f64 / fps),
        lengths: lengths(&arrays.lengths),
        success: success.map(|flags| flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64),
        obs_inputs: match arrays.obs_inputs.is_empty() {
            true => ObsInput::state(arrays.obs_dim),
            false => arrays.obs_inputs.clone(),
        },
        obs: columns(&arrays.obs, arrays.obs_dim, &arrays.obs_names),
        action: columns(&arrays.action, arrays.action_dim, &arrays.action_names),
        following,
        tasks: source.tasks.as_ref().map(|tasks| tasks.texts.clone()).unwrap_or_default(),
        images: source.images.clone(),
        unused: source.unused.clone(),
        notes: source.notes.clone(),
        warnings: Vec::new(),
    };
    report.warnings = warnings::all(source, structure.as_ref(), &rows, &report, horizon);
    report
}

fn lengths(lengths: &[usize]) -> Lengths {
    let values: Vec<f32> = lengths.iter().map(|&n| n as f32).collect();
    let column = Column::of(&values, 1, 0, None, |row| Place { row, episode: None, step: None });
    let mut sorted = values;
    sorted.sort_unstable_by(f32::total_cmp);
    Lengths {
        min: lengths.iter().copied().min().unwrap_or(0),
        q10: scaling::quantile(&sorted, 0.1),
        median: scaling::quantile(&sorted, 0.5),
        q90: scaling::quantile(&sorted, 0.9),
        max: lengths.iter().copied().max().unwrap_or(0),
        histogram: column.histogram,
    }
}

#[cfg(test)]
mod tests;
