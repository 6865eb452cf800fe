//! Rectified flow (Liu 2023): retraining on the pairs (noise, sample) of a trained flow, whose straight paths do not cross, so that
//! few solver steps follow them. The run starts from the trained weights.

use super::{Result, TrainError};
use crate::data::Windows;
use crate::device::Device;
use crate::flow::Solver;
use crate::policy::pairs::Pairs;
use crate::policy::{Policy, PolicySpec};
use serde::{Deserialize, Serialize};
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

    /// The trained policy, which must mean the same as the run's.
    pub(super) fn teacher(&self, spec: &PolicySpec) -> Result<Policy> {
        let teacher = Policy::load(&self.policy)?;
        let same = PolicySpec { provenance: spec.provenance.clone(), ..teacher.spec.clone() };
        match same == *spec {
            true => Ok(teacher),
            false => Err(TrainError::Setting {
                what: "reflow.policy",
                found: format!("{} with another network, shapes or normalisers", self.policy.display()),
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
