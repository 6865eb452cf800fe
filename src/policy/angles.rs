//! Columns that are angles: whatever number of turns a value has more or less, it is the same place.
//!
//! An observation's angle is seen by the network as its sine and cosine. An action's angle is relative to an observation's: what is
//! learnt is how far to turn from where the joint is, without a jump where the number goes from one end to the other.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::{PolicyError, PolicySpec, RelativeTo, Result};
use crate::data::Episodes;
use crate::graph::{Graph, Value};
use crate::kernel::math::Activation;

/// Unit of angles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AngleUnit {
    /// A turn is 2 pi.
    #[default]
    Radians,
    /// A turn is 360.
    Degrees,
}

impl AngleUnit {
    /// One turn.
    pub fn turn(self) -> f64 {
        match self {
            AngleUnit::Radians => TAU,
            AngleUnit::Degrees => 360.0,
        }
    }
}

/// An action's column that is an angle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionAngle {
    /// Its dimension.
    pub dim: usize,
    /// The middle of the turn that its values lie in, as those of the demonstrations did: 0 for -pi to pi, pi for 0 to 2 pi; null: they
    /// count turns, and follow the observation's.
    pub centre: Option<f32>,
}

/// Which columns of a policy are angles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Angles {
    /// Their unit.
    pub unit: AngleUnit,
    /// Dimensions of the observation, ascending.
    pub obs: Vec<usize>,
    /// Dimensions of the action, ascending.
    pub action: Vec<ActionAngle>,
}

/// An angle less whole turns, in (centre - turn / 2, centre + turn / 2].
pub(crate) fn wrapped(x: f64, centre: f64, turn: f64) -> f64 {
    x - turn * ((x - centre) / turn - 0.5).ceil()
}

impl Angles {
    /// Angles of these dimensions; which turn the actions' values are of is taken from the demonstrations.
    pub fn of(unit: AngleUnit, mut obs: Vec<usize>, mut action: Vec<usize>, episodes: &Episodes) -> Angles {
        obs.sort_unstable();
        action.sort_unstable();
        let (dims, turn) = (episodes.action_dim(), unit.turn());
        let centre = |dim: usize| {
            let column = || episodes.action().iter().skip(dim).step_by(dims).map(|&x| f64::from(x));
            let (low, high) = (column().fold(f64::MAX, f64::min), column().fold(f64::MIN, f64::max));
            match () {
                () if low >= -0.52 * turn && high <= 0.52 * turn => Some(0.0),
                () if low >= -0.02 * turn && high <= 1.02 * turn => Some((turn / 2.0) as f32),
                () => None,
            }
        };
        let action = action.into_iter().map(|dim| ActionAngle { dim, centre: centre(dim) }).collect();
        Angles { unit, obs, action }
    }

    /// Checks against a policy's other parts.
    ///
    /// # Errors
    /// [`PolicyError::Shape`] for a dimension that does not exist or is named twice, or an action's angle that is not relative to an
    /// observation's.
    pub fn check(&self, spec: &PolicySpec) -> Result<()> {
        let actions: Vec<usize> = self.action.iter().map(|a| a.dim).collect();
        for (what, dims, below) in [
            ("the observation's angles", &self.obs, spec.obs_dim),
            ("the action's angles", &actions, spec.action_dim),
        ] {
            let ascend = dims.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascend || dims.last().is_some_and(|last| *last >= below) {
                let (found, needed) = (format!("{dims:?}"), format!("each once, ascending, below {below}"));
                return Err(PolicyError::Shape { what, found, needed });
            }
        }
        let centre = |a: &&ActionAngle| a.centre.is_some_and(|c| !c.is_finite());
        if let Some(bad) = self.action.iter().find(centre) {
            let (what, found) = ("the middle of an angle's turn", format!("{:?}", bad.centre));
            return Err(PolicyError::Shape { what, found, needed: "a finite number, or null".into() });
        }
        for dim in 0..spec.action_dim {
            let to = spec.relative_to.as_ref().and_then(|r| r.0.get(dim).copied().flatten());
            let to_angle = to.is_some_and(|to| self.obs.contains(&to));
            let found = match (actions.contains(&dim), to) {
                (angle, _) if angle == to_angle => continue,
                (true, None) => format!("action {dim} is an angle, and absolute"),
                (true, Some(to)) => format!("action {dim} is an angle, observation {to} is none"),
                (false, _) => format!("action {dim} is no angle, but relative to one"),
            };
            return Err(PolicyError::Shape {
                what: "angles",
                found,
                needed: "an action's angle relative to an observation's angle (relative_to; both in [angles]), or its cosine and sine \
                    recorded and objective riemannian with the manifold s1"
                    .into(),
            });
        }
        match self.obs.iter().find(|d| spec.obs_normalizer.scale.get(**d).is_some_and(|s| *s != 0.0)) {
            None => Ok(()),
            Some(dim) => Err(PolicyError::Shape {
                what: "the observation normaliser's scale of an angle",
                found: format!("{} at {dim}", spec.obs_normalizer.scale[*dim]),
                needed: "0: its sine and cosine are seen in its place".into(),
            }),
        }
    }

    /// Puts sampled chunks, whole rows in physical units, into the turn that the demonstrations' values were in.
    pub fn wrap(&self, rows: &mut [f32], action_dim: usize) {
        let turn = self.unit.turn();
        for (dim, centre) in self.action.iter().filter_map(|a| Some((a.dim, a.centre?))) {
            for x in rows.iter_mut().skip(dim).step_by(action_dim.max(1)) {
                *x = wrapped((*x).into(), centre.into(), turn) as f32;
            }
        }
    }

    /// Of actions relative to an observation, whole rows of a chunk from its first: each angle the turn that is nearest to the one before,
    /// the first in (-pi, pi].
    pub fn unwrap(&self, rows: &mut [f32], action_dim: usize) {
        let turn = self.unit.turn();
        for angle in &self.action {
            let mut near = 0.0;
            for x in rows.iter_mut().skip(angle.dim).step_by(action_dim.max(1)) {
                near = wrapped((*x).into(), near, turn);
                *x = near as f32;
            }
        }
    }

    /// The demonstrations with each observation's angle running on over its ends within an episode, and each action's angle the turn that
    /// is nearest to its observation's: their differences have no jump.
    ///
    /// # Errors
    /// As [`Episodes::from_arrays`]; [`PolicyError::Shape`] for actions that count turns, relative to observations that do not: what is sent
    /// would follow the observation's number, whole turns away.
    pub fn unwrapped(&self, episodes: &Episodes, relative: Option<&RelativeTo>) -> Result<Episodes> {
        let (turn, dim, actions) = (self.unit.turn(), episodes.obs_dim(), episodes.action_dim());
        let (mut obs, mut action) = (episodes.obs().to_vec(), episodes.action().to_vec());
        for (&start, &length) in episodes.starts().iter().zip(episodes.lengths()) {
            for &d in &self.obs {
                // An episode begins in the middle turn, where f32 keeps most.
                let mut near = 0.0;
                for row in start..start + length {
                    near = wrapped(obs[row * dim + d].into(), near, turn);
                    obs[row * dim + d] = near as f32;
                }
            }
            for a in &self.action {
                let Some(to) = relative.and_then(|r| r.0.get(a.dim).copied().flatten()) else { continue };
                for row in start..start + length {
                    let x = &mut action[row * actions + a.dim];
                    let away = f64::from(*x) - f64::from(episodes.obs()[row * dim + to]);
                    if a.centre.is_none() && away.abs() > 0.75 * turn {
                        return Err(PolicyError::Shape {
                            what: "angles",
                            found: format!(
                                "action {} counts turns ({x} at row {row}), observation {to} does not",
                                a.dim
                            ),
                            needed: format!("both within one turn of {turn}, or both to count turns"),
                        });
                    }
                    *x = wrapped((*x).into(), obs[row * dim + to].into(), turn) as f32;
                }
            }
        }
        Ok(episodes.with_values(obs, action).map_err(super::NormError::from)?)
    }

    /// Rows of observations [rows, obs_dim], each followed by the sine and cosine of its angles.
    pub fn beside(&self, obs: &[f32], obs_dim: usize) -> Vec<f32> {
        let to_radians = TAU / self.unit.turn();
        let mut out = Vec::with_capacity(obs.len() / obs_dim.max(1) * (obs_dim + self.more()));
        for row in obs.chunks_exact(obs_dim.max(1)) {
            out.extend_from_slice(row);
            for &d in &self.obs {
                let (sine, cosine) = (f64::from(row[d]) * to_radians).sin_cos();
                out.extend([sine as f32, cosine as f32]);
            }
        }
        out
    }

    /// Values that the network sees beside an observation's own.
    pub fn more(&self) -> usize {
        2 * self.obs.len()
    }

    /// [`Angles::beside`] as a graph: normalised observations [rows, history * obs_dim] with the sines and cosines of the raw ones.
    pub(super) fn join(
        &self,
        g: &mut Graph,
        [raw, normal]: [Value; 2],
        [history, obs_dim]: [usize; 2],
    ) -> crate::graph::Result<Value> {
        let mut parts = Vec::new();
        for step in 0..history {
            parts.push(g.slice(normal, step * obs_dim, obs_dim)?);
            for d in &self.obs {
                let angle = g.slice(raw, step * obs_dim + d, 1)?;
                let angle = match self.unit {
                    AngleUnit::Radians => angle,
                    AngleUnit::Degrees => g.affine(angle, (TAU / 360.0) as f32, 0.0)?,
                };
                parts.push(g.map(Activation::Sin, angle)?);
                parts.push(g.map(Activation::Cos, angle)?);
            }
        }
        g.concat(&parts)
    }
}

#[cfg(test)]
#[path = "angles_tests.rs"]
mod tests;
