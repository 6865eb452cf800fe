//! Stopped runs: what beside the checkpoint is needed to go on bit for bit. The file is the checkpoint's name with `.train`
//! appended: the optimiser's moments, the step, the configuration and a fingerprint of the data.

use super::{Result, RunConfig, TrainError, Trainer};
use crate::data::{Episodes, write_aside};
use crate::nn::ParamStore;
use crate::policy::checkpoint;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const STEP: &str = "advect.step";
const CONFIG: &str = "advect.config";
const DATA: &str = "advect.data";
const PENDING: &str = "advect.pending";
const FIRST: &str = "first.";
const SECOND: &str = "second.";
const WEIGHTS: &str = "weights.";
const EMA: &str = "ema.";

/// Where a checkpoint's run is kept.
pub fn train_path(checkpoint: &Path) -> PathBuf {
    let mut name = checkpoint.as_os_str().to_owned();
    name.push(".train");
    name.into()
}

/// Whether a run's files are at `checkpoint`.
pub(super) fn is_taken(checkpoint: &Path) -> bool {
    checkpoint.exists() || train_path(checkpoint).exists()
}

/// Removes the state of an earlier run, which a new policy takes the place of.
pub(super) fn forget(checkpoint: &Path) -> Result<()> {
    let path = train_path(checkpoint);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::Resume { path, reason: format!("it cannot be removed: {e}") })
        }
        _ => Ok(()),
    }
}

/// A fingerprint of demonstrations: FNV-1a over all values and lengths, the named inputs and the rate. Data sets that were
/// joined have that of the episodes together.
pub fn fingerprint(episodes: &Episodes) -> String {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for b in bytes {
                self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(bytemuck::cast_slice(episodes.obs()));
    hash.write(bytemuck::cast_slice(episodes.action()));
    for n in episodes.lengths() {
        hash.write(&(*n as u64).to_le_bytes());
    }
    for input in episodes.obs_inputs() {
        hash.write(input.name.as_bytes());
        hash.write(&(input.dim as u64).to_le_bytes());
    }
    hash.write(&episodes.fps().unwrap_or(0.0).to_le_bytes());
    format!("{:016x}", hash.finish())
}

impl Trainer {
    /// Writes the checkpoint, then the run's state beside it; each is written aside and renamed.
    pub fn save(&mut self, checkpoint: &Path, data: &str) -> Result<()> {
        self.policy()?.save(checkpoint)?;
        self.save_state(checkpoint, data)
    }

    /// Writes the run's state beside a checkpoint.
    pub(super) fn save_state(&mut self, checkpoint: &Path, data: &str) -> Result<()> {
        let policy = self.policy()?;
        let [first, second] = self.moments()?;
        let bad =
            |e: serde_json::Error| TrainError::Resume { path: checkpoint.into(), reason: e.to_string() };
        let config = serde_json::to_string(self.config()).map_err(bad)?;
        let pending = serde_json::to_string(&self.pending()).map_err(bad)?;
        let metadata = BTreeMap::from([
            (STEP, self.step().to_string()),
            (CONFIG, config),
            (DATA, data.to_string()),
            (PENDING, pending),
        ]);
        let stores = [(FIRST, &first), (SECOND, &second), (WEIGHTS, &policy.weights), (EMA, &policy.ema)];
        let bytes = checkpoint::serialize(&stores, metadata)?;
        write_aside(train_path(checkpoint), |file| file.write_all(&bytes))?;
        Ok(())
    }

    /// Continues a stopped run from the file beside `checkpoint`; configuration and data must be the same.
    pub fn resume(&mut self, checkpoint: &Path, data: &str) -> Result<()> {
        let state = TrainFile::read(checkpoint)?;
        let bad = |reason: String| TrainError::Resume { path: state.path.clone(), reason };
        if let Some(difference) = difference(&state.config()?, self.config()) {
            return Err(bad(difference));
        }
        if state.key(DATA)? != data {
            return Err(bad("the demonstrations are not those of the stopped run".into()));
        }
        let step: u64 = state.key(STEP)?.parse().map_err(|_| bad(format!("{STEP} is not a number")))?;
        let pending =
            serde_json::from_str(state.key(PENDING)?).map_err(|e| bad(format!("{PENDING}: {e}")))?;
        let file = SafeTensors::deserialize(&state.bytes).map_err(|e| bad(e.to_string()))?;
        let mut policy = self.policy()?;
        let mut moments = self.moments()?;
        let load =
            |store: &mut ParamStore, prefix: &str| store.load(&file, prefix).map_err(|e| bad(e.to_string()));
        load(&mut policy.weights, WEIGHTS)?;
        load(&mut policy.ema, EMA)?;
        load(&mut moments[0], FIRST)?;
        load(&mut moments[1], SECOND)?;
        let [first, second] = &moments;
        let stores = [(FIRST, first), (SECOND, second), (WEIGHTS, &policy.weights), (EMA, &policy.ema)];
        checkpoint::verify(&state.metadata, &file, &stores).map_err(bad)?;
        self.restore(step, pending, &policy, &moments)
    }
}

/// The configuration of the stopped run beside `checkpoint`.
pub fn stored_config(checkpoint: &Path) -> Result<RunConfig> {
    TrainFile::read(checkpoint)?.config()
}

/// The bytes and metadata of a stopped run's file.
struct TrainFile {
    path: PathBuf,
    bytes: Vec<u8>,
    metadata: HashMap<String, String>,
}

impl TrainFile {
    fn read(checkpoint: &Path) -> Result<TrainFile> {
        let path = train_path(checkpoint);
        let bad = |reason: String| TrainError::Resume { path: path.clone(), reason };
        let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => bad("no such file, so no run was stopped there".into()),
            _ => bad(e.to_string()),
        })?;
        let whole = |e: safetensors::SafeTensorError| bad(format!("not a whole safetensors file ({e})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(whole)?;
        SafeTensors::deserialize(&bytes).map_err(whole)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(TrainFile { path, bytes, metadata })
    }

    fn key(&self, key: &str) -> Result<&str> {
        let missing = || TrainError::Resume {
            path: self.path.clone(),
            reason: format!("its metadata lacks the key {key:?}"),
        };
        self.metadata.get(key).map(String::as_str).ok_or_else(missing)
    }

    fn config(&self) -> Result<RunConfig> {
        let bad = |e: serde_json::Error| TrainError::Resume {
            path: self.path.clone(),
            reason: format!("{CONFIG}: {e}"),
        };
        let mut config: serde_json::Value = serde_json::from_str(self.key(CONFIG)?).map_err(bad)?;
        // Runs of before there was a clip had none.
        if let Some(keys) = config.as_object_mut() {
            keys.entry("obs_clip").or_insert_with(|| 0.0.into());
        }
        serde_json::from_value(config).map_err(bad)
    }
}

/// The first setting in which two configurations differ; how often a run logs or saves does not matter.
fn difference(stored: &RunConfig, asked: &RunConfig) -> Option<String> {
    let value = |c: &RunConfig| {
        let c = RunConfig { log_every: 1, validate_every: 1, save_every: 1, ..c.clone() };
        serde_json::to_value(&c).ok()
    };
    let (a, b) = (value(stored)?, value(asked)?);
    let (a, b) = (a.as_object()?, b.as_object()?);
    let key = a.keys().find(|k| a.get(*k) != b.get(*k))?;
    Some(format!("{key} was {} in the stopped run, found {}", a.get(key)?, b.get(key)?))
}
