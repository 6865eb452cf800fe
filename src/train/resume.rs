//! Stopped runs: what beside the checkpoint is needed to go on bit for bit. The file is the checkpoint's name with `.train`
//! appended: the optimiser's moments, the step, the configuration and a fingerprint of the data.

use super::{Result, RunConfig, ScheduleSpec, TrainError, Trainer, program};
use crate::data::budget::{MOST_FILE, read_file};
use crate::data::{Episodes, write_aside};
use crate::nn::ParamStore;
use crate::policy::{Policy, PolicySpec, checkpoint, checksum};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const STEP: &str = "advect.step";
const CONFIG: &str = "advect.config";
const DATA: &str = "advect.data";
const SPEC: &str = "advect.spec";
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

/// A fingerprint of demonstrations: FNV-1a over all values and lengths, the named inputs and the rate, and after a colon that of every
/// episode by itself, so that a run can tell its own among more. Data sets that were joined have that of the episodes together.
pub fn fingerprint(episodes: &Episodes) -> String {
    let mut hash = Fnv::new();
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
    let (mut obs, mut action) = (episodes.obs(), episodes.action());
    let each = episodes.lengths().iter().map(|n| {
        let mut hash = Fnv::new();
        for (values, dim) in [(&mut obs, episodes.obs_dim()), (&mut action, episodes.action_dim())] {
            let (own, rest) = values.split_at(n * dim);
            hash.write(bytemuck::cast_slice(own));
            *values = rest;
        }
        format!("{:016x}", hash.finish())
    });
    format!("{:016x}:{}", hash.finish(), each.collect::<Vec<_>>().join(","))
}

struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

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

/// The fingerprints of single episodes; none where an earlier version wrote the state.
fn of_episodes(data: &str) -> Option<Vec<u64>> {
    let (_, each) = data.split_once(':')?;
    each.split(',').map(|hash| u64::from_str_radix(hash, 16).ok()).collect()
}

/// The episodes of a stopped run and those that it is to go on with, by their fingerprints.
pub(super) struct MoreData {
    pub(super) before: Vec<u64>,
    pub(super) now: Vec<u64>,
}

/// A run that was stopped: what lies beside its checkpoint.
pub struct Stopped {
    file: TrainFile,
    config: RunConfig,
    spec: Option<PolicySpec>,
    step: u64,
}

impl Stopped {
    /// Reads the state beside `checkpoint`.
    ///
    /// # Errors
    /// [`TrainError::Resume`] if there is none, or it is not whole.
    pub fn read(checkpoint: &Path) -> Result<Stopped> {
        let file = TrainFile::read(checkpoint)?;
        let bad = |reason: String| TrainError::Resume { path: file.path.clone(), reason };
        let config = file.config()?;
        let step = file.key(STEP)?.parse().map_err(|_| bad(format!("{STEP} is not a number")))?;
        let spec = match file.metadata.get(SPEC) {
            Some(text) => Some(serde_json::from_str(text).map_err(|e| bad(format!("{SPEC}: {e}")))?),
            // A state of an earlier version, whose statistics were others: they are those of the policy beside it.
            None if checkpoint.exists() => Some(Policy::load(checkpoint)?.spec),
            None => None,
        };
        Ok(Stopped { file, config, spec, step })
    }

    /// Its configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Steps that it took.
    pub fn step(&self) -> u64 {
        self.step
    }

    pub(super) fn spec(&self) -> Option<&PolicySpec> {
        self.spec.as_ref()
    }

    /// Sees whether the run can go on by this configuration and these demonstrations, and says what is different, a line each: more
    /// (or fewer) steps, more demonstrations.
    ///
    /// # Errors
    /// [`TrainError::Resume`] naming the setting that changed, or that demonstrations are missing.
    pub fn goes_on(&self, config: &RunConfig, data: &str) -> Result<Vec<String>> {
        let bad = |reason: String| TrainError::Resume { path: self.file.path.clone(), reason };
        // How often a run logs or saves does not matter.
        let own = |c: &RunConfig| RunConfig {
            steps: 1,
            log_every: 1,
            validate_every: 1,
            save_every: 1,
            ..c.clone()
        };
        if let Some(change) = changed(&own(&self.config), &own(config), ("in the stopped run", "now")) {
            return Err(bad(change));
        }
        if config.steps < self.step {
            let (step, steps) = (self.step, config.steps);
            return Err(bad(format!(
                "steps: found {steps}, needed at least {step}, which were taken already"
            )));
        }
        let mut notes = Vec::new();
        if config.steps != self.config.steps {
            let rate = |config: &RunConfig| program::learning_rate(config, self.step);
            let schedule = match config.optimizer.schedule {
                ScheduleSpec::Constant => "the learning rate stays".to_owned(),
                ScheduleSpec::Cosine => format!(
                    "the cosine schedule is stretched over all of them: the learning rate at step {} is {:.3e}, where it was {:.3e}",
                    self.step,
                    rate(config),
                    rate(&self.config)
                ),
            };
            notes.push(format!("{} steps in place of {}; {schedule}", config.steps, self.config.steps));
        }
        if let Some(more) = self.more_data(data)? {
            notes.push(match more.now.len() - more.before.len() {
                0 => "the same demonstrations in another order".to_owned(),
                new => format!(
                    "{new} more demonstrations than the {} of the stopped run; its normalisers and held-out episodes stay",
                    more.before.len()
                ),
            });
        }
        Ok(notes)
    }

    /// What is new in the demonstrations; `None`: nothing.
    pub(super) fn more_data(&self, data: &str) -> Result<Option<MoreData>> {
        let stored = self.file.key(DATA)?;
        let whole = |data: &str| data.split(':').next().unwrap_or_default().to_owned();
        if whole(stored) == whole(data) {
            return Ok(None);
        }
        let (Some(before), Some(now)) = (of_episodes(stored), of_episodes(data)) else {
            return Err(self.other_data());
        };
        let mut left = now.clone();
        let missing = before.iter().filter(|hash| match left.iter().position(|other| other == *hash) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        });
        match missing.count() {
            0 => Ok(Some(MoreData { before, now })),
            _ => Err(self.other_data()),
        }
    }

    pub(super) fn other_data(&self) -> TrainError {
        TrainError::Resume {
            path: self.file.path.clone(),
            reason: "the demonstrations are not those of the stopped run, nor those and more; to go on from its policy on other \
                     demonstrations, start a run with --init"
                .into(),
        }
    }
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
        let spec = serde_json::to_string(&policy.spec).map_err(bad)?;
        let metadata = BTreeMap::from([
            (STEP, self.step().to_string()),
            (CONFIG, config),
            (DATA, data.to_string()),
            (PENDING, pending),
            (SPEC, spec),
        ]);
        let stores = [(FIRST, &first), (SECOND, &second), (WEIGHTS, &policy.weights), (EMA, &policy.ema)];
        let bytes = checkpoint::serialize(&stores, metadata)?;
        write_aside(train_path(checkpoint), |file| file.write_all(&bytes))?;
        Ok(())
    }

    /// Continues a stopped run from the file beside `checkpoint`. The configuration must be the same but for the number of steps, and the
    /// demonstrations the same or more (then the trainer is made by [`Start::from_stopped`](super::Start::from_stopped)). Says what is different, a line each.
    pub fn resume(&mut self, checkpoint: &Path, data: &str) -> Result<Vec<String>> {
        let stopped = Stopped::read(checkpoint)?;
        let notes = stopped.goes_on(self.config(), data)?;
        let (step, state) = (stopped.step, &stopped.file);
        let bad = |reason: String| TrainError::Resume { path: state.path.clone(), reason };
        if let Some(spec) = &stopped.spec {
            let own = self.spec();
            let same = (&spec.obs_normalizer, &spec.action_normalizer)
                == (&own.obs_normalizer, &own.action_normalizer);
            if !same
                || spec.provenance.validation_episodes != own.provenance.validation_episodes
                    && stopped.more_data(data)?.is_none()
            {
                return Err(bad("its normalisers or held-out episodes are others: a trainer made by Start::from_stopped is needed".into()));
            }
        }
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
        checksum::verify(&state.metadata, &file, &stores).map_err(bad)?;
        self.restore(step, pending, &policy, &moments)?;
        Ok(notes)
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
        let bytes = read_file(&path, "the state of a run", MOST_FILE).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound if checkpoint.exists() => bad(format!(
                "no such file. {at} is there, a policy without its run's state: sample it, or start a run from it (--init {at} and \
                 another --out)",
                at = checkpoint.display()
            )),
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

/// The settings in which two of a kind differ, by name: "optimizer.lr: 0.001 in the stopped run, 0.002 now". `None`: they are alike.
pub(super) fn changed<T: serde::Serialize>(before: &T, now: &T, said: (&str, &str)) -> Option<String> {
    // By text, so that a number is as it was written: 0.001, not the f64 next to the f32.
    let value = |x: &T| serde_json::from_str(&serde_json::to_string(x).ok()?).ok();
    let mut lines = Vec::new();
    differences("", &value(before)?, &value(now)?, said, &mut lines);
    let first = lines.first()?;
    Some(match lines.len() {
        1 => first.clone(),
        n => format!("{first} (and {} more)", n - 1),
    })
}

fn differences(path: &str, before: &Value, now: &Value, said: (&str, &str), lines: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(a), Value::Object(b)) if a.get("kind") == b.get("kind") => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differences(&path, &of(a), &of(b), said, lines);
            }
        }
        _ if before == now => {}
        _ => {
            let text = |v: &Value| match v {
                Value::Null => "none".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            lines.push(format!("{path}: {} {}, {} {}", text(before), said.0, text(now), said.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_setting_is_one_line() {
        let base = RunConfig::default();
        let said = |change: &dyn Fn(&mut RunConfig)| {
            let mut now = base.clone();
            change(&mut now);
            changed(&base, &now, ("in the stopped run", "now"))
        };
        assert_eq!(said(&|_| ()), None);
        assert_eq!(
            said(&|c| c.optimizer.lr = 2e-3).unwrap(),
            "optimizer.lr: 0.001 in the stopped run, 0.002 now"
        );
        assert_eq!(said(&|c| c.seed = 7).unwrap(), "seed: 0 in the stopped run, 7 now");
        let two = said(&|c| (c.horizon, c.history) = (8, 1)).unwrap();
        assert!(two.ends_with("now (and 1 more)"), "{two}");
        let ema =
            said(&|c| c.optimizer.ema = super::super::EmaSpec::Power { power: 0.75, max: 0.9 }).unwrap();
        assert!(ema.starts_with("optimizer.ema: {") && !ema.contains("lr"), "{ema}");
        let objective = said(&|c| c.objective = "mip".parse().unwrap()).unwrap();
        assert!(objective.starts_with("objective: flow_matching in the stopped run, "), "{objective}");
    }

    #[test]
    fn episodes_are_known_again_among_more() {
        assert_eq!(of_episodes("00:0a,0b"), Some(vec![10, 11]));
        assert_eq!(of_episodes("00"), None);
    }
}
