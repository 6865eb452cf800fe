//! Diffusion policies of LeRobot 0.4 (and older): a checkpoint directory with `config.json`, `model.safetensors` and the
//! normaliser's statistics.
//!
//! LeRobot's chunk starts at the oldest observation of the history (delta indices 1 - n_obs_steps ..), so the action for the
//! newest observation is row n_obs_steps - 1 of the chunk: `action_offset` is 1 - n_obs_steps.

mod config;
mod statistics;

use super::{NoiseLaw, Objective, Policy, PolicyError, PolicySpec, Provenance, Result, TimeConvention};
use crate::flow::Path as FlowPath;
use crate::nn::{EncoderSpec, NetworkSpec, ParamStore, StoreError};
use crate::objective::denoising::Denoising;
use config::Config;
use safetensors::SafeTensors;
use statistics::Source;
use std::path::Path;

/// What LeRobot puts before the U-Net's parameters.
const PREFIX: &str = "diffusion.unet.";

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
        std::fs::read(&path).map_err(|source| PolicyError::Read { path, source })
    }

    fn text(&self, file: &str) -> Result<String> {
        String::from_utf8(self.read(file)?).map_err(|e| self.bad(file, e.to_string()))
    }

    fn tensors<'b>(&self, file: &str, bytes: &'b [u8]) -> Result<SafeTensors<'b>> {
        SafeTensors::deserialize(bytes)
            .map_err(|e| self.bad(file, format!("not a whole safetensors file ({e})")))
    }
}

impl Policy {
    /// Imports a LeRobot diffusion checkpoint directory. Inputs are the state and, if there is one, the environment state;
    /// LeRobot keeps no moving average of its own, so both sets of weights are the same.
    ///
    /// # Errors
    /// [`PolicyError::Import`] or [`PolicyError::Tensor`], naming what is missing, unknown, or of another shape.
    pub fn import_lerobot(dir: impl AsRef<Path>) -> Result<Policy> {
        const MODEL: &str = "model.safetensors";
        let at = Import { dir: dir.as_ref() };
        let config = Config::parse(&at.text("config.json")?, &at)?;
        let bytes = at.read(MODEL)?;
        let file = at.tensors(MODEL, &bytes)?;
        let (inputs, action) = (config.inputs(&at)?, config.action(&at)?);
        let source = Source::find(&at, &config, &file)?;
        let obs_normalizer = source.observations(&at, &inputs)?;
        let action_normalizer = source.actions(&at, &action)?;
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
            obs_inputs: inputs.iter().map(|f| config::input(f, source.renamed_from(&f.key))).collect(),
            horizon: config.horizon,
            action_dim: action.dim,
            action_offset: 1 - i32::try_from(config.n_obs_steps).unwrap_or(i32::MAX),
            prefix: None,
            obs_normalizer,
            action_normalizer,
            relative_to: None,
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
        spec.check()?;
        let params = spec.params()?;
        let tensor = |source: StoreError| PolicyError::Tensor { path: at.dir.join(MODEL), source };
        // Before memory is taken for them: a damaged configuration may ask for any size.
        for p in &params {
            StoreError::check(&file, &format!("{PREFIX}{}", p.name), p.shape.dims()).map_err(tensor)?;
        }
        let mut weights = ParamStore::zeros(&params);
        weights.load(&file, PREFIX).map_err(tensor)?;
        for name in file.names() {
            let known = match name.strip_prefix(PREFIX) {
                Some(own) => weights.layout.get(own).is_ok(),
                None => source.owns(name),
            };
            if !known {
                return Err(tensor(StoreError::Unexpected { name: name.to_string() }));
            }
        }
        Ok(Policy { spec, ema: weights.clone(), weights })
    }
}
