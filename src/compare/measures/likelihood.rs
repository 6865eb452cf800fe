//! Mean log-likelihood of held-out chunks under a flow.

use crate::compare::{Result, Task};
use crate::device::Device;
use crate::flow::log_prob::Divergence;
use crate::policy::{LogProbOptions, Policy, Weights};

/// Rows of network evaluations that one integration may have: chunks times probes.
const ROWS: usize = 1024;
/// From this many values on the divergence is estimated.
const EXACT: usize = 32;

/// E log p(chunk | observation) in nats per chunk, densities per physical unit, over the first held-out pairs; and how many. Reverse
/// flow by `rk4:16`; the divergence is exact up to 32 values of a chunk, else estimated with 4 Rademacher vectors.
pub fn mean_log_likelihood(device: &Device, policy: &Policy, task: &Task) -> Result<(f64, usize)> {
    let divergence = match task.chunk() <= EXACT {
        true => Divergence::Exact,
        false => Divergence::Hutchinson { probes: 4, seed: 0 },
    };
    let probes = if task.chunk() <= EXACT { task.chunk() } else { 4 };
    let count = (ROWS / probes).clamp(16, 512).min(task.held_out.count);
    let options = LogProbOptions {
        solver: "rk4:16".parse().map_err(crate::policy::PolicyError::from)?,
        divergence,
        physical: true,
        weights: Weights::Ema,
    };
    let obs = &task.held_out.obs[..count * task.request()];
    let values = policy.log_prob(device, obs, &task.held_out.chunks[..count * task.chunk()], &options)?;
    Ok((values.iter().sum::<f64>() / count as f64, count))
}
