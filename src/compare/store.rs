//! The files of a comparison's folder: settings.json, train.npz and held_out.npz (the data), runs/METHOD-SEED.json (a finished run), and while one is under way its
//! checkpoint runs/METHOD-SEED.safetensors with what the trainer keeps beside it.

use super::{CompareError, Result, RunRecord, Settings, Task};
use crate::data::{Episodes, WriteLock, write_aside, write_npz};
use crate::train::resume;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What a run that is under way has beside its checkpoint.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoFar {
    /// Time of the steps that were taken.
    pub(super) train_s: f64,
    /// The loss of its last line of metrics.
    pub(super) loss: Option<f64>,
}

/// A comparison's folder.
pub(super) struct Store {
    folder: PathBuf,
    /// No other comparison writes here meanwhile.
    _ours: WriteLock,
}

impl Store {
    /// Makes the folder, or sees whether the comparison in it has the same settings.
    pub(super) fn open(folder: &Path, settings: &Settings, task: &Task) -> Result<Store> {
        let stored = |path: &Path, reason: String| CompareError::Stored { path: path.into(), reason };
        let runs = folder.join("runs");
        std::fs::create_dir_all(&runs).map_err(|e| stored(&runs, e.to_string()))?;
        let path = folder.join("settings.json");
        let lock = WriteLock::take(&path).map_err(|e| stored(&path, e.to_string()))?;
        let busy = || stored(folder, "another comparison is writing into this folder".into());
        let store = Store { folder: folder.into(), _ours: lock.ok_or_else(busy)? };
        match read::<Settings>(&path)? {
            Some(stored) => settings.agree(&stored, folder)?,
            None => {
                store.export("train.npz", &task.train)?;
                store.export("held_out.npz", &task.held_out.episodes(task)?)?;
                write_json(&path, settings)?;
            }
        }
        Ok(store)
    }

    /// The data, for programs that are to be judged by the same.
    fn export(&self, name: &str, episodes: &Episodes) -> Result<()> {
        Ok(write_npz(self.folder.join(name), episodes)?)
    }

    fn run(&self, method: &str, seed: u64, ending: &str) -> PathBuf {
        self.folder.join("runs").join(format!("{method}-{seed}.{ending}"))
    }

    /// The finished run, if there is one.
    pub(super) fn finished(&self, method: &str, seed: u64) -> Result<Option<RunRecord>> {
        read(&self.run(method, seed, "json"))
    }

    /// Where the policy of a run is kept.
    pub(super) fn checkpoint(&self, method: &str, seed: u64) -> PathBuf {
        self.run(method, seed, "safetensors")
    }

    /// Keeps what a run that may be stopped has beside its checkpoint.
    pub(super) fn stop(&self, method: &str, seed: u64, so_far: &SoFar) -> Result<()> {
        write_json(&self.run(method, seed, "stopped.json"), so_far)
    }

    /// What a run that was stopped had; `None` if none was stopped.
    pub(super) fn stopped(&self, method: &str, seed: u64) -> Result<Option<SoFar>> {
        if !resume::train_path(&self.checkpoint(method, seed)).exists() {
            return Ok(None);
        }
        Ok(Some(read(&self.run(method, seed, "stopped.json"))?.unwrap_or_default()))
    }

    /// Keeps a finished run, whole, and drops what was kept to go on with it.
    pub(super) fn finish(&self, record: &RunRecord) -> Result<()> {
        let (method, seed) = (&record.training.method, record.training.seed);
        let path = self.run(method, seed, "json");
        write_aside(&path, |file| serde_json::to_writer(file, record).map_err(std::io::Error::other))?;
        let left =
            [resume::train_path(&self.checkpoint(method, seed)), self.run(method, seed, "stopped.json")];
        for path in left.iter().filter(|p| p.exists()) {
            std::fs::remove_file(path)
                .map_err(|e| CompareError::Stored { path: path.clone(), reason: e.to_string() })?;
        }
        Ok(())
    }
}

/// Reads a file of JSON; `None` if there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bad = |reason: String| CompareError::Stored { path: path.into(), reason };
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| bad(format!("not what a comparison wrote: {e}; needed the file removed"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(bad(e.to_string())),
    }
}

/// Writes a file of JSON, whole or not at all.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    Ok(write_aside(path, |file| {
        serde_json::to_writer_pretty(&mut *file, value).map_err(std::io::Error::other)?;
        file.write_all(b"\n")
    })?)
}
