//! One kind of data set into another.

use std::path::Path;

use super::aside::folder_aside;
use super::error::DataError;
use super::lerobot;
use super::save::write_npz;
use super::sets::{DataSets, Part};
use super::source::{Kind, Source, Tasks};
use super::spec::DataSpec;

/// What [`convert`] did.
#[derive(Debug)]
pub struct Converted {
    /// Episodes written.
    pub episodes: usize,
    /// Steps written.
    pub steps: usize,
    /// What was left behind or should be known, a line each.
    pub notes: Vec<String>,
}

/// Reads a data set and writes it as another kind, whole or not at all. Values, lengths, successes, rate and names stay as
/// they are; images and columns that `spec` does not name stay behind. `task` is the instruction of data that has none.
///
/// # Errors
/// [`DataError`] if training would refuse the data, `to` exists (a numpy archive is replaced), a LeRobot directory is asked for
/// and the rate is unknown, or something cannot be written.
pub fn convert(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    kind: Kind,
    spec: &DataSpec,
    task: &str,
) -> Result<Converted, DataError> {
    let to = to.as_ref();
    let mut sets = DataSets::of(vec![(from.as_ref().into(), Source::open(&from, spec)?)], spec)?;
    let mut notes = sets.notes().to_vec();
    let Some(Part { source, .. }) = sets.parts.pop() else {
        return Err(DataError::NoEpisodes { what: "data sets".into() });
    };
    notes.extend(source.lines());
    if !source.unused.is_empty() {
        let names: Vec<&str> = source.unused.iter().map(|skipped| skipped.name.as_str()).collect();
        notes.push(format!("left behind: {}", names.join(", ")));
    }
    let tasks = source.tasks.clone();
    let episodes = source.episodes(spec)?;
    let (count, steps) = (episodes.count(), episodes.steps());
    match kind {
        Kind::Npz => {
            if tasks.is_some() {
                notes.push("left behind: the texts of the tasks".into());
            }
            write_npz(to, &episodes)?;
        }
        Kind::LeRobotV2 | Kind::LeRobotV3 => {
            let Some(fps) = episodes.fps() else {
                let (what, found) = ("fps of the data".into(), "none".into());
                return Err(DataError::Value {
                    what,
                    found,
                    needed: "a rate, which LeRobot directories need: set data.fps",
                });
            };
            let columns = || episodes.obs_inputs().iter().map(|input| input.column());
            if columns().any(|name| !lerobot::OBS.contains(&name.as_str())) {
                let names: Vec<String> = columns().map(|name| format!("\"{name}\"")).collect();
                notes.push(format!("to read it back: [data] obs = [{}]", names.join(", ")));
            }
            let tasks = tasks.unwrap_or_else(|| Tasks { texts: vec![task.into()], of_row: vec![0; steps] });
            folder_aside(to, |folder| lerobot::write(folder, &episodes, fps, &tasks, kind))?;
        }
        Kind::Hdf5 | Kind::Csv | Kind::Zarr | Kind::Mcap => {
            let (what, found) = ("kind to write".into(), kind.name().into());
            return Err(DataError::Value { what, found, needed: "npz, lerobot-v2.1 or lerobot-v3.0" });
        }
    }
    Ok(Converted { episodes: count, steps, notes })
}
