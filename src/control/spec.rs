//! The settings of a controller: what a TOML file may hold.

use super::safety::SafetySpec;
use super::{ControlError, Result};
use crate::policy::PolicySpec;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How one chunk follows another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// Receding horizon: a new chunk takes over as soon as it is there (Chi et al. 2023).
    Receding,
    /// Temporal ensembling: the mean of all chunks that have an action for now, in physical units, with weights
    /// exp(-decay i), i = 0 for the oldest (ACT, Zhao et al. 2023: decay 0.01, a chunk for every step).
    Ensemble {
        /// The exponent m; ACT's if nothing is said.
        #[serde(default = "act_decay")]
        decay: f64,
    },
    /// Real-time chunking (Black et al. 2025): as receding, and the source hears what is left of the running chunk, so
    /// that the new one continues it.
    RealTime,
}

/// What a robot is sent where there is no action for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Hold {
    /// Always this action, for example zeros where actions are velocities.
    Fixed {
        /// The action, `[action_dim]`.
        action: Vec<f32>,
    },
    /// The action sent last; before the first one, where the robot is: these values of its observation.
    Last {
        /// The observation's dimension for each action dimension.
        from: Vec<usize>,
    },
}

impl Hold {
    /// The same position, for a policy all of whose actions are relative to observed positions; none for others, which
    /// must say what holding means.
    pub fn of(policy: &PolicySpec) -> Option<Hold> {
        let relative = policy.relative_to.as_ref()?;
        Some(Hold::Last { from: relative.0.iter().copied().collect::<Option<_>>()? })
    }
}

/// The settings of a [`Controller`](super::Controller) or an [`Actor`](super::Actor).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSpec {
    /// How one chunk follows another.
    pub mode: Mode,
    /// Actions from one observation handed to the policy to the next (Ta). A new chunk is asked for earlier if the
    /// running one would end before it is there.
    pub execute: usize,
    /// What holding means.
    pub hold: Hold,
    /// Seed of the noise. Robot and request number are mixed in, so that a robot's noise does not depend on the others.
    #[serde(default)]
    pub seed: u64,
    /// The delay expected of the first chunks, in actions; of a policy that continues a prefix no more than it was trained for. After
    /// that the largest of the last [`ControlSpec::delays`] real ones counts.
    #[serde(default)]
    pub delay: usize,
    /// How many real delays are remembered.
    #[serde(default = "ten")]
    pub delays: usize,
    /// How long [`Actor::act`](super::Actor::act) may wait for a chunk, milliseconds; 0: not at all.
    #[serde(default)]
    pub deadline_ms: f64,
    /// The oldest observation whose chunk is still followed, seconds by the caller's clock; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<f64>,
    /// The limits of what leaves; none: no gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<SafetySpec>,
}

fn act_decay() -> f64 {
    0.01
}

fn ten() -> usize {
    10
}

impl ControlSpec {
    /// These settings and no delay expected, no waiting, no gate.
    pub fn new(mode: Mode, execute: usize, hold: Hold) -> ControlSpec {
        ControlSpec {
            mode,
            execute,
            hold,
            seed: 0,
            delay: 0,
            delays: ten(),
            deadline_ms: 0.0,
            max_age_s: None,
            safety: None,
        }
    }

    /// ACT's temporal ensembling: a chunk for every step, m = 0.01.
    pub fn ensemble(hold: Hold) -> ControlSpec {
        ControlSpec::new(Mode::Ensemble { decay: act_decay() }, 1, hold)
    }

    /// Checks the settings, and that they fit a policy.
    pub fn check(&self, policy: &PolicySpec) -> Result<()> {
        let setting =
            |what, found: String, needed: String| Err(ControlError::Setting { what, found, needed });
        // Actions from the observation's own step on.
        let reach = reach(policy);
        if reach < 1 {
            let found = format!("{} actions, the first {} steps on", policy.horizon, offset(policy));
            return setting(
                "the policy's chunk",
                found,
                "an action for the observation's step or later".into(),
            );
        }
        if self.execute == 0 || self.execute as i64 > reach {
            return setting("execute", self.execute.to_string(), format!("1 to {reach}"));
        }
        if self.delay as i64 >= reach {
            return setting("delay", self.delay.to_string(), format!("below {reach}"));
        }
        if self.delays == 0 || self.delays > 10_000 {
            return setting("delays", self.delays.to_string(), "1 to 10000".into());
        }
        if !(0.0..=60_000.0).contains(&self.deadline_ms) {
            return setting("deadline_ms", self.deadline_ms.to_string(), "0 to 60000".into());
        }
        if let Some(age) = self.max_age_s
            && !(age > 0.0 && age.is_finite())
        {
            return setting("max_age_s", age.to_string(), "a positive number of seconds".into());
        }
        if let Mode::Ensemble { decay } = self.mode
            && !(-10.0..=10.0).contains(&decay)
        {
            return setting("the ensemble's decay", decay.to_string(), "-10 to 10".into());
        }
        self.check_angles(policy)?;
        match &self.hold {
            Hold::Fixed { action } => {
                super::error::expect("the holding action", action.len(), policy.action_dim)?;
                if let Some(bad) = action.iter().find(|v| !v.is_finite()) {
                    return setting("the holding action", bad.to_string(), "finite values".into());
                }
            }
            Hold::Last { from } => {
                super::error::expect("hold.from", from.len(), policy.action_dim)?;
                if let Some(bad) = from.iter().find(|d| **d >= policy.obs_dim) {
                    let needed = format!("observation dimensions below {}", policy.obs_dim);
                    return setting("hold.from", bad.to_string(), needed);
                }
            }
        }
        match &self.safety {
            Some(safety) => safety.check(policy.action_dim),
            None => Ok(()),
        }
    }

    /// Angles that jump by a turn where they are cut are no quantities that can be averaged.
    fn check_angles(&self, policy: &PolicySpec) -> Result<()> {
        let cut = policy.angles.iter().flat_map(|a| &a.action).find(|a| a.centre.is_some());
        match (self.mode, cut) {
            (Mode::Ensemble { .. }, Some(angle)) => {
                let found = format!("ensemble, and action {} an angle", angle.dim);
                let needed = "receding or real_time: the mean of both ends of a turn is the opposite angle";
                Err(ControlError::Setting { what: "mode", found, needed: needed.into() })
            }
            _ => Ok(()),
        }
    }

    /// How long an act may wait.
    pub fn deadline(&self) -> Duration {
        Duration::try_from_secs_f64(self.deadline_ms * 1e-3).unwrap_or_default()
    }
}

/// Steps from an observation to its chunk's first action.
pub(super) fn offset(policy: &PolicySpec) -> i64 {
    policy.action_offset as i64
}

/// Steps from an observation to the end of its chunk.
pub(super) fn reach(policy: &PolicySpec) -> i64 {
    policy.horizon as i64 + offset(policy)
}
