//! `config.json` of a LeRobot diffusion policy: the keys that say what the U-Net is and what it was trained for.

use super::Import;
use crate::data::ObsInput;
use crate::nn::TimeInput;
use crate::nn::unet1d::Unet1d;
use crate::objective::denoising::{BetaSchedule, Denoising, DenoisingSampler, Prediction};
use crate::policy::{NormKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What LeRobot's DiffusionConfig says. Keys that do not matter for the U-Net are not looked at; of those that do, none has
/// a default.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    /// `diffusion`; older versions leave it out.
    #[serde(rename = "type")]
    kind: Option<String>,
    pub(super) n_obs_steps: usize,
    pub(super) horizon: usize,
    input_features: Map<String, Value>,
    output_features: Map<String, Value>,
    normalization_mapping: Map<String, Value>,
    down_dims: Vec<usize>,
    kernel_size: usize,
    n_groups: usize,
    diffusion_step_embed_dim: usize,
    use_film_scale_modulation: bool,
    noise_scheduler_type: String,
    num_train_timesteps: usize,
    beta_schedule: String,
    beta_start: f64,
    beta_end: f64,
    prediction_type: String,
    clip_sample: bool,
    clip_sample_range: f64,
    num_inference_steps: Option<usize>,
}

/// A feature: its key, what type LeRobot gives it, how many values it has.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    pub(super) key: String,
    pub(super) kind: String,
    pub(super) dim: usize,
}

/// The key of the actions.
pub(super) const ACTION: &str = "action";
const STATE: &str = "observation.state";
const ENVIRONMENT: &str = "observation.environment_state";

impl Config {
    /// Reads the file's text.
    pub(super) fn parse(text: &str, at: &Import<'_>) -> Result<Config> {
        let config: Config = serde_json::from_str(text).map_err(|e| at.bad("config.json", e.to_string()))?;
        match config.kind.as_deref() {
            None | Some("diffusion") => Ok(config),
            Some(other) => {
                Err(at.bad("config.json", format!("found a policy of type {other:?}, needed \"diffusion\"")))
            }
        }
    }

    /// The inputs in the order in which the network takes them: state, then environment state.
    pub(super) fn inputs(&self, at: &Import<'_>) -> Result<Vec<Feature>> {
        let mut found = features(&self.input_features, at)?;
        found.sort_by_key(|f| [STATE, ENVIRONMENT].iter().position(|k| *k == f.key));
        for f in &found {
            if f.kind == "VISUAL" {
                let what = format!("the input {:?} is an image: needed a policy of states alone", f.key);
                return Err(at.bad("config.json", what));
            }
            if f.key != STATE && f.key != ENVIRONMENT {
                let what = format!("unknown input {:?}: needed {STATE:?} and {ENVIRONMENT:?} at most", f.key);
                return Err(at.bad("config.json", what));
            }
        }
        match found.first() {
            Some(f) if f.key == STATE => Ok(found),
            _ => Err(at.bad("config.json", format!("the input {STATE:?} is missing"))),
        }
    }

    /// The only output.
    pub(super) fn action(&self, at: &Import<'_>) -> Result<Feature> {
        match features(&self.output_features, at)?.as_slice() {
            [one] if one.key == ACTION => Ok(one.clone()),
            other => {
                let names: Vec<&str> = other.iter().map(|f| f.key.as_str()).collect();
                Err(at.bad("config.json", format!("found the outputs {names:?}, needed [{ACTION:?}]")))
            }
        }
    }

    /// How features of a type are normalised; a type that is not mentioned is left as it is.
    pub(super) fn mapping(&self) -> &Map<String, Value> {
        &self.normalization_mapping
    }

    /// The network.
    pub(super) fn network(&self) -> Unet1d {
        Unet1d {
            down_dims: self.down_dims.clone(),
            kernel_size: self.kernel_size,
            groups: self.n_groups,
            // LeRobot's last block does not take n_groups from the configuration.
            final_groups: 8,
            time: TimeInput::Sinusoidal {
                dim: self.diffusion_step_embed_dim,
                scale: self.num_train_timesteps.saturating_sub(1) as f64,
                max_period: 1e4,
            },
            film_scale: self.use_film_scale_modulation,
        }
    }

    /// The diffusion.
    pub(super) fn denoising(&self, at: &Import<'_>) -> Result<Denoising> {
        let unknown = |key: &str, found: &str, needed: &str| {
            Err(at.bad("config.json", format!("{key}: found {found:?}, needed {needed}")))
        };
        let (start, end) = (self.beta_start, self.beta_end);
        let betas = match self.beta_schedule.as_str() {
            "squaredcos_cap_v2" => BetaSchedule::SquaredCosine,
            "linear" => BetaSchedule::Linear { start, end },
            "scaled_linear" => BetaSchedule::ScaledLinear { start, end },
            other => {
                return unknown("beta_schedule", other, "squaredcos_cap_v2, linear or scaled_linear");
            }
        };
        let prediction = match self.prediction_type.as_str() {
            "epsilon" => Prediction::Epsilon,
            "sample" => Prediction::Sample,
            other => return unknown("prediction_type", other, "epsilon or sample"),
        };
        let sampler = match self.noise_scheduler_type.as_str() {
            "DDPM" => DenoisingSampler::Ddpm,
            "DDIM" => DenoisingSampler::Ddim,
            other => return unknown("noise_scheduler_type", other, "DDPM or DDIM"),
        };
        if self.num_train_timesteps < 2 {
            return unknown("num_train_timesteps", &self.num_train_timesteps.to_string(), "at least 2");
        }
        Ok(Denoising {
            train_steps: self.num_train_timesteps,
            betas,
            prediction,
            clip: self.clip_sample.then_some(self.clip_sample_range),
            sampler,
            inference_steps: self.num_inference_steps.unwrap_or(self.num_train_timesteps),
        })
    }
}

/// Features with one axis.
fn features(map: &Map<String, Value>, at: &Import<'_>) -> Result<Vec<Feature>> {
    let feature = |(key, value): (&String, &Value)| {
        let kind = value["type"].as_str().unwrap_or_default().to_string();
        let shape: Vec<Option<u64>> =
            value["shape"].as_array().map(|a| a.iter().map(Value::as_u64).collect()).unwrap_or_default();
        let dim = match shape.as_slice() {
            [Some(dim)] if *dim > 0 => *dim as usize,
            // An image's shape does not matter: it is refused by name.
            _ if kind == "VISUAL" => 0,
            _ => {
                let what = format!("{key:?}: found shape {}, needed one length", value["shape"]);
                return Err(at.bad("config.json", what));
            }
        };
        Ok(Feature { key: key.clone(), kind, dim })
    };
    map.iter().map(feature).collect()
}

/// A normalisation mode by LeRobot's name.
pub(super) fn mode(mapping: &Map<String, Value>, kind: &str, at: &Import<'_>) -> Result<Mode> {
    match mapping.get(kind).map(|v| v.as_str().unwrap_or_default()) {
        None | Some("IDENTITY") => Ok(Mode::Identity),
        Some("MEAN_STD") => Ok(Mode::MeanStd),
        Some("MIN_MAX") => Ok(Mode::Range(NormKind::MinMax, ["min", "max"])),
        Some("QUANTILES") => Ok(Mode::Range(NormKind::Quantile, ["q01", "q99"])),
        Some("QUANTILE10") => Ok(Mode::Range(NormKind::Quantile, ["q10", "q90"])),
        Some(other) => Err(at.bad("the normaliser", format!("unknown mode {other:?} of {kind}"))),
    }
}

/// A normalisation mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// x.
    Identity,
    /// (x - mean) / (std + eps).
    MeanStd,
    /// 2 (x - low) / (high - low) - 1, by the statistics of these names.
    Range(NormKind, [&'static str; 2]),
}

/// The key of an input in a request.
pub(super) fn input(feature: &Feature, renamed_from: Option<&str>) -> ObsInput {
    ObsInput { name: ObsInput::key(renamed_from.unwrap_or(&feature.key), false), dim: feature.dim }
}
