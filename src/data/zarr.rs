//! Zarr stores as diffusion policy's replay buffers are: `data/<array>` of all steps end to end, `meta/episode_ends` the row after
//! each episode's last. Formats 2 and 3, in a folder or in a zip archive; a chunk that is absent is all fill value.
//!
//! Observations are `data/state` or `data/obs`, else all numeric arrays [T, D], unless `[data] obs` names some.

mod array;
mod blosc;
mod shards;
mod store;

use std::path::{Component, Path};

use super::budget::Budget;
use super::error::DataError;
use super::gather::{Column, Gathered};
use super::source::{Kind, Skipped, Source};
use super::spec::DataSpec;
use array::{Array, is_array};
use store::Store;
pub(super) use store::is_zip;

/// Arrays that are observations where none are named, the first that is there.
const OBS: [&str; 2] = ["state", "obs"];
/// Where the episodes end.
const ENDS: &str = "meta/episode_ends";

fn malformed(path: &Path, reason: String) -> DataError {
    DataError::Malformed { path: path.into(), kind: "zarr", reason }
}

/// Reads a store.
pub(super) fn read(folder: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let store = Store::open(folder)?;
    let mut present = store.folders("data");
    present.retain(|name| is_array(&store, &format!("data/{name}")));
    let listed = || if present.is_empty() { "none".into() } else { present.join(", ") };
    let array = |name: &str| -> Result<Array<'_>, DataError> {
        let short = name.strip_prefix("data/").unwrap_or(name);
        let inside = Path::new(short).components().all(|part| matches!(part, Component::Normal(_)));
        let place = format!("data/{short}");
        match inside && !short.is_empty() && is_array(&store, &place) {
            true => Array::open(&store, &place, short),
            false => Err(malformed(folder, format!("no array 'data/{short}'; present: {}", listed()))),
        }
    };
    let action = array(&spec.action)?;
    let mut notes = Vec::new();
    let chosen: Vec<Array<'_>> = match &spec.obs {
        Some(columns) => columns.names().iter().map(|name| array(name)).collect::<Result<_, _>>()?,
        None => {
            let usual = OBS.iter().find(|name| present.iter().any(|other| other == *name));
            let candidates = match usual {
                Some(name) => vec![array(name)?],
                None => {
                    let others = present.iter().filter(|name| **name != spec.action);
                    let arrays = others.map(|name| array(name)).collect::<Result<Vec<_>, _>>()?;
                    arrays.into_iter().filter(|a| a.number.is_some() && a.shape.len() <= 2).collect()
                }
            };
            let names: Vec<&str> = candidates.iter().map(|a| a.name.as_str()).collect();
            notes.push(format!("observations: {}; [data] obs chooses others", names.join(", ")));
            candidates
        }
    };
    if chosen.is_empty() {
        return Err(malformed(folder, format!("no numeric array [T, D] below data; present: {}", listed())));
    }
    if !is_array(&store, ENDS) {
        return Err(malformed(folder, format!("no array '{ENDS}', which says where episodes end")));
    }
    let ends = Array::open(&store, ENDS, "episode_ends")?;
    let used: Vec<&str> = chosen.iter().chain([&action, &ends]).map(Array::folder).collect();
    let stored = store.stored_bytes(&used);
    let mut budget = Budget::of_size(stored);
    let mut column = |array: &Array<'_>| -> Result<Column, DataError> {
        let dim = super::budget::product(array.shape.get(1..).unwrap_or_default()).unwrap_or(0);
        if array.number.is_none() || array.shape.is_empty() || dim == 0 {
            let reason = format!(
                "{}: found {} of the shape {:?}, needed numbers [T, D]",
                array.name, array.dtype, array.shape
            );
            return Err(malformed(folder, reason));
        }
        let mut column = Column::new(array.name.clone(), dim);
        array.read(&mut budget, |value| column.push(value))?;
        Ok(column)
    };
    let obs: Vec<Column> = chosen.iter().map(&mut column).collect::<Result<_, _>>()?;
    let actions = column(&action)?;
    let mut lengths = Vec::new();
    let (mut last, mut wrong) = (0.0, None);
    ends.read(&mut budget, |end| {
        if !(end >= last && end.fract() == 0.0 && end < 9e15) {
            wrong = wrong.or(Some((lengths.len(), end)));
        }
        lengths.push((end - last).max(0.0) as usize);
        last = end;
    })?;
    if let Some((episode, end)) = wrong {
        let reason = format!(
            "{ENDS} of episode {episode}: found {end}, needed a whole number, no less than the one before"
        );
        return Err(malformed(folder, reason));
    }
    let rows = action.shape[0];
    // Replay buffers are written with room for more rows than there are.
    let total = last as usize;
    if total < rows {
        notes.push(format!("{} rows after the last episode's end are left out", rows - total));
    }
    let cut = |mut column: Column| {
        column.values.truncate(total.saturating_mul(column.dim));
        column
    };
    let used = |name: &String| chosen.iter().chain([&action]).any(|array| array.name == *name);
    let (mut images, mut unused) = (Vec::new(), Vec::new());
    for name in present.iter().filter(|name| !used(name)) {
        let Ok(array) = array(name) else { continue };
        let size: Vec<String> = array.shape.iter().skip(1).map(usize::to_string).collect();
        let skipped = Skipped { name: name.clone(), dtype: array.dtype, size: size.join("x") };
        if array.shape.len() > 3 { images.push(skipped) } else { unused.push(skipped) }
    }
    Gathered {
        kind: Kind::Zarr,
        labels: [ENDS.into(), spec.episode_success.clone().unwrap_or_else(|| "episode_success".into())],
        success: None,
        obs: obs.into_iter().map(cut).collect(),
        action: cut(actions),
        lengths,
        fps: None,
        images,
        unused,
        notes,
        faults: vec![],
        tasks: None,
    }
    .source(spec)
}
