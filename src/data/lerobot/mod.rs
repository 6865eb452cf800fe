//! LeRobotDataset directories, v3.0 and v2.1 (which v2.0 is like): numeric columns in parquet, meta/ in JSON and parquet.
//!
//! ```text
//! meta/info.json                                  version, fps, features, paths
//! meta/episodes.jsonl, tasks.jsonl                v2: lengths; task texts
//! meta/episodes/chunk-000/file-000.parquet, tasks.parquet   v3: the same, and which file an episode lies in
//! data/chunk-000/episode_000000.parquet           v2: one file per episode
//! data/chunk-000/file-000.parquet                 v3: many episodes per file
//! ```
//!
//! Pictures are named and skipped. That a row is 1 / fps after the row before is checked for every episode, so a window of
//! rows is a window of times.

mod episodes;
mod error;
mod frames;
mod info;
mod pages;
mod stats;
mod table;
mod write;

use std::path::Path;

use super::beside::beside;
use super::episodes::{EpisodeArrays, Episodes};
use super::error::DataError;
use super::source::{Caution, Kind, Skipped, Source, Tasks};
use super::spec::DataSpec;
pub use error::LeRobotError;
use frames::{Frames, Request, Wanted};
use info::{Feature, INFO, Info, Layout};

/// Observation columns that are read where none are named, in this order, those of them that there are.
pub(super) const OBS: [&str; 2] = ["observation.state", "observation.environment_state"];
/// Column of an episode's success where none is named.
const SUCCESS: &str = "next.success";
/// Columns that every data set has.
const BOOKS: [&str; 5] = ["timestamp", "frame_index", "episode_index", "index", "task_index"];

/// Whether a path is a data set's folder.
pub(super) fn is_dataset(path: &Path) -> bool {
    path.join(INFO).is_file()
}

/// Reads a data set's folder.
pub(super) fn read(folder: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let info = Info::read(folder)?;
    let obs_columns: Vec<String> = match &spec.obs {
        Some(columns) => columns.names().to_vec(),
        None => {
            let there = |name: &&&str| info.features.iter().any(|feature| feature.name == ***name);
            OBS.iter().filter(there).map(|name| name.to_string()).collect()
        }
    };
    if obs_columns.is_empty() {
        // Says which columns there are.
        info.feature(OBS[0])?;
    }
    let obs: Vec<&Feature> = obs_columns.iter().map(|name| numeric(&info, name)).collect::<Result<_, _>>()?;
    let action = numeric(&info, &spec.action)?;
    let success = match &spec.episode_success {
        Some(name) => Some(info.feature(name)?.name.clone()),
        None => info.features.iter().find(|feature| feature.name == SUCCESS).map(|f| f.name.clone()),
    };
    let tasks = episodes::tasks(folder, &info)?;
    let listing = episodes::listing(folder, &info)?;
    let wanted = |feature: &&Feature| Wanted { name: feature.name.clone(), shape: feature.shape.clone() };
    let fps = spec.fps.unwrap_or(info.fps);
    let request = Request {
        info: &info,
        columns: obs.iter().chain([&action]).map(wanted).collect(),
        success: success.clone(),
        tasks: tasks.is_some(),
        fps,
        tolerance: spec.tolerance_s,
    };
    let mut frames = Frames::read(&listing, &request)?;
    let action_values = frames.columns.pop().unwrap_or_default();
    let parts = obs.iter().zip(frames.columns).map(|(f, values)| (f.name.as_str(), values, dim(f))).collect();
    let (obs_values, obs_dim, obs_inputs) = beside(parts)?;
    let used = |name: &str| {
        obs_columns.iter().any(|column| column == name)
            || name == spec.action
            || success.as_deref() == Some(name)
            || BOOKS.contains(&name)
    };
    let (images, others): (Vec<&Feature>, Vec<&Feature>) =
        info.features.iter().filter(|feature| !used(&feature.name)).partition(|feature| feature.is_image());
    let mut notes = std::mem::take(&mut frames.notes);
    for feature in obs.iter().chain([&action]) {
        if let Some(fault) = &feature.names_fault {
            notes.push(format!("names of '{}' are not used: {fault}", feature.name));
        }
    }
    let columns = request.columns.iter().zip(&frames.watches);
    let mut cautions: Vec<Caution> =
        columns.flat_map(|(wanted, watch)| watch.narrowed(&wanted.name)).map(Caution::Narrowed).collect();
    cautions.extend(frames.unchecked.map(|u| Caution::Times {
        time: u.time,
        step: u.step,
        period: u.period,
    }));
    let skipped = |f: &&Feature| Skipped { name: f.name.clone(), dtype: f.dtype.clone(), size: f.size() };
    Ok(Source {
        kind: match info.layout {
            Layout::V2 => Kind::LeRobotV2,
            Layout::V3 => Kind::LeRobotV3,
        },
        labels: [
            obs_columns.join(" + "),
            spec.action.clone(),
            "episode_index".into(),
            success.unwrap_or_else(|| spec.episode_success.clone().unwrap_or_else(|| SUCCESS.into())),
        ],
        arrays: EpisodeArrays {
            obs: obs_values,
            action: action_values,
            obs_dim,
            obs_inputs,
            action_dim: dim(action),
            lengths: frames.lengths,
            success: frames.success,
            fps: Some(fps),
            obs_names: spec.obs_names.clone().or_else(|| names(&obs)),
            action_names: spec.action_names.clone().or_else(|| names(&[action])),
        },
        images: images.iter().map(skipped).collect(),
        unused: others.iter().map(skipped).collect(),
        notes,
        faults: frames.faults.into_iter().map(DataError::from).collect(),
        fault_count: frames.fault_count,
        cautions,
        tasks: tasks.map(|texts| Tasks { texts, of_row: frames.tasks }),
    })
}

/// Writes a data set into an empty folder.
pub(super) fn write(
    folder: &Path,
    episodes: &Episodes,
    fps: f64,
    tasks: &Tasks,
    layout: Kind,
) -> Result<(), String> {
    let layout = if layout == Kind::LeRobotV3 { Layout::V3 } else { Layout::V2 };
    write::write(folder, &write::Content { episodes, fps, tasks }, layout)
}

/// The feature of a column that is to be numbers.
fn numeric<'a>(info: &'a Info, name: &str) -> Result<&'a Feature, LeRobotError> {
    let feature = info.feature(name)?;
    let wrong = |found: String, needed: &str| {
        let (path, column) = (info.path.clone(), name.to_owned());
        Err(LeRobotError::Type { path, column, found, needed: needed.into() })
    };
    if feature.is_image() || feature.dtype == "string" {
        return wrong(feature.dtype.clone(), "numbers");
    }
    Ok(feature)
}

fn dim(feature: &Feature) -> usize {
    feature.shape.iter().product()
}

/// Names of columns side by side; where only some have names, the others are called `column[0]`, `column[1]`...
fn names(features: &[&Feature]) -> Option<Vec<String>> {
    if features.iter().all(|feature| feature.names.is_none() && feature.shape.len() < 2) {
        return None;
    }
    let of = |feature: &&Feature| match &feature.names {
        Some(names) => names.clone(),
        None if feature.shape.len() > 1 => places(feature),
        None => (0..dim(feature)).map(|n| format!("{}[{n}]", feature.name)).collect(),
    };
    Some(features.iter().flat_map(of).collect())
}

/// `action[0,0]`, `action[0,1]`...: the values of a feature of several axes, in the order that they are read.
fn places(feature: &Feature) -> Vec<String> {
    let place = |mut at: usize| {
        let mut index = Vec::new();
        for extent in feature.shape.iter().rev() {
            index.push((at % extent).to_string());
            at /= extent;
        }
        index.reverse();
        format!("{}[{}]", feature.name, index.join(","))
    };
    (0..dim(feature)).map(place).collect()
}
