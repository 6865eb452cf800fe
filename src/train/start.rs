//! What a run starts from beside its configuration: nothing, a policy, or a run that was stopped.

use super::config::{AnglesSpec, DimRef, RunConfig};
use super::resume::{self, Stopped};
use super::{Result, TrainError};
use crate::data::{Episodes, Split, split_apart};
use crate::graph::Fusion;
use crate::nn::ParamStore;
use crate::policy::{Angles, Normalizer, Policy, PolicySpec};
use std::collections::HashSet;
use std::path::Path;

/// What a run starts from. The default is a run from nothing: fresh weights, fitted normalisers.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// How a step is scheduled on the device.
    pub fusion: Fusion,
    /// Weights that it starts from.
    pub(super) policy: Option<Policy>,
    /// Normalisers of observations and actions that are kept; none: fitted to the demonstrations.
    pub(super) normalizers: Option<(Normalizer, Normalizer)>,
    /// Angles of the run that it goes on from.
    pub(super) angles: Option<Angles>,
    /// Episodes that are held out; none: chosen by the configuration's fraction and seed.
    pub(super) held_out: Option<Vec<usize>>,
}

impl Start {
    /// From a policy's weights (their moving average). Its normalisers are kept with `keep`, else fitted anew to the demonstrations: the
    /// weights then see their inputs shifted and scaled, and have to learn that.
    pub fn from_policy(policy: Policy, keep: bool) -> Start {
        let spec = &policy.spec;
        let normalizers = keep.then(|| (spec.obs_normalizer.clone(), spec.action_normalizer.clone()));
        Start { policy: Some(policy), normalizers, ..Start::default() }
    }

    /// As the run that was stopped: its normalisers, and its held-out episodes, which stay held out where there are more
    /// demonstrations now. Of those that are new the same fraction is held out.
    ///
    /// # Errors
    /// [`TrainError::Resume`] if demonstrations of the stopped run are missing.
    pub fn from_stopped(stopped: &Stopped, data: &str, config: &RunConfig) -> Result<Start> {
        let more = stopped.more_data(data)?;
        let Some(spec) = stopped.spec() else {
            // A state of an earlier version: without new data, all is as it was.
            return match more {
                None => Ok(Start::default()),
                Some(_) => Err(stopped.other_data()),
            };
        };
        let held_out = match &more {
            None => spec.provenance.validation_episodes.clone(),
            Some(more) => {
                let held: HashSet<u64> = spec
                    .provenance
                    .validation_episodes
                    .iter()
                    .filter_map(|&e| more.before.get(e).copied())
                    .collect();
                let before: HashSet<u64> = more.before.iter().copied().collect();
                let new: Vec<usize> =
                    (0..more.now.len()).filter(|&e| !before.contains(&more.now[e])).collect();
                let split = match new.is_empty() {
                    true => Vec::new(),
                    false => {
                        // Copies among the new ones stay on one side, as everywhere.
                        let first = |e: &usize| new.iter().position(|n| more.now[*n] == more.now[*e]);
                        let firsts: Vec<usize> =
                            new.iter().enumerate().map(|(i, e)| first(e).unwrap_or(i)).collect();
                        split_apart(&firsts, config.validation_fraction, config.split_seed)?.validation
                    }
                };
                let of_new = split.into_iter().map(|i| new[i]);
                let mut all: Vec<usize> =
                    (0..more.now.len()).filter(|&e| held.contains(&more.now[e])).chain(of_new).collect();
                all.sort_unstable();
                all
            }
        };
        Ok(Start {
            normalizers: Some((spec.obs_normalizer.clone(), spec.action_normalizer.clone())),
            angles: spec.angles.clone(),
            held_out: Some(held_out),
            ..Start::default()
        })
    }

    /// Which episodes are held out.
    pub(super) fn split(&self, episodes: &Episodes, config: &RunConfig) -> Result<Split> {
        match &self.held_out {
            None => Ok(split_apart(&episodes.firsts(), config.validation_fraction, config.split_seed)?),
            Some(held) => {
                let train = (0..episodes.count()).filter(|e| !held.contains(e)).collect();
                Ok(Split { train, validation: held.clone() })
            }
        }
    }

    /// Which turn the values of angles are of, as in the run or the policy that it goes on from, or in the teacher of its pairs.
    pub(super) fn angles(&self, found: Option<Angles>, teacher: Option<&Policy>) -> Option<Angles> {
        let policy = self.policy.as_ref().or(teacher);
        let before = self.angles.as_ref().or(policy.and_then(|policy| policy.spec.angles.as_ref()));
        let (Some(mut angles), Some(before)) = (found.clone(), before) else { return found };
        for angle in &mut angles.action {
            if let Some(same) = before.action.iter().find(|a| a.dim == angle.dim) {
                angle.centre = same.centre;
            }
        }
        Some(angles)
    }

    /// Checks that the policy to start from, where there is one, means what the run's does.
    pub(super) fn fits(&self, spec: &PolicySpec) -> Result<()> {
        let Some(policy) = &self.policy else { return Ok(()) };
        // What may differ: where demonstrations come from, how they are scaled, and the path that is trained on.
        let kept = |s: &PolicySpec| PolicySpec {
            obs_normalizer: spec.obs_normalizer.clone(),
            action_normalizer: spec.action_normalizer.clone(),
            obs_names: None,
            action_names: None,
            rate_hz: None,
            path: spec.path,
            provenance: spec.provenance.clone(),
            ..s.clone()
        };
        if let Some(found) =
            resume::changed(&kept(&policy.spec), &kept(spec), ("in the policy", "in this run"))
        {
            return Err(TrainError::Setting {
                what: "the policy to start from",
                found,
                needed: "a policy of the same network, shapes and objective",
            });
        }
        Ok(())
    }

    /// The initial weights, where there is a policy that [`fits`](Start::fits) to take them from.
    pub(super) fn weights(&self, layout: &mut ParamStore) {
        if let Some(policy) = &self.policy {
            layout.values.copy_from_slice(&policy.ema.values);
        }
    }
}

impl RunConfig {
    /// The configuration of a run that goes on from a policy: what the policy fixes is as the policy has it, the rest as usual.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if such policies cannot be trained here.
    pub fn of_policy(spec: &PolicySpec) -> Result<RunConfig> {
        let action_offset = usize::try_from(spec.action_offset).map_err(|_| TrainError::Setting {
            what: "action_offset of the policy to start from",
            found: spec.action_offset.to_string(),
            needed: "at least 0: chunks that begin in the past, as LeRobot's do, are sampled but not trained",
        })?;
        let relative = spec.relative_to.as_ref().map_or(&[][..], |r| &r.0);
        let dim = |d: &Option<usize>| d.map_or(DimRef::Name("none".into()), DimRef::Index);
        Ok(RunConfig {
            objective: spec.objective.clone(),
            network: spec.network.clone(),
            encoder: spec.encoder.clone(),
            path: spec.path,
            prefix: spec.prefix,
            history: spec.history,
            horizon: spec.horizon,
            action_offset,
            obs_normalizer: spec.obs_normalizer.kind,
            action_normalizer: spec.action_normalizer.kind,
            action_scope: spec.action_normalizer.scope,
            relative_to: relative.iter().map(dim).collect(),
            angles: spec.angles.as_ref().map(|a| AnglesSpec {
                obs: a.obs.iter().copied().map(DimRef::Index).collect(),
                action: a.action.iter().map(|a| DimRef::Index(a.dim)).collect(),
                unit: a.unit,
            }),
            ..RunConfig::default()
        })
    }

    /// Reads a TOML file; keys that it lacks are as in `base`.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the file.
    pub fn load_over(path: &Path, base: &RunConfig) -> Result<RunConfig> {
        let bad = |reason: String| TrainError::Config {
            path: path.into(),
            reason: reason.trim_end().replace('\n', " "),
        };
        // Told with its line, where it is wrong by itself.
        RunConfig::load(path)?;
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        let own: toml::Table = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        let mut all = toml::Table::try_from(base).map_err(|e| bad(e.to_string()))?;
        all.extend(own);
        all.try_into().map_err(|e: toml::de::Error| bad(e.to_string()))
    }
}
