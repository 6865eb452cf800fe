//! The configuration of a run: what `run.toml` holds. Every key has a default; unknown keys are errors.

use super::reflow::ReflowSpec;
use super::{Result, TrainError};
use crate::data::budget::read_text;
use crate::data::inspect::Purpose;
use crate::data::{DataSpec, Episodes, Padding, WindowSpec};
use crate::flow::{Coupling, Path, TimeLaw};
use crate::nn::{EncoderSpec, NetworkSpec};
use crate::policy::{AngleUnit, Angles, NormKind, Objective, PrefixSpec, RelativeTo, Scope};
use serde::{Deserialize, Serialize};

/// Largest configuration that is read, bytes.
const MOST_CONFIG: u64 = 1 << 20;

/// A dimension of the observation by number or by name; `"none"`: the action dimension is absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DimRef {
    /// By number, from 0.
    Index(usize),
    /// By name, as `obs_names` has it.
    Name(String),
}

impl DimRef {
    /// Its number among values of these names.
    fn dim(&self, what: &'static str, needed: &'static str, names: &[String]) -> Result<usize> {
        let name = match self {
            DimRef::Index(dim) => return Ok(*dim),
            DimRef::Name(name) => name,
        };
        let places: Vec<usize> = (0..names.len()).filter(|i| names[*i] == *name).collect();
        match places[..] {
            [one] => Ok(one),
            [] => Err(TrainError::Setting { what, found: format!("the name {name:?}"), needed }),
            _ => {
                let found = format!("the name {name:?}, which the values {places:?} of the data have");
                let needed = "a number, or a name that only one value has";
                Err(TrainError::Setting { what, found, needed })
            }
        }
    }
}

impl std::fmt::Display for DimRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DimRef::Index(dim) => dim.fmt(f),
            DimRef::Name(name) => name.fmt(f),
        }
    }
}

/// Columns that are angles: values that differ by whole turns are the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnglesSpec {
    /// Of the observation, by number or by name: the network sees their sine and cosine.
    pub obs: Vec<DimRef>,
    /// Of the action: each relative to an observation's angle (`relative_to`), by the shorter way round.
    pub action: Vec<DimRef>,
    /// Their unit.
    pub unit: AngleUnit,
}

/// The learning rate's schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleSpec {
    /// Constant after the warm-up.
    Constant,
    /// Cosine to zero at the last step.
    Cosine,
}

/// The moving average of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EmaSpec {
    /// A constant decay.
    Constant {
        /// The decay.
        decay: f32,
    },
    /// 1 - (1 + n)^-power, at most `max` (diffusion policy's).
    Power {
        /// The power.
        power: f32,
        /// The largest decay.
        max: f32,
    },
}

/// AdamW and what surrounds it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSpec {
    /// Learning rate after the warm-up.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest gradient norm; 0: no clipping.
    pub clip: f32,
    /// Steps of linear warm-up.
    pub warmup: u32,
    /// What follows it.
    pub schedule: ScheduleSpec,
    /// The moving average.
    pub ema: EmaSpec,
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        OptimizerSpec {
            lr: 1e-3,
            beta1: 0.95,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-6,
            clip: 1.0,
            warmup: 500,
            schedule: ScheduleSpec::Cosine,
            ema: EmaSpec::Constant { decay: 0.999 },
        }
    }
}

/// Everything that names a run, apart from the data file and the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// What is learnt.
    pub objective: Objective,
    /// Optimiser steps.
    pub steps: u64,
    /// Windows per step.
    pub batch_size: usize,
    /// Seed of initial weights, batches, times and noise.
    pub seed: u64,
    /// Seed of the validation split.
    pub split_seed: u64,
    /// Part of the episodes that is held out.
    pub validation_fraction: f64,
    /// Steps between lines of metrics.
    pub log_every: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Observation steps in a window.
    pub history: usize,
    /// Action steps in a window.
    pub horizon: usize,
    /// Steps from the newest observation to the first action.
    pub action_offset: usize,
    /// Steps past an episode's end that a window may repeat its last action for.
    pub pad_after: usize,
    /// Whether those repeated actions count in the loss and in the normaliser of the actions.
    pub padding: Padding,
    /// How long a prefix of decided actions the policy learns to continue (training-time real-time chunking); absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PrefixSpec>,
    /// Normaliser of the observations.
    pub obs_normalizer: NormKind,
    /// How far beyond the demonstrations the network sees: an observation's normalised value is limited to this times the
    /// largest of its column in the training episodes. At least 1, or 0: no limit.
    pub obs_clip: f32,
    /// Normaliser of the actions.
    pub action_normalizer: NormKind,
    /// Whether its statistics are per dimension or per step and dimension.
    pub action_scope: Scope,
    /// For each action dimension, the observation dimension that it is relative to; empty: absolute actions.
    pub relative_to: Vec<DimRef>,
    /// Columns that are angles; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub angles: Option<AnglesSpec>,
    /// Which noise goes with which chunk.
    pub coupling: Coupling,
    /// The path.
    pub path: Path,
    /// The law of the training times.
    pub time_law: TimeLaw,
    /// A trained flow to straighten: the run trains on its pairs of noise and sample in place of the demonstrated actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reflow: Option<ReflowSpec>,
    /// The optimiser.
    pub optimizer: OptimizerSpec,
    /// The encoder.
    pub encoder: EncoderSpec,
    /// The network.
    pub network: NetworkSpec,
    /// How the data file is read.
    pub data: DataSpec,
}

impl Default for RunConfig {
    fn default() -> Self {
        RunConfig {
            objective: Objective::default(),
            steps: 20_000,
            batch_size: 256,
            seed: 0,
            split_seed: 0,
            validation_fraction: 0.1,
            log_every: 100,
            validate_every: 1000,
            save_every: 2000,
            history: 2,
            horizon: 16,
            action_offset: 0,
            pad_after: 7,
            padding: Padding::Repeat,
            prefix: None,
            obs_normalizer: NormKind::MinMax,
            obs_clip: 1.5,
            action_normalizer: NormKind::MeanStd,
            action_scope: Scope::PerStep,
            relative_to: Vec::new(),
            angles: None,
            coupling: Coupling::default(),
            path: Path::default(),
            time_law: TimeLaw::default(),
            reflow: None,
            optimizer: OptimizerSpec::default(),
            encoder: EncoderSpec::Identity,
            network: NetworkSpec::push_t(),
            data: DataSpec::default(),
        }
    }
}

impl RunConfig {
    /// The settings of the reference Push-T policy: actions relative to the agent.
    pub fn push_t() -> RunConfig {
        RunConfig { relative_to: vec![DimRef::Index(0), DimRef::Index(1)], ..RunConfig::default() }
    }

    /// The same run in `steps` steps. A schedule made for 20,000 would not get under way in a few hundred, so the warm-up
    /// is at most a tenth of the steps, and so is the span of a constant moving average.
    pub fn in_steps(mut self, steps: u64) -> RunConfig {
        self.steps = steps;
        self.optimizer.warmup = self.optimizer.warmup.min(u32::try_from(steps / 10).unwrap_or(u32::MAX));
        if let EmaSpec::Constant { decay } = &mut self.optimizer.ema {
            *decay = decay.min(1.0 - 10.0 / steps.max(20) as f32);
        }
        self
    }

    /// Reads a TOML file.
    pub fn load(path: &std::path::Path) -> Result<RunConfig> {
        let bad = |reason: String| TrainError::Config { path: path.into(), reason };
        let text = read_text(path, "a configuration", MOST_CONFIG).map_err(|e| bad(e.to_string()))?;
        toml::from_str(&text).map_err(|e| bad(e.to_string().trim_end().replace('\n', " ")))
    }

    /// Checks what does not depend on the data.
    pub fn check(&self) -> Result<()> {
        let method = self.objective.method();
        method.check().map_err(crate::policy::PolicyError::from)?;
        if !self.batch_size.is_multiple_of(method.batch_multiple()) {
            return Err(TrainError::Batch {
                objective: self.objective.name(),
                found: self.batch_size,
                of: method.batch_multiple(),
            });
        }
        if let Some(reflow) = &self.reflow {
            reflow.solver()?;
            if !self.objective.has_flow() || self.prefix.is_some() {
                return Err(TrainError::Setting {
                    what: "reflow",
                    found: format!(
                        "the objective {} (prefix: {})",
                        self.objective.name(),
                        self.prefix.is_some()
                    ),
                    needed: "flow_matching without a prefix",
                });
            }
        }
        if let Objective::Denoising(denoising) = &self.objective
            && denoising.clip.is_some()
            && self.action_normalizer != NormKind::MinMax
        {
            return Err(TrainError::Setting {
                what: "action_normalizer",
                found: format!("{:?} for denoising with a clip", self.action_normalizer),
                needed: "min_max, whose actions lie within the clip, or a clip of null",
            });
        }
        if i32::try_from(self.action_offset).is_err() {
            let found = self.action_offset.to_string();
            return Err(TrainError::Setting {
                what: "action_offset",
                found,
                needed: "at most 2,147,483,647",
            });
        }
        let at_least_one: [(&'static str, u64); 8] = [
            ("steps", self.steps),
            ("batch_size", self.batch_size as u64),
            ("log_every", self.log_every),
            ("validate_every", self.validate_every),
            ("save_every", self.save_every),
            ("history", self.history as u64),
            ("horizon", self.horizon as u64),
            ("the network's width", self.width() as u64),
        ];
        for (what, n) in at_least_one {
            if n == 0 {
                return Err(TrainError::Setting { what, found: "0".into(), needed: "at least 1" });
            }
        }
        if self.steps > u64::from(u32::MAX) || self.batch_size > 1 << 24 {
            let found = format!("{} steps of {}", self.steps, self.batch_size);
            return Err(TrainError::Setting {
                what: "steps or batch_size",
                found,
                needed: "at most 4e9 steps of 16,777,216 windows",
            });
        }
        super::range::check(self)?;
        self.network.check().map_err(crate::policy::PolicyError::from)?;
        self.encoder.check().map_err(crate::policy::PolicyError::from)?;
        self.path.check()?;
        self.check_coupling()?;
        self.time_law.kernel()?;
        Ok(())
    }

    fn check_coupling(&self) -> Result<()> {
        self.coupling.check()?;
        let bad = |what, found, needed| Err(TrainError::Setting { what, found, needed });
        if self.coupling != Coupling::Independent && !self.objective.method().couples() {
            let found = format!("{:?} with objective {}", self.coupling, self.objective.name());
            return bad("coupling", found, "independent: this objective pairs no noise with chunks");
        }
        if self.coupling != Coupling::Independent && self.reflow.is_some() {
            return bad(
                "coupling",
                format!("{:?}", self.coupling),
                "independent: reflow brings pairs of its own",
            );
        }
        let most = self.coupling.largest_batch();
        if self.batch_size > most {
            let found = format!("{}, where this coupling takes at most {most}", self.batch_size);
            return bad("batch_size", found, "a smaller batch, or another coupling");
        }
        Ok(())
    }

    fn width(&self) -> usize {
        match &self.network {
            NetworkSpec::Mlp(m) => m.hidden.iter().copied().min().unwrap_or(1),
            NetworkSpec::Residual(r) => r.width,
            NetworkSpec::Transformer(t) => t.width,
            NetworkSpec::Unet1d(u) => u.down_dims.iter().copied().min().unwrap_or(0),
        }
    }

    /// The windows.
    pub fn windows(&self) -> WindowSpec {
        WindowSpec {
            history: self.history,
            horizon: self.horizon,
            action_offset: self.action_offset,
            pad_after: self.pad_after,
        }
    }

    /// What the data are meant for, for the warnings of [`DataSets`](crate::data::DataSets).
    pub fn purpose(&self) -> Purpose {
        let angles = self.angles.clone().unwrap_or_default();
        let angles = [angles.obs, angles.action].map(|dims| dims.iter().map(DimRef::to_string).collect());
        Purpose { windows: self.windows(), padding: self.padding, angles }
    }

    /// Columns of actions that are not normalised, after a look at the demonstrations' actions.
    pub(super) fn raw_columns(&self, episodes: &Episodes) -> Result<Vec<usize>> {
        let method = self.objective.method();
        let wrong = crate::policy::PolicyError::from;
        let raw = method.raw_columns(episodes.action_dim()).map_err(wrong)?;
        if !raw.is_empty() {
            for (row, action) in episodes.action().chunks_exact(episodes.action_dim()).enumerate() {
                method.check_action(action).map_err(|e| TrainError::Action { row, why: e.to_string() })?;
            }
        }
        Ok(raw)
    }

    /// `angles` by number, after a look at the demonstrations.
    pub fn angles(&self, episodes: &Episodes) -> Result<Option<Angles>> {
        let Some(angles) = &self.angles else { return Ok(None) };
        let of = |what, dims: &[DimRef], names: Option<&[String]>| -> Result<Vec<usize>> {
            let needed = "a number, or a name that a value of the array has";
            dims.iter().map(|d| d.dim(what, needed, names.unwrap_or_default())).collect()
        };
        let obs = of("angles.obs", &angles.obs, episodes.obs_names())?;
        let action = of("angles.action", &angles.action, episodes.action_names())?;
        for (what, dims, dim) in
            [("angles.obs", &obs, episodes.obs_dim()), ("angles.action", &action, episodes.action_dim())]
        {
            if let Some(beyond) = dims.iter().find(|d| **d >= dim) {
                let found = format!("dimension {beyond} of {dim}");
                return Err(TrainError::Setting { what, found, needed: "one that there is, counted from 0" });
            }
        }
        match obs.is_empty() && action.is_empty() {
            true => Ok(None),
            false => Ok(Some(Angles::of(angles.unit, obs, action, episodes))),
        }
    }

    /// `relative_to` by number.
    pub fn relative(&self, episodes: &Episodes) -> Result<Option<RelativeTo>> {
        if self.relative_to.is_empty() {
            return Ok(None);
        }
        let names = episodes.obs_names().unwrap_or_default();
        let mut dims = Vec::new();
        for d in &self.relative_to {
            dims.push(match d {
                DimRef::Name(n) if n == "none" => {
                    if names.contains(n) {
                        return Err(TrainError::Setting {
                            what: "relative_to",
                            found: format!("the name {n:?}"),
                            needed: "a number: an observation's value is called \"none\" too",
                        });
                    }
                    None
                }
                d => Some(d.dim(
                    "relative_to",
                    "a number, \"none\" or one of the observation's names (data.obs_names)",
                    names,
                )?),
            });
        }
        let relative = RelativeTo(dims);
        relative.check(episodes.obs_dim(), episodes.action_dim())?;
        Ok(Some(relative))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_two_values_have_is_refused() {
        let names = |names: [&str; 3]| {
            let names = Some(names.map(String::from).to_vec());
            let arrays = crate::data::EpisodeArrays {
                obs: vec![0.5; 6],
                action: vec![0.0; 2],
                lengths: vec![2],
                obs_dim: 3,
                action_dim: 1,
                obs_names: names,
                ..Default::default()
            };
            Episodes::from_arrays(arrays).unwrap()
        };
        let to =
            |name: &str| RunConfig { relative_to: vec![DimRef::Name(name.into())], ..RunConfig::default() };
        let episodes = names(["x", "y", "x"]);
        assert_eq!(to("y").relative(&episodes).unwrap(), Some(RelativeTo(vec![Some(1)])));
        assert_eq!(to("none").relative(&episodes).unwrap(), Some(RelativeTo(vec![None])));
        let said = to("x").relative(&episodes).unwrap_err().to_string();
        assert!(said.contains("the name \"x\", which the values [0, 2] of the data have"), "{said}");
        assert!(to("none").relative(&names(["none", "y", "z"])).is_err());
        assert!(to("w").relative(&episodes).is_err());
    }

    #[test]
    fn short_runs_have_short_schedules() {
        let config = RunConfig::push_t().in_steps(100);
        assert_eq!((config.steps, config.optimizer.warmup), (100, 10));
        assert_eq!(config.optimizer.ema, EmaSpec::Constant { decay: 0.9 });
        assert_eq!(RunConfig::push_t().in_steps(20_000), RunConfig::push_t());
        assert!(RunConfig::push_t().in_steps(1).check().is_ok());
    }
}
