//! One batch over several devices, each with a share by its speed.
//!
//! What a chunk is does not depend on the split: its noise is named by its place in the whole batch, so that results differ
//! between splits only as they do between devices.

use super::sampler::{Noise, Sampler, SamplerOptions, count, expect, finite};
use super::{NoiseKey, Policy, PolicyError, Result, RowOutcome};
use crate::device::Device;
use crate::flow::Batch;
use crate::flow::integrator::all_done;
use std::ops::Range;
use std::time::Instant;

/// Timed runs of each device before the batch is shared out.
const TRIALS: usize = 3;

/// A policy compiled for a batch that several devices share.
pub struct Fleet {
    parts: Vec<Part>,
    batch: Batch,
    /// Of each chunk of the last batch.
    outcomes: Vec<RowOutcome>,
    /// Numbers in an observation and in a chunk.
    sizes: [usize; 2],
}

/// One device's share.
struct Part {
    device: String,
    sampler: Sampler,
    /// Observations, or with a single one its samples.
    range: Range<usize>,
}

/// How much of a batch a device computes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// The device in one line.
    pub device: String,
    /// Chunks.
    pub chunks: usize,
}

impl Policy {
    /// Compiles `samples` chunks for each of `observations` observations over `devices`. `shares` says in what ratio; without them
    /// every device is timed on an even share first. A batch is cut between observations, a single observation's between its
    /// samples; a device for which nothing is left has no part.
    ///
    /// # Errors
    /// [`PolicyError`] if there is no device, if `shares` are not one positive number for each, or as
    /// [`sampler`](Policy::sampler).
    pub fn fleet(
        &self,
        devices: &[Device],
        observations: usize,
        samples: usize,
        shares: Option<&[f64]>,
        options: &SamplerOptions,
    ) -> Result<Fleet> {
        let shape =
            |what, found: String, needed: &str| PolicyError::Shape { what, found, needed: needed.into() };
        if devices.is_empty() {
            return Err(shape("devices of a fleet", "none".into(), "at least one"));
        }
        if options.trajectory {
            return Err(shape("a fleet's results", "a trajectory".into(), "chunks only"));
        }
        let batch = Batch { requests: observations, samples };
        let units = if observations == 1 { samples } else { observations };
        if batch.requests == 0 || batch.samples == 0 {
            let found = format!("{observations} observations of {samples} samples");
            return Err(shape("a fleet's batch", found, "at least one observation and one sample"));
        }
        let ratio = match shares {
            Some(shares) => {
                let sound = shares.iter().all(|s| s.is_finite() && *s > 0.0);
                if shares.len() != devices.len() || !sound {
                    return Err(shape(
                        "shares",
                        format!("{shares:?}"),
                        "one positive number for each device",
                    ));
                }
                shares.to_vec()
            }
            None if devices.len() == 1 => vec![1.0],
            None => self.speeds(devices, batch, options)?,
        };
        let mut parts = Vec::new();
        for (device, range) in devices.iter().zip(cut(units, &ratio)) {
            if range.is_empty() {
                continue;
            }
            let own = part_of(batch, range.len());
            let sampler = self.sampler(device, own.requests, own.samples, options)?;
            parts.push(Part { device: device.describe(), sampler, range });
        }
        Ok(Fleet { parts, batch, outcomes: Vec::new(), sizes: [self.spec.request(), self.spec.chunk()] })
    }

    /// Chunks per second of each device on an even share of a batch.
    fn speeds(&self, devices: &[Device], batch: Batch, options: &SamplerOptions) -> Result<Vec<f64>> {
        let units = if batch.requests == 1 { batch.samples } else { batch.requests };
        let own = part_of(batch, units.div_ceil(devices.len()));
        let obs = vec![0.0; own.requests * self.spec.request()];
        let mut chunks = vec![0.0; own.rows() * self.spec.chunk()];
        let mut speeds = Vec::with_capacity(devices.len());
        for device in devices {
            let mut sampler = self.sampler(device, own.requests, own.samples, options)?;
            let mut best = f64::INFINITY;
            // The first run warms up.
            for trial in 0..=TRIALS {
                let begun = Instant::now();
                sampler.sample(&obs, Noise::Seed { seed: 0, request: trial as u64 }, &mut chunks)?;
                if trial > 0 {
                    best = best.min(begun.elapsed().as_secs_f64());
                }
            }
            speeds.push(own.rows() as f64 / best.max(1e-9));
        }
        Ok(speeds)
    }
}

/// A part of a batch with so many of its units.
fn part_of(batch: Batch, units: usize) -> Batch {
    match batch.requests {
        1 => Batch { requests: 1, samples: units },
        _ => Batch { requests: units, samples: batch.samples },
    }
}

/// Cuts 0..units in the ratio of positive numbers; the parts follow one another and leave nothing out.
fn cut(units: usize, ratio: &[f64]) -> Vec<Range<usize>> {
    let total: f64 = ratio.iter().sum();
    let (mut sum, mut from) = (0.0, 0);
    let mut out = Vec::with_capacity(ratio.len());
    for (i, r) in ratio.iter().enumerate() {
        sum += r;
        let to = match i + 1 == ratio.len() {
            true => units,
            false => ((units as f64 * sum / total).round() as usize).clamp(from, units),
        };
        out.push(from..to);
        from = to;
    }
    out
}

impl Fleet {
    /// Chunks in physical units [observations, samples, horizon, action_dim] into `actions`, for raw observations [observations,
    /// history, obs_dim]; all devices at once.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; the first device's that fails.
    pub fn sample(&mut self, obs: &[f32], noise: Noise<'_>, actions: &mut [f32]) -> Result<()> {
        self.sample_each(obs, noise, actions)?;
        Ok(all_done(&self.outcomes, self.solver())?)
    }

    /// What became of each chunk of the last batch, and in how many steps, as [`Sampler::outcomes`].
    pub fn outcomes(&self) -> &[RowOutcome] {
        &self.outcomes
    }

    /// As [`Fleet::sample`], but a chunk that fails is no error: its actions are NaN, and its outcome says why. One outcome for
    /// each chunk, [observations, samples].
    ///
    /// # Errors
    /// As [`Sampler::sample_each`]; the first device's that fails.
    pub fn sample_each(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        actions: &mut [f32],
    ) -> Result<&[RowOutcome]> {
        self.outcomes.clear();
        let Batch { requests, samples } = self.batch;
        let [request, chunk] = self.sizes;
        expect("observations", obs.len(), requests * request)?;
        expect("actions", actions.len(), self.batch.rows() * chunk)?;
        finite("observations", obs)?;
        let start = self.parts[0].sampler.integrator().start_cols();
        match noise {
            Noise::PerObservation(keys) => count("noise keys", keys.len(), requests)?,
            Noise::Given(x) => {
                expect("noise", x.len(), self.batch.rows() * start)?;
                finite("noise", x)?;
            }
            Noise::Seed { .. } => {}
        }
        let single = requests == 1;
        self.outcomes.resize(self.batch.rows(), RowOutcome::default());
        let result = std::thread::scope(|scope| {
            let (mut rest, mut rest_of_outcomes) = (actions, &mut self.outcomes[..]);
            let mut running = Vec::new();
            for part in &mut self.parts {
                let range = part.range.clone();
                let rows = if single { range.clone() } else { range.start * samples..range.end * samples };
                let (own, others) = std::mem::take(&mut rest).split_at_mut(rows.len() * chunk);
                rest = others;
                let (outcomes, others) = std::mem::take(&mut rest_of_outcomes).split_at_mut(rows.len());
                rest_of_outcomes = others;
                let obs = if single { obs } else { &obs[range.start * request..range.end * request] };
                running.push(scope.spawn(move || {
                    let made = match noise {
                        Noise::Given(x) => {
                            let given = rows.start * start..rows.end * start;
                            part.sampler.sample_each(obs, Noise::Given(&x[given]), own)
                        }
                        Noise::PerObservation(keys) if !single => {
                            part.sampler.sample_each(obs, Noise::PerObservation(&keys[range]), own)
                        }
                        Noise::PerObservation(&[NoiseKey { seed, request }, ..])
                        | Noise::Seed { seed, request } => {
                            part.sampler.sample_part(obs, NoiseKey { seed, request }, rows.start, own)
                        }
                        Noise::PerObservation(&[]) => return count("noise keys", 0, requests),
                    };
                    outcomes.copy_from_slice(made?);
                    Ok(())
                }));
            }
            let mut result = Ok(());
            for thread in running {
                // A sampler does not panic; if one did, so must the caller hear of it.
                let own = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(own);
            }
            result
        });
        if let Err(error) = result {
            self.outcomes.clear();
            return Err(error);
        }
        Ok(&self.outcomes)
    }

    /// What each device computes.
    pub fn shares(&self) -> Vec<Share> {
        let per_unit = if self.batch.requests == 1 { 1 } else { self.batch.samples };
        let share = |p: &Part| Share { device: p.device.clone(), chunks: p.range.len() * per_unit };
        self.parts.iter().map(share).collect()
    }

    /// Observations and samples for each.
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// Values of the noise of one chunk, as [`Sampler::noise_values`].
    pub fn noise_values(&self) -> usize {
        self.parts[0].sampler.noise_values()
    }

    /// Evaluations of the network for one chunk, as [`Sampler::evaluations`].
    pub fn evaluations(&self) -> Option<usize> {
        self.parts[0].sampler.evaluations()
    }

    /// The solver in use.
    pub fn solver(&self) -> crate::flow::Solver {
        self.parts[0].sampler.solver()
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_batch_is_cut_in_the_ratio_of_speeds() {
        assert_eq!(cut(10, &[1.0, 1.0]), [0..5, 5..10]);
        assert_eq!(cut(100, &[3.0, 1.0]), [0..75, 75..100]);
        // Nothing is left for the slowest.
        assert_eq!(cut(3, &[50.0, 1.0]), [0..3, 3..3]);
        assert_eq!(cut(1, &[1.0, 1.0, 1.0]).iter().map(|r| r.len()).sum::<usize>(), 1);
    }
}
