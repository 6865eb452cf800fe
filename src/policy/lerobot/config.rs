//! `config.json` of a LeRobot diffusion policy: the keys that say what the U-Net is and what it was trained for.

use super::Import;
use crate::data::ObsInput;
use crate::nn::TimeInput;
use crate::nn::unet1d::Unet1d;
use crate::objective::denoising::{BetaSchedule, Denoising, DenoisingSampler, Prediction};
use crate::policy::spec::MOST;
use crate::policy::{NormKind, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Keys that say what the network is and what it was trained for. Defaults of some differ between LeRobot's versions (a
/// horizon of 16 until 0.4, of 64 in 0.6), and the file does not say which version wrote it. Every version writes all of them,
/// so none has a default here.
const USED: [&str; 19] = [
    "n_obs_steps",
    "horizon",
    "input_features",
    "output_features",
    "normalization_mapping",
    "down_dims",
    "kernel_size",
    "n_groups",
    "diffusion_step_embed_dim",
    "use_film_scale_modulation",
    "noise_scheduler_type",
    "num_train_timesteps",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "prediction_type",
    "clip_sample",
    "clip_sample_range",
    "num_inference_steps",
];

/// Keys that change nothing of what a trained policy of states computes: where it runs, how it was trained, the encoder of
/// images that it does not have.
const WITHOUT_EFFECT: [&str; 30] = [
    "type",
    "device",
    "use_amp",
    "push_to_hub",
    "repo_id",
    "private",
    "tags",
    "license",
    "pretrained_path",
    "pretrained_revision",
    "drop_n_last_frames",
    "do_mask_loss_for_padding",
    "vision_backbone",
    "resize_shape",
    "crop_ratio",
    "crop_shape",
    "crop_is_random",
    "pretrained_backbone_weights",
    "use_group_norm",
    "spatial_softmax_num_keypoints",
    "use_separate_rgb_encoder_per_camera",
    "gradient_checkpointing",
    "compile_model",
    "compile_mode",
    "optimizer_lr",
    "optimizer_betas",
    "optimizer_eps",
    "optimizer_weight_decay",
    "scheduler_name",
    "scheduler_warmup_steps",
];

/// What LeRobot's DiffusionConfig says of the network.
#[derive(Debug)]
pub(super) struct Config {
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
    /// How many actions of a chunk LeRobot executes before it asks anew; some files do not say.
    pub(super) n_action_steps: Option<usize>,
}

/// A feature: its key, what type LeRobot gives it, how many values it has.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    pub(super) key: String,
    pub(super) kind: String,
    pub(super) dim: usize,
}

/// The key of how many actions of a chunk are executed.
const EXECUTED: &str = "n_action_steps";
/// The key of the actions.
pub(super) const ACTION: &str = "action";
pub(super) const STATE: &str = "observation.state";
const ENVIRONMENT: &str = "observation.environment_state";

impl Config {
    /// Reads the file.
    pub(super) fn read(at: &Import<'_>) -> Result<Config> {
        const FILE: &str = "config.json";
        let all = at.json(FILE)?;
        let bad = |what: String| at.bad(FILE, what);
        match all.get("type") {
            // Before 2025 it was left out.
            None => {}
            Some(Value::String(kind)) if kind == "diffusion" => {}
            Some(kind) => {
                return Err(bad(format!("a policy of type {kind}; diffusion policies are imported")));
            }
        }
        if all.contains_key("input_shapes") {
            let what = "it has \"input_shapes\", as LeRobot wrote before 2025: load and save the policy with LeRobot 0.1 or later";
            return Err(bad(what.into()));
        }
        if all.get("use_peft").is_some_and(|v| *v != Value::Bool(false)) {
            return Err(bad(
                "use_peft: the weights are an adapter of another policy; merge them with PEFT first".into(),
            ));
        }
        let get = Reader { all: &all, at, file: FILE };
        let config = Config {
            n_obs_steps: get.value("n_obs_steps")?,
            horizon: get.value("horizon")?,
            input_features: get.value("input_features")?,
            output_features: get.value("output_features")?,
            normalization_mapping: get.value("normalization_mapping")?,
            down_dims: get.value("down_dims")?,
            kernel_size: get.value("kernel_size")?,
            n_groups: get.value("n_groups")?,
            diffusion_step_embed_dim: get.value("diffusion_step_embed_dim")?,
            use_film_scale_modulation: get.value("use_film_scale_modulation")?,
            noise_scheduler_type: get.value("noise_scheduler_type")?,
            num_train_timesteps: get.value("num_train_timesteps")?,
            beta_schedule: get.value("beta_schedule")?,
            beta_start: get.value("beta_start")?,
            beta_end: get.value("beta_end")?,
            prediction_type: get.value("prediction_type")?,
            clip_sample: get.value("clip_sample")?,
            clip_sample_range: get.value("clip_sample_range")?,
            num_inference_steps: get.value("num_inference_steps")?,
            n_action_steps: match all.contains_key(EXECUTED) {
                true => get.value(EXECUTED)?,
                false => None,
            },
        };
        let known: Vec<&str> = USED.into_iter().chain(WITHOUT_EFFECT).chain(["use_peft", EXECUTED]).collect();
        keys_of(&all, &known).map_err(bad)?;
        // A chunk begins at the oldest observation, and is executed from the newest one on.
        let most = config.horizon.saturating_add(1).saturating_sub(config.n_obs_steps);
        if let Some(steps) = config.n_action_steps.filter(|steps| !(1..=most).contains(steps)) {
            let what = format!("{EXECUTED}: found {steps}, needed 1 to {most} (horizon - n_obs_steps + 1)");
            return Err(bad(what));
        }
        Ok(config)
    }

    /// The inputs in the order in which the network takes them: state, then environment state.
    pub(super) fn inputs(&self, at: &Import<'_>) -> Result<Vec<Feature>> {
        let mut found = self.features(&self.input_features, at)?;
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
            let kind = if f.key == STATE { "STATE" } else { "ENV" };
            if f.kind != kind {
                let what = format!("the input {:?}: found type {:?}, needed {kind:?}", f.key, f.kind);
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
        match self.features(&self.output_features, at)?.as_slice() {
            [one] if one.key == ACTION && one.kind == "ACTION" => Ok(one.clone()),
            other => {
                let names: Vec<(&str, &str)> =
                    other.iter().map(|f| (f.key.as_str(), f.kind.as_str())).collect();
                Err(at.bad(
                    "config.json",
                    format!("found the outputs {names:?}, needed {ACTION:?} of type ACTION"),
                ))
            }
        }
    }

    /// Inputs and outputs.
    pub(super) fn all_features(&self, at: &Import<'_>) -> Result<Vec<Feature>> {
        let mut all = self.features(&self.input_features, at)?;
        all.extend(self.features(&self.output_features, at)?);
        Ok(all)
    }

    fn features(&self, map: &Map<String, Value>, at: &Import<'_>) -> Result<Vec<Feature>> {
        features(map).map_err(|what| at.bad("config.json", what))
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

/// Single values of a file.
struct Reader<'a> {
    all: &'a Map<String, Value>,
    at: &'a Import<'a>,
    file: &'a str,
}

impl Reader<'_> {
    fn value<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let Some(value) = self.all.get(key) else {
            let what = format!(
                "the key {key:?} is missing; defaults differ between LeRobot's versions, all of which write it"
            );
            return Err(self.at.bad(self.file, what));
        };
        T::deserialize(value.clone()).map_err(|e| self.at.bad(self.file, format!("{key}: {e}")))
    }
}

/// A value that must be a map.
pub(super) fn object(value: &Value) -> std::result::Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("found {value}, needed a map"))
}

/// That a map has no key but these. What is not known here may change what the policy does.
pub(super) fn keys_of(map: &Map<String, Value>, known: &[&str]) -> std::result::Result<(), String> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!("the key {key:?} is not known here, and may change what the policy does")),
    }
}

/// Types of features that LeRobot has.
const KINDS: [&str; 6] = ["STATE", "VISUAL", "ENV", "ACTION", "REWARD", "LANGUAGE"];

/// Features with one axis.
pub(super) fn features(map: &Map<String, Value>) -> std::result::Result<Vec<Feature>, String> {
    let feature = |(key, value): (&String, &Value)| {
        let value = object(value).map_err(|e| format!("{key:?}: {e}"))?;
        keys_of(value, &["type", "shape"]).map_err(|e| format!("{key:?}: {e}"))?;
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_string();
        if !KINDS.contains(&kind.as_str()) {
            return Err(format!("{key:?}: found type {kind:?}, needed one of {}", KINDS.join(", ")));
        }
        let shape = value.get("shape").unwrap_or(&Value::Null);
        let axes: Vec<Option<u64>> =
            shape.as_array().map(|a| a.iter().map(Value::as_u64).collect()).unwrap_or_default();
        let dim = match axes.as_slice() {
            [Some(dim)] if (1..=MOST as u64).contains(dim) => *dim as usize,
            // Only images have several axes, and they are refused by name.
            _ if kind == "VISUAL" => 0,
            _ => return Err(format!("{key:?}: found shape {shape}, needed one length of at most {MOST}")),
        };
        Ok(Feature { key: key.clone(), kind, dim })
    };
    map.iter().map(feature).collect()
}

/// A normalisation mode by LeRobot's name; a type that is not mentioned is left as it is.
pub(super) fn mode(mapping: &Map<String, Value>, kind: &str) -> std::result::Result<Mode, String> {
    if !KINDS.contains(&kind) {
        return Err(format!("unknown type {kind:?}: needed one of {}", KINDS.join(", ")));
    }
    match mapping.get(kind).map(|v| v.as_str().unwrap_or_default()) {
        None | Some("IDENTITY") => Ok(Mode::Identity),
        Some("MEAN_STD") => Ok(Mode::MeanStd),
        Some("MIN_MAX") => Ok(Mode::Range(NormKind::MinMax, ["min", "max"])),
        Some("QUANTILES") => Ok(Mode::Range(NormKind::Quantile, ["q01", "q99"])),
        Some("QUANTILE10") => Ok(Mode::Range(NormKind::Quantile, ["q10", "q90"])),
        Some(other) => Err(format!("unknown mode {other:?} of {kind}")),
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

/// The key of an input in a request, by what LeRobot's clients call it.
pub(super) fn input(column: &str, dim: usize) -> ObsInput {
    ObsInput { name: ObsInput::key(column, false), dim }
}
