//! Episodes from a numpy archive: which arrays are what.

mod archive;
mod lengths;
mod near;

use std::path::Path;

use super::beside::beside;
use super::episodes::{EpisodeArrays, Episodes};
use super::error::DataError;
use super::inputs::ObsInput;
use super::npy::Array;
use super::sets::DataSets;
use super::source::{Kind, Source};
use super::spec::{Columns, DataSpec};
use archive::Archive;

/// Array of observations where the spec names none.
const OBS: &str = "obs";
/// Array of the row after each episode's last, in place of lengths.
const ENDS: &str = "episode_ends";
/// Array of successes where the spec names none.
const SUCCESS: &str = "episode_success";
/// Names of the observation's inputs and how many values each has, where the observations are several inputs side by side.
pub(super) const INPUT_NAMES: &str = "obs_inputs";
/// See [`INPUT_NAMES`].
pub(super) const INPUT_DIMS: &str = "obs_input_dims";

impl Episodes {
    /// Reads a .npz of episodes: obs [T, O] and action [T, A] (f4, f8 or integers), episode_len `[E]` (whole numbers that
    /// sum to T; episodes lie end to end), optionally episode_success `[E]` (bool) and fps (one number, steps per second).
    /// `spec` may name other arrays, for the observations several, which become named inputs side by side; the rest of
    /// the file is ignored. Episodes that `spec` leaves out are not checked.
    ///
    /// # Errors
    /// [`DataError`] if the file is missing or no archive, an array is missing or of the wrong dtype or rank, or the
    /// arrays do not fit together ([`Episodes::from_arrays`] lists how).
    pub fn load_npz(path: impl AsRef<Path>, spec: &DataSpec) -> Result<Self, DataError> {
        let source = read(path.as_ref(), spec)?;
        Ok(DataSets::alone(path.as_ref(), source, spec)?.episodes)
    }
}

/// Reads an archive without judging what is in it.
pub(super) fn read(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let mut archive = Archive::open(path)?;
    let columns = spec.obs.clone().unwrap_or_else(|| OBS.into());
    let (obs, obs_dim, mut obs_inputs) = archive.observations(columns.names())?;
    if let (Columns::One(_), Some(named)) = (&columns, archive.inputs()?) {
        obs_inputs = named;
    }
    let (action, action_dim) = archive.matrix(&spec.action)?;
    let (lengths, note) = archive.episodes(&spec.episode_len, action.len() / action_dim)?;
    let success_name = spec.episode_success.as_deref().unwrap_or(SUCCESS);
    let success = archive.optional_vector(success_name)?;
    let success = success.map(|flags| flags.into_iter().map(|flag| flag != 0.0).collect());
    let fps = match spec.fps {
        Some(fps) => Some(fps),
        None => archive.optional_scalar("fps")?,
    };
    let mut notes = archive.near_misses(&columns, spec);
    notes.extend(note);
    let mut named = |array: &str, given: &Option<Vec<String>>, dim: usize, own: bool| match given {
        Some(names) => Ok(Some(names.clone())),
        None => archive.names(array, dim, own, &mut notes),
    };
    let obs_names = named("obs_names", &spec.obs_names, obs_dim, columns.names() == [OBS])?;
    let action_names =
        named("action_names", &spec.action_names, action_dim, spec.action == DataSpec::default().action)?;
    Ok(Source {
        kind: Kind::Npz,
        labels: [
            columns.names().join(" + "),
            spec.action.clone(),
            spec.episode_len.clone(),
            success_name.to_owned(),
        ],
        arrays: EpisodeArrays {
            obs_names,
            action_names,
            obs,
            action,
            obs_dim,
            obs_inputs,
            action_dim,
            lengths,
            success,
            fps,
        },
        images: vec![],
        unused: vec![],
        notes,
        faults: vec![],
        fault_count: 0,
        tasks: None,
        cautions: archive.cautions,
    })
}

/// Reads one array of a .npz as f32, row-major; None where the file has no array of that name.
///
/// # Errors
/// [`DataError`] if the file is missing or no archive, or the array has another dtype or is truncated.
pub fn read_npz_f32(path: impl AsRef<Path>, array: &str) -> Result<Option<Array>, DataError> {
    let found = Archive::open(path.as_ref())?.read(array)?;
    Ok(found.map(|(shape, data)| Array { shape, data }))
}

impl Archive<'_> {
    /// Arrays side by side: values [T, O], O and the inputs that they are.
    fn observations(&mut self, names: &[String]) -> Result<(Vec<f32>, usize, Vec<ObsInput>), DataError> {
        let mut parts = Vec::new();
        for name in names {
            let (data, dim) = self.matrix(name)?;
            parts.push((name.as_str(), data, dim));
        }
        beside(parts)
    }

    /// Names of values, one each. Names of another number are a fault where they stand beside the array they belong to
    /// (`own`), else they are those of another array, which is noted.
    fn names(
        &mut self,
        array: &str,
        dim: usize,
        own: bool,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<String>>, DataError> {
        let Some(names) = self.texts(array)? else { return Ok(None) };
        if names.len() == dim {
            return Ok(Some(names));
        }
        if own {
            let what = format!("{array} entries (one per value)");
            return Err(DataError::Count { what, found: names.len(), needed: dim });
        }
        notes.push(format!(
            "{array}: left out, {} names for the {dim} values of the arrays chosen in their place",
            names.len()
        ));
        Ok(None)
    }

    /// The named inputs that `obs` is put together from, where the archive says.
    fn inputs(&mut self) -> Result<Option<Vec<ObsInput>>, DataError> {
        let Some(names) = self.texts(INPUT_NAMES)? else { return Ok(None) };
        let dims = self.lengths(INPUT_DIMS)?;
        if dims.len() != names.len() {
            let what = format!("{INPUT_DIMS} entries (one per name in {INPUT_NAMES})");
            return Err(DataError::Count { what, found: dims.len(), needed: names.len() });
        }
        Ok(Some(names.into_iter().zip(dims).map(|(name, dim)| ObsInput { name, dim }).collect()))
    }
}

#[cfg(test)]
pub(super) mod tests;
