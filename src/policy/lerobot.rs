//! Diffusion policies of LeRobot 0.1 to 0.6: a checkpoint directory with `config.json`, `model.safetensors`, the processors of
//! observations and actions and their statistics. Every key and every step is carried out, known to change nothing, or
//! refused by name.
//!
//! LeRobot's chunk starts at the oldest observation of the history (delta indices 1 - n_obs_steps ..), so the action for the
//! newest observation is row n_obs_steps - 1 of the chunk: `action_offset` is 1 - n_obs_steps.

mod config;
mod folder;
mod maps;
mod processors;
mod statistics;

pub use folder::find as find_checkpoint;
pub(super) use folder::hint;

use super::{NoiseLaw, Objective, Policy, PolicyError, PolicySpec, Provenance, Result, TimeConvention};
use crate::data::budget::{MOST_FILE, read_file};
use crate::flow::Path as FlowPath;
use crate::nn::{EncoderSpec, NetworkSpec, ParamStore, StoreError};
use crate::objective::denoising::Denoising;
use config::Config;
use processors::Processors;
use safetensors::SafeTensors;
use serde_json::{Map, Value};
use statistics::Statistics;
use std::path::Path;

/// What LeRobot puts before the U-Net's parameters: as it is, and where the U-Net was compiled (`compile_model`).
const PREFIXES: [&str; 2] = ["diffusion.unet.", "diffusion.unet._orig_mod."];
const MODEL: &str = "model.safetensors";

/// The directory being imported, named in errors.
struct Import<'a> {
    dir: &'a Path,
}

impl Import<'_> {
    fn bad(&self, file: &str, what: String) -> PolicyError {
        PolicyError::Import { dir: self.dir.into(), file: file.into(), what }
    }

    fn read(&self, file: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(file);
        // Of a sparse file, or a device, nobody wants to wait for the end.
        read_file(&path, "a file of a checkpoint", MOST_FILE)
            .map_err(|source| PolicyError::Read { path, source })
    }

    /// A file that holds a map.
    fn json(&self, file: &str) -> Result<Map<String, Value>> {
        let value: Value =
            serde_json::from_slice(&self.read(file)?).map_err(|e| self.bad(file, e.to_string()))?;
        config::object(&value).cloned().map_err(|e| self.bad(file, e))
    }

    fn tensors<'b>(&self, file: &str, bytes: &'b [u8]) -> Result<SafeTensors<'b>> {
        SafeTensors::deserialize(bytes)
            .map_err(|e| self.bad(file, format!("not a whole safetensors file ({e})")))
    }
}

/// A policy of another program, and what its checkpoint says of how it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The policy.
    pub policy: Policy,
    /// Actions of a chunk that are executed before the next is asked for, from the one for the newest observation on (LeRobot's
    /// `n_action_steps`); `execute` of a controller. None where the checkpoint does not say.
    pub execute: Option<usize>,
}

impl Policy {
    /// As [`Imported::lerobot`], the policy alone.
    ///
    /// # Errors
    /// As [`Imported::lerobot`].
    pub fn import_lerobot(dir: impl AsRef<Path>) -> Result<Policy> {
        Imported::lerobot(dir).map(|imported| imported.policy)
    }
}

impl Imported {
    /// Imports a LeRobot diffusion checkpoint directory, or the newest one of a run's folder above it. Inputs are the state
    /// and, if there is one, the environment state; LeRobot keeps no moving average of its own, so both sets of weights are the
    /// same. Weights and statistics in f16 and bf16 are widened exactly, doubles rounded.
    ///
    /// # Errors
    /// [`PolicyError::Import`] or [`PolicyError::Tensor`], naming what is missing, unknown, or of another shape.
    pub fn lerobot(dir: impl AsRef<Path>) -> Result<Imported> {
        let dir = find_checkpoint(dir.as_ref())?;
        let at = Import { dir: &dir };
        let config = Config::read(&at)?;
        let (inputs, action) = (config.inputs(&at)?, config.action(&at)?);
        let bytes = at.read(MODEL)?;
        let file = at.tensors(MODEL, &bytes)?;
        let processors = Processors::find(&at, &config, &file)?;
        let observed = processors.observations(&at, &inputs)?;
        let (action_normalizer, relative_to) = processors.actions(&at, &observed, &action)?;
        let denoising: Denoising = config.denoising(&at)?;
        let spec = PolicySpec {
            objective: Objective::Denoising(denoising),
            network: NetworkSpec::Unet1d(config.network()),
            encoder: EncoderSpec::Identity,
            path: FlowPath::default(),
            time: TimeConvention::ActionToNoise,
            noise: NoiseLaw::StandardNormal,
            history: config.n_obs_steps,
            obs_dim: inputs.iter().map(|f| f.dim).sum(),
            obs_inputs: observed.inputs.iter().map(|i| config::input(&i.column, i.dim)).collect(),
            horizon: config.horizon,
            action_dim: action.dim,
            action_offset: 1 - i32::try_from(config.n_obs_steps).unwrap_or(i32::MAX),
            prefix: None,
            obs_normalizer: observed.normalizer,
            action_normalizer,
            relative_to,
            angles: None,
            obs_names: None,
            action_names: None,
            rate_hz: None,
            provenance: Provenance {
                steps: 0,
                batch_size: 0,
                seed: 0,
                split_seed: 0,
                validation_episodes: Vec::new(),
            },
        };
        let misfit = |e: PolicyError| at.bad("config.json", e.to_string());
        spec.check().map_err(misfit)?;
        let params = spec.params().map_err(misfit)?;
        let tensor = |source: StoreError| PolicyError::Tensor { path: at.dir.join(MODEL), source };
        let compiled = file.names().iter().any(|n| n.starts_with(PREFIXES[1]));
        let prefix = PREFIXES[usize::from(compiled)];
        // Before memory is taken for them: a damaged configuration may ask for any size.
        for p in &params {
            StoreError::check(&file, &format!("{prefix}{}", p.name), p.shape.dims()).map_err(tensor)?;
        }
        let mut weights = ParamStore::zeros(&params);
        weights.load(&file, prefix).map_err(tensor)?;
        for name in file.names() {
            let known = match name.strip_prefix(prefix) {
                Some(own) => weights.layout.get(own).is_ok(),
                None => processors.old && Statistics::owns(name),
            };
            if !known {
                return Err(tensor(StoreError::Unexpected { name: name.to_string() }));
            }
        }
        let policy = Policy { spec, ema: weights.clone(), weights };
        Ok(Imported { policy, execute: config.n_action_steps })
    }
}
