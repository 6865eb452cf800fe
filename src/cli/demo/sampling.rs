//! Sampling as a robot and as a researcher would: one request at a time, and thousands of chunks in one batch.

use super::held_out::Picked;
use advect::device::Device;
use advect::policy::{Noise, Policy, SamplerOptions};
use std::time::{Duration, Instant};

/// Observations of the big batch.
pub const OBSERVATIONS: usize = 64;
/// Samples for each of them.
pub const SAMPLES: usize = 64;
/// What the big batch may take; a device that is slower gets a smaller one.
const BATCH_TIME: Duration = Duration::from_secs(20);

/// Chunks for each of some observations.
pub struct Chunks {
    /// [observations, samples, horizon, action_dim] in physical units.
    pub actions: Vec<f32>,
    /// Samples for each observation.
    pub samples: usize,
    /// Wall time of one pass, from observations in memory to chunks in memory: the median of `passes`.
    pub elapsed: Duration,
    /// Passes timed.
    pub passes: usize,
}

impl Chunks {
    /// Number of chunks.
    pub fn count(&self, spec_chunk: usize) -> usize {
        self.actions.len() / spec_chunk
    }
}

/// Times of single requests.
pub struct Latency {
    /// Median.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Requests timed.
    pub requests: usize,
}

/// Chunks per second that a device can be counted on for, from a small batch.
pub fn rate(device: &Device, policy: &Policy, held_out: &Picked) -> anyhow::Result<f64> {
    let observations = held_out.windows.len();
    let chunks = batch(device, policy, held_out, 1, 0, 2)?;
    Ok(observations as f64 / chunks.elapsed.as_secs_f64().max(1e-9))
}

/// How many samples per observation fit the time, a power of 2.
pub fn affordable(rate: f64, observations: usize) -> usize {
    let mut samples = SAMPLES;
    while samples > 1 && (observations * samples) as f64 / rate > BATCH_TIME.as_secs_f64() {
        samples /= 2;
    }
    samples
}

/// Samples `samples` chunks for every observation in one batch, at most `passes` times; all passes give the same chunks.
pub fn batch(
    device: &Device,
    policy: &Policy,
    held_out: &Picked,
    samples: usize,
    request: u64,
    passes: usize,
) -> anyhow::Result<Chunks> {
    let observations = held_out.windows.len();
    let mut sampler = policy.sampler(device, observations, samples, &SamplerOptions::default())?;
    let mut actions = vec![0.0; observations * samples * policy.spec.chunk()];
    let noise = Noise::Seed { seed: policy.spec.provenance.seed, request };
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < passes && (times.is_empty() || begin.elapsed() < Duration::from_secs(4)) {
        let start = Instant::now();
        sampler.sample(&held_out.obs, noise, &mut actions)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(Chunks { actions, samples, elapsed: times[times.len() / 2], passes: times.len() })
}

/// Times single requests, one chunk each, for at most a second.
pub fn latency(device: &Device, policy: &Policy, held_out: &Picked) -> anyhow::Result<Latency> {
    let mut sampler = policy.sampler(device, 1, 1, &SamplerOptions::default())?;
    let mut action = vec![0.0; policy.spec.chunk()];
    let mut times = Vec::new();
    let begin = Instant::now();
    for (n, obs) in held_out.obs.chunks_exact(policy.spec.request()).cycle().take(1000).enumerate() {
        let start = Instant::now();
        sampler.sample(
            obs,
            Noise::Seed { seed: policy.spec.provenance.seed, request: n as u64 },
            &mut action,
        )?;
        times.push(start.elapsed());
        if begin.elapsed() > Duration::from_secs(1) && n >= 10 {
            break;
        }
    }
    // The first ones warm the caches up.
    let warm = &mut times[4..];
    warm.sort_unstable();
    let at = |part: f64| warm[((warm.len() - 1) as f64 * part).round() as usize];
    Ok(Latency { p50: at(0.5), p99: at(0.99), requests: warm.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_devices_sample_less() {
        assert_eq!(affordable(1e6, 64), 64);
        assert_eq!(affordable(100.0, 64), 16);
        assert_eq!(affordable(1e-3, 64), 1);
    }
}
