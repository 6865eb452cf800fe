//! What a LeRobot policy's processors come to: one normaliser of observations, one of actions, and what actions are relative
//! to.

use super::Import;
use super::config::{Feature, STATE};
use super::processors::{POSTPROCESSOR, PREPROCESSOR, Processors, Step};
use super::statistics::Affine;
use crate::policy::{NormKind, Normalizer, RelativeTo, Result, Scope};

/// An input of the network.
pub(super) struct Observed {
    /// What it is called before any step.
    pub(super) column: String,
    /// Its values.
    pub(super) dim: usize,
}

/// All inputs side by side.
pub(super) struct Observations {
    pub(super) inputs: Vec<Observed>,
    pub(super) normalizer: Normalizer,
}

/// What is known of a value at some place among the steps.
struct Traced {
    column: String,
    kind: NormKind,
    map: Vec<Affine>,
}

impl Processors {
    /// The inputs and their normaliser. Its kind is that of the first; offset and scale say what is done.
    pub(super) fn observations(&self, at: &Import<'_>, features: &[Feature]) -> Result<Observations> {
        let (mut inputs, mut map, mut kind) = (Vec::new(), Vec::new(), None);
        for f in features {
            let traced = trace(at, &self.before, &f.key, f.dim)?;
            kind = kind.or(Some(traced.kind));
            map.extend(traced.map);
            inputs.push(Observed { column: traced.column, dim: f.dim });
        }
        let normalizer = normalizer(kind.unwrap_or(NormKind::Identity), map)?;
        Ok(Observations { inputs, normalizer })
    }

    /// The normaliser of actions and what they are relative to. After the last step an action is
    /// a * (the network's) + g * (the remembered state) + c, dimension by dimension.
    pub(super) fn actions(
        &self,
        at: &Import<'_>,
        observations: &Observations,
        feature: &Feature,
    ) -> Result<(Normalizer, Option<RelativeTo>)> {
        let dims = feature.dim;
        let remembered = self.before.iter().position(|s| matches!(s, Step::Relative(_)));
        let mask = match remembered.map(|i| &self.before[i]) {
            Some(Step::Relative(relative)) => relative.mask(dims),
            _ => vec![false; dims],
        };
        let (mut kind, mut map) = (NormKind::Identity, vec![[1.0, 0.0, 0.0]; dims]);
        for step in &self.after {
            match step {
                Step::Normalize(n) => {
                    let (its, affine) = n.action(at, feature)?;
                    kind = if kind == NormKind::Identity { its } else { kind };
                    for (m, (offset, scale)) in map.iter_mut().zip(affine) {
                        m.iter_mut().for_each(|v| *v = if scale == 0.0 { 0.0 } else { *v / scale });
                        m[2] += offset;
                    }
                }
                Step::Absolute => {
                    map.iter_mut().zip(&mask).filter(|(_, on)| **on).for_each(|(m, _)| m[1] += 1.0);
                }
                Step::Rename(_) | Step::Relative(_) => {}
            }
        }
        // Where nothing of the network's answer is left, the scale is 0.
        let scale = |a: f64| if a == 0.0 { 0.0 } else { 1.0 / a };
        let Some(place) = remembered.filter(|_| mask.contains(&true)) else {
            return Ok((normalizer(kind, map.iter().map(|[a, _, c]| (*c, scale(*a))).collect())?, None));
        };
        let refuse =
            |file: &str, what: String| Err(at.bad(file, format!("relative_actions_processor: {what}")));
        // The state as it is called and as large as it is at that place.
        let state = column(at, &self.before[..place], STATE)?;
        let (mut first, mut found) = (0, None);
        for input in &observations.inputs {
            if input.column == state {
                found = Some((first, input.dim));
            }
            first += input.dim;
        }
        let Some((first, states)) = found else {
            return refuse(PREPROCESSOR, format!("{STATE:?} is not an input of the policy at its place"));
        };
        if states < dims && states != 1 {
            let what = format!(
                "found {states} values of {STATE:?}, needed one for each of {dims} action dimensions"
            );
            return refuse(PREPROCESSOR, what);
        }
        let remembered = trace(at, &self.before[..place], STATE, states)?.map;
        let (mut affine, mut relative) = (Vec::new(), Vec::new());
        for (d, [a, g, c]) in map.into_iter().enumerate() {
            // LeRobot broadcasts a state of one value.
            let of = if states == 1 { 0 } else { d };
            let (offset, times) = remembered[of];
            // g * (x - offset) * times of the raw state x.
            let gain = g * times;
            if g != 0.0 && (gain - 1.0).abs() > 1e-6 {
                let what = format!(
                    "absolute_actions_processor adds {gain} times the state to action dimension {d}, needed 1: both steps must \
                     work on values that are not normalised"
                );
                return refuse(POSTPROCESSOR, what);
            }
            affine.push((c - gain * offset, scale(a)));
            relative.push((g != 0.0).then_some(first + of));
        }
        Ok((normalizer(kind, affine)?, Some(RelativeTo(relative))))
    }
}

/// What the observation that is called `key` after these steps is called before them.
fn column(at: &Import<'_>, steps: &[Step], key: &str) -> Result<String> {
    let mut called = key.to_string();
    for step in steps.iter().rev() {
        let Step::Rename(names) = step else { continue };
        if let Some((from, _)) = names.iter().find(|(_, to)| *to == called) {
            called.clone_from(from);
        } else if names.iter().any(|(from, _)| *from == called) {
            let what = format!(
                "rename_observations_processor: {called:?} is called otherwise after it, and the policy needs it"
            );
            return Err(at.bad(PREPROCESSOR, what));
        }
    }
    Ok(called)
}

/// Follows the observation that is called `key` after these steps back to before them: what it was called there and what
/// became of it, `(raw - offset) * scale`.
fn trace(at: &Import<'_>, steps: &[Step], key: &str, dim: usize) -> Result<Traced> {
    let mut found =
        Traced { column: column(at, steps, key)?, kind: NormKind::Identity, map: vec![(0.0, 1.0); dim] };
    for (i, step) in steps.iter().enumerate().rev() {
        let Step::Normalize(n) = step else { continue };
        // By the name that it has there.
        let (kind, affine) = n.observation(at, &column(at, &steps[i..], key)?, dim)?;
        found.kind = if found.kind == NormKind::Identity { kind } else { found.kind };
        for (later, (offset, scale)) in found.map.iter_mut().zip(affine) {
            *later = (offset + later.0 / scale, scale * later.1);
        }
    }
    Ok(found)
}

fn normalizer(kind: NormKind, map: Vec<Affine>) -> Result<Normalizer> {
    let (offset, scale) = map.into_iter().map(|(o, s)| (o as f32, s as f32)).unzip();
    let normalizer = Normalizer { kind, scope: Scope::PerDim, offset, scale, clip: Vec::new() };
    normalizer.check()?;
    Ok(normalizer)
}
