//! How close the samples come to what was demonstrated.
//!
//! The energy distance (see [`advect::data::quality`]) of one sampled chunk per held-out observation to the demonstrated
//! chunks, over five draws. It is above 0 even for a perfect sampler, so beside it stand the distance of two disjoint sets
//! of demonstrations of the same size (the floor) and that of a policy which stands still (the scale). All in normalised
//! units.

use super::held_out::{HeldOut, Picked};
use super::sampling::{self, Chunks};
use advect::data::{Estimate, energy_distance, energy_over_draws, mean_and_standard_error, split_episodes};
use advect::device::Device;
use advect::policy::{Policy, PolicySpec};

/// Draws that the standard error is taken over.
pub const DRAWS: usize = 5;
/// Most observations: the cost grows with their square.
const MOST: usize = 2048;
/// Seconds that sampling for it may take.
const SAMPLING_S: f64 = 12.0;

/// Distances of one kind.
pub struct Distances {
    /// Of the samples.
    pub sampled: Estimate,
    /// Of other demonstrations: no sampler can be expected to come below.
    pub floor: Estimate,
    /// Of a policy that stays where it is.
    pub still: f64,
}

/// What was measured.
pub struct Quality {
    /// Chunks alone, pooled over the observations.
    pub chunks: Distances,
    /// Chunks together with the observation that they were made for.
    pub joint: Distances,
    /// Observations compared.
    pub observations: usize,
    /// Distance in physical units between the demonstrated chunk and the nearest of the samples, averaged over the
    /// chunk's steps and the observations.
    pub nearest: f64,
    /// The same of an average sample.
    pub average: f64,
}

/// Measures a policy. `chunks` were sampled for `shown`; `rate` (chunks/s) decides how many observations are affordable.
pub fn measure(
    device: &Device,
    policy: &Policy,
    held_out: &HeldOut,
    shown: &Picked,
    chunks: &Chunks,
    rate: f64,
) -> anyhow::Result<Quality> {
    let affordable = (SAMPLING_S * rate / DRAWS as f64) as usize;
    // A power of two, so that runs on devices of about the same speed compare as many.
    let affordable = 1 << affordable.clamp(64, MOST).ilog2();
    let observations = affordable.min(held_out.count() / 2).max(1);
    let picked = held_out.spread(observations)?;
    let spec = &policy.spec;
    let (dim, obs_dim) = (spec.chunk(), spec.obs_dim);
    let mut sampled = sampling::batch(device, policy, &picked, DRAWS, 1, 1)?.actions;
    let newest = newest(spec, &picked)?;
    normalise(spec, &picked, &mut sampled, DRAWS)?;
    let demonstrated = demonstrated(spec, &picked)?;
    let mut still = still(spec, &picked)?;
    normalise(spec, &picked, &mut still, 1)?;

    // Two disjoint sets, dealt anew for each draw from windows that are twice as many.
    let both = held_out.spread(2 * observations)?;
    let (pool, pool_obs) = (self::demonstrated(spec, &both)?, self::newest(spec, &both)?);
    let (mut floors, mut joint_floors) = (Vec::new(), Vec::new());
    for draw in 0..DRAWS {
        let sides = split_episodes(both.windows.len(), 0.5, draw as u64)?;
        let side = |ids: &[usize], joint: bool| -> Vec<f32> {
            let row = |&i: &usize| {
                let extra = if joint { &pool_obs[i * obs_dim..][..obs_dim] } else { &[] };
                pool[i * dim..][..dim].iter().chain(extra).copied()
            };
            ids.iter().flat_map(row).collect()
        };
        let distance = |joint: bool, dim: usize| {
            energy_distance(&side(&sides.train, joint), &side(&sides.validation, joint), dim)
        };
        floors.push(distance(false, dim)?);
        joint_floors.push(distance(true, dim + obs_dim)?);
    }
    let with_obs = |chunks: &[f32], each: usize| -> Vec<f32> {
        let rows = chunks.chunks_exact(dim).enumerate();
        rows.flat_map(|(r, c)| c.iter().chain(&newest[r / each * obs_dim..][..obs_dim]).copied()).collect()
    };
    let pairs = with_obs(&demonstrated, 1);
    let (nearest, average) = apart(spec, shown, chunks)?;
    Ok(Quality {
        chunks: Distances {
            sampled: energy_over_draws(&demonstrated, &sampled, DRAWS, dim)?,
            floor: mean_and_standard_error(&floors)?,
            still: energy_distance(&demonstrated, &still, dim)?,
        },
        joint: Distances {
            sampled: energy_over_draws(&pairs, &with_obs(&sampled, DRAWS), DRAWS, dim + obs_dim)?,
            floor: mean_and_standard_error(&joint_floors)?,
            still: energy_distance(&pairs, &with_obs(&still, 1), dim + obs_dim)?,
        },
        observations,
        nearest,
        average,
    })
}

/// Chunks of a policy that stays where it is, in physical units as a policy gives them: angles within their turn.
fn still(spec: &PolicySpec, picked: &Picked) -> anyhow::Result<Vec<f32>> {
    let dim = spec.chunk();
    let mut still = vec![0.0; picked.chunks.len()];
    for (chunk, obs) in still.chunks_exact_mut(dim).zip(picked.obs.chunks_exact(spec.request())) {
        if spec.relative_to.is_none() {
            let offset = &spec.action_normalizer.offset;
            chunk.copy_from_slice(&offset.repeat(dim / offset.len()));
        }
        spec.absolute(chunk, obs)?;
    }
    Ok(still)
}

fn demonstrated(spec: &PolicySpec, picked: &Picked) -> anyhow::Result<Vec<f32>> {
    let mut chunks = picked.chunks.clone();
    normalise(spec, picked, &mut chunks, 1)?;
    Ok(chunks)
}

/// The newest observation of each window, normalised.
fn newest(spec: &PolicySpec, picked: &Picked) -> anyhow::Result<Vec<f32>> {
    let rows = picked.obs.chunks_exact(spec.request());
    let mut newest: Vec<f32> =
        rows.flat_map(|r| r[spec.request() - spec.obs_dim..].iter().copied()).collect();
    spec.obs_normalizer.normalize(&mut newest)?;
    Ok(newest)
}

/// From physical to normalised units, `each` chunks per observation.
fn normalise(spec: &PolicySpec, picked: &Picked, chunks: &mut [f32], each: usize) -> anyhow::Result<()> {
    relative(spec, picked, chunks, each)?;
    Ok(spec.action_normalizer.normalize(chunks)?)
}

/// From physical units to what lies between actions and states, by the shorter way where they are angles.
fn relative(spec: &PolicySpec, picked: &Picked, chunks: &mut [f32], each: usize) -> anyhow::Result<()> {
    for (row, chunk) in chunks.chunks_exact_mut(spec.chunk()).enumerate() {
        let request = &picked.obs[row / each * spec.request()..][..spec.request()];
        spec.relative(chunk, request)?;
    }
    Ok(())
}

/// Mean distance over a chunk's steps: of the nearest sample, and of an average one.
fn apart(spec: &PolicySpec, shown: &Picked, chunks: &Chunks) -> anyhow::Result<(f64, f64)> {
    let (dim, actions) = (spec.chunk(), spec.action_dim);
    let (mut truths, mut sampled) = (shown.chunks.clone(), chunks.actions.clone());
    relative(spec, shown, &mut truths, 1)?;
    relative(spec, shown, &mut sampled, chunks.samples)?;
    let (mut nearest, mut average) = (0.0, 0.0);
    let count = shown.windows.len() as f64;
    for (truth, samples) in truths.chunks_exact(dim).zip(sampled.chunks_exact(dim * chunks.samples)) {
        let off = |sample: &[f32]| {
            let steps = sample.chunks_exact(actions).zip(truth.chunks_exact(actions));
            let step = |(a, b): (&[f32], &[f32])| {
                a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            steps.map(step).sum::<f64>() / spec.horizon as f64
        };
        let all: Vec<f64> = samples.chunks_exact(dim).map(off).collect();
        nearest += all.iter().copied().fold(f64::INFINITY, f64::min) / count;
        average += all.iter().sum::<f64>() / all.len() as f64 / count;
    }
    Ok((nearest, average))
}

#[cfg(test)]
mod tests {
    use super::*;
    use advect::policy::{ActionAngle, AngleUnit, Angles, RelativeTo};
    use std::f32::consts::PI;
    use std::path::Path;

    /// Two actions relative to two angles of the state, of which the first is known to be an angle.
    fn spec() -> PolicySpec {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lerobot/checkpoints/diffusion");
        let spec = Policy::import_lerobot(root).unwrap().spec;
        let of_action = ActionAngle { dim: 0, centre: Some(0.0) };
        let angles = Angles { unit: AngleUnit::Radians, obs: vec![0], action: vec![of_action] };
        PolicySpec { relative_to: Some(RelativeTo(vec![Some(0), Some(1)])), angles: Some(angles), ..spec }
    }

    #[test]
    fn standing_still_is_an_angle_within_its_turn() {
        let spec = spec();
        let mut obs = vec![0.0; spec.request()];
        let newest = spec.request() - spec.obs_dim;
        (obs[newest], obs[newest + 1]) = (PI + 0.5, PI + 0.5);
        let picked = Picked { windows: vec![0], obs, chunks: vec![0.0; spec.chunk()] };
        let still = still(&spec, &picked).unwrap();
        let near = |a: f32, b: f32| (a - b).abs() < 1e-5;
        assert!(
            still.chunks_exact(2).all(|row| near(row[0], 0.5 - PI) && near(row[1], PI + 0.5)),
            "{still:?}"
        );
        let mut moved = still.clone();
        relative(&spec, &picked, &mut moved, 1).unwrap();
        assert!(moved.iter().all(|x| near(*x, 0.0)), "{moved:?}");
    }
}
