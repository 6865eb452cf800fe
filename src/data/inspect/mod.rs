//! What is in a data set, and what in it would ruin training. Works on data that training refuses.

mod advice;
mod column;
mod follow;
mod rows;
mod warnings;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::DataError;
use super::inputs::ObsInput;
use super::scaling;
use super::sets::{DataSets, Part};
use super::source::{Kind, Skipped};
use super::spec::DataSpec;
use super::windows::{Padding, WindowSpec};
pub use column::{BARS, Column, Place};
pub use follow::Following;
use rows::{Rows, Set};
pub use warnings::{Warning, screenful};

/// What the data are meant for, as far as dangers depend on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Purpose {
    /// The windows that a policy learns from.
    pub windows: WindowSpec,
    /// What counts past an episode's end.
    pub padding: Padding,
    /// Columns of observations and of actions that are said to be angles, by name or by number as text.
    pub angles: [Vec<String>; 2],
}

impl Purpose {
    /// Windows of this horizon as they are usual: two observations, up to 7 repeated actions.
    pub fn horizon(horizon: usize) -> Purpose {
        let windows = WindowSpec { history: 2, horizon, action_offset: 0, pad_after: 7 };
        Purpose { windows, padding: Padding::Repeat, angles: Default::default() }
    }
}

/// What [`DataSets::inspect`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The data sets, in their order; only a lone one has its warnings in its own report.
    pub sets: Vec<Report>,
    /// What may ruin training on all of them together, the worst first.
    pub warnings: Vec<Warning>,
}

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

/// Reads a data set and reports on it. `horizon` is that of the policy to be trained: shorter episodes are left out.
///
/// # Errors
/// [`DataError`] if it cannot be read at all.
pub fn inspect(path: impl AsRef<Path>, spec: &DataSpec, horizon: usize) -> Result<Report, DataError> {
    let mut found = DataSets::open(&[path], spec)?.inspect(&Purpose::horizon(horizon));
    found.sets.pop().ok_or(DataError::NoEpisodes { what: "data sets".into() })
}

impl DataSets {
    /// What is in each data set, and what in all of them together would ruin training.
    pub fn inspect(&self, purpose: &Purpose) -> Inspection {
        let warnings = self.warnings(purpose);
        let mut sets: Vec<Report> = self.parts.iter().map(report).collect();
        if let [lone] = sets.as_mut_slice() {
            lone.warnings.clone_from(&warnings);
        }
        Inspection { sets, warnings }
    }

    /// What would ruin training on all data sets together, the worst first: the lines of `advect data inspect` and `advect train`.
    pub fn warnings(&self, purpose: &Purpose) -> Vec<Warning> {
        let names: Vec<String> = self.parts.iter().map(|part| part.path.display().to_string()).collect();
        let sets = self.parts.iter().zip(&names).map(|(part, name)| Set {
            name: if self.parts.len() > 1 { name } else { "" },
            source: &part.source,
            numbers: &part.numbers,
        });
        warnings::all(&sets.collect::<Vec<_>>(), purpose)
    }
}

/// Every dimension of some rows.
fn columns(rows: &Rows<'_>, data: &[f32], dim: usize, names: Option<&Vec<String>>) -> Vec<Column> {
    use rayon::prelude::*;
    let name = |index: usize| names.and_then(|names| names.get(index).cloned());
    let column = |index| Column::of(data, dim, index, name(index), |row| rows.place(row));
    (0..dim).into_par_iter().map(column).collect()
}

fn report(part: &Part) -> Report {
    let source = &part.source;
    let arrays = &source.arrays;
    let rows = Rows::of(&[Set { name: "", source, numbers: &part.numbers }]);
    let steps = arrays.lengths.iter().fold(0usize, |sum, &length| sum.saturating_add(length));
    let success = arrays.success.as_ref().filter(|flags| !flags.is_empty());
    Report {
        path: part.path.clone(),
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
        obs: columns(&rows, &arrays.obs, arrays.obs_dim, arrays.obs_names.as_ref()),
        action: columns(&rows, &arrays.action, arrays.action_dim, arrays.action_names.as_ref()),
        following: follow::following(&rows, [arrays.obs_names.as_deref(), arrays.action_names.as_deref()]),
        tasks: source.tasks.as_ref().map(|tasks| tasks.texts.clone()).unwrap_or_default(),
        images: source.images.clone(),
        unused: source.unused.clone(),
        notes: source.notes.clone(),
        warnings: Vec::new(),
    }
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
