//! Rectified flow (Liu 2023): retraining on the pairs (noise, sample) of a trained flow, whose straight paths do not cross, so that
//! few solver steps follow them. The run starts from the trained weights.

use super::{Result, TrainError, resume};
use crate::data::Windows;
use crate::device::Device;
use crate::flow::Solver;
use crate::policy::pairs::Pairs;
use crate::policy::{Policy, PolicySpec};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;

/// What to retrain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReflowSpec {
    /// The checkpoint whose flow makes the pairs: same data, network and settings.
    pub policy: PathBuf,
    /// How its flow is integrated, as `euler:50`.
    pub solver: String,
}

/// Seed offset of the pairs' noise, so that the held-out windows have other noise than the training's.
const HELD_OUT: u64 = 0x5245_464c;

impl ReflowSpec {
    /// The solver.
    pub(super) fn solver(&self) -> Result<Solver> {
        Ok(self.solver.parse()?)
    }

    /// The trained policy.
    pub(super) fn load(&self) -> Result<Policy> {
        Ok(Policy::load(&self.policy)?)
    }

    /// Checks that the trained policy means the same as the run's. Its normalisers are taken over as they are, also such as an
    /// earlier version fitted; but they must be of the kinds that the run asks for.
    pub(super) fn fits(&self, teacher: &Policy, spec: &PolicySpec) -> Result<()> {
        let kinds = |s: &PolicySpec| {
            let (obs, action) = (&s.obs_normalizer, &s.action_normalizer);
            HashMap::from([
                ("obs_normalizer", serde_json::json!(obs.kind)),
                ("action_normalizer", serde_json::json!(action.kind)),
                ("action_scope", serde_json::json!(action.scope)),
            ])
        };
        let kept = PolicySpec {
            obs_normalizer: spec.obs_normalizer.clone(),
            action_normalizer: spec.action_normalizer.clone(),
            provenance: spec.provenance.clone(),
            ..teacher.spec.clone()
        };
        let said = ("in the teacher", "in this run");
        let other = resume::changed(&kept, spec, said);
        match resume::changed(&kinds(&teacher.spec), &kinds(spec), said).or(other) {
            None => Ok(()),
            Some(change) => Err(TrainError::Setting {
                what: "reflow.policy",
                found: format!("{} with other settings ({change})", self.policy.display()),
                needed: "a flow_matching policy trained on the same data with the same settings",
            }),
        }
    }

    /// One pair for every window.
    pub(super) fn pairs(
        &self,
        device: &Device,
        teacher: &Policy,
        windows: &Windows<'_>,
        (seed, held_out): (u64, bool),
    ) -> Result<Pairs> {
        let request = teacher.spec.request();
        let mut obs = vec![0.0; windows.count() * request];
        for (window, obs) in obs.chunks_exact_mut(request).enumerate() {
            windows.gather_obs(window, obs)?;
        }
        let seed = if held_out { seed ^ HELD_OUT } else { seed };
        Ok(teacher.pairs(device, &obs, self.solver()?, seed)?)
    }
}
