//! Batched sampling of action chunks, and their log-likelihood.

use super::checkpoint::{Policy, Weights};
use super::source::{ChunkSource, Previous};
use super::spec::{OBS, PolicyField, PolicySpec};
use super::{PolicyError, Result};
use crate::device::{CounterSnapshot, Device};
use crate::flow::integrator::{OUTPUT, STATE, Start};
use crate::flow::log_prob::{Divergence, LogProb};
use crate::flow::{Batch, IntegrateOptions, Integrator, Solver};
use crate::graph::Program;
use crate::kernel::BufferId;
use crate::kernel::denormalize::{self, DenormShape};

pub use crate::flow::integrator::NoiseKey;

/// Probe vectors that a log-likelihood integrates at once: more take more memory and no less time.
const LOG_PROB_ROWS: usize = 1 << 14;

/// What a sampler is compiled for.
#[derive(Clone, Debug)]
pub struct SamplerOptions {
    /// How the flow is integrated ([`Objective`](super::Objective) says which policies have none).
    pub solver: Solver,
    /// A time grid in place of equal steps.
    pub times: Option<Vec<f64>>,
    /// Keep all states.
    pub trajectory: bool,
    /// Which weights.
    pub weights: Weights,
}

impl Default for SamplerOptions {
    fn default() -> SamplerOptions {
        SamplerOptions { solver: Solver::euler(10), times: None, trajectory: false, weights: Weights::Ema }
    }
}

/// The noise of a batch.
#[derive(Clone, Copy, Debug)]
pub enum Noise<'a> {
    /// Drawn on the device; the same seed and request number give the same noise on every device.
    Seed {
        /// Seed.
        seed: u64,
        /// Number of the request.
        request: u64,
    },
    /// Drawn on the device, one key for each observation: what an observation's samples start from depends on its key alone,
    /// not on the other observations of the batch. Element e counts from 0 over [samples, horizon, action_dim].
    PerObservation(&'a [NoiseKey]),
    /// Given in model space, [observations, samples, horizon, action_dim].
    Given(&'a [f32]),
}

/// A policy compiled for a device, a batch and a solver.
pub struct Sampler {
    spec: PolicySpec,
    integrator: Integrator,
    batch: Batch,
    solver: Solver,
    /// Where chunks start that do not start from noise.
    zeros: Vec<f32>,
}

impl Policy {
    /// Compiles a sampler of `samples` chunks for each of `observations` observations.
    pub fn sampler(
        &self,
        device: &Device,
        observations: usize,
        samples: usize,
        options: &SamplerOptions,
    ) -> Result<Sampler> {
        let batch = Batch { requests: observations, samples };
        let field = PolicyField(&self.spec);
        let spec = &self.spec;
        let finish = |program: &mut Program,
                      batch: Batch,
                      x: BufferId,
                      inputs: &[(&'static str, BufferId)]| {
            let find = |name: &str| {
                inputs.iter().find(|(n, _)| *n == name).map_or_else(|| program.named(name), |(_, b)| Ok(*b))
            };
            let (obs, state) = (find(OBS)?, find(STATE)?);
            let affine = program.constant(&spec.affine())?;
            let output = program.resident(OUTPUT, batch.rows() * spec.chunk())?;
            let shape = DenormShape {
                rows: batch.rows(),
                samples_per_obs: batch.samples,
                horizon: spec.horizon,
                action_dim: spec.action_dim,
                history: spec.history,
                obs_dim: spec.obs_dim,
            };
            program.push(denormalize::command(&shape, x, affine, obs, output, state))?;
            Ok(output)
        };
        let integrate = IntegrateOptions {
            times: options.times.as_deref(),
            trajectory: options.trajectory,
            finish: Some(&finish),
            ..IntegrateOptions::default()
        };
        if options.times.is_some() || options.trajectory {
            spec.objective.needs_flow("a time grid or a trajectory")?;
        }
        let params = self.params(options.weights);
        let solver = spec.objective.solver(options.solver);
        let mut integrator = Integrator::new(device, &field, &params.layout, solver, batch, &integrate)?;
        integrator.set_params(&params.values)?;
        let zeros = match spec.objective.starts_from_noise() {
            true => Vec::new(),
            false => vec![0.0; batch.rows() * spec.chunk()],
        };
        Ok(Sampler { spec: self.spec.clone(), integrator, batch, solver, zeros })
    }

    /// Natural-log densities of chunks [observations * samples, horizon, action_dim] in physical units, given raw
    /// observations [observations, history, obs_dim]. With `physical` false, densities in the normalised model space.
    pub fn log_prob(
        &self,
        device: &Device,
        obs: &[f32],
        chunks: &[f32],
        options: &LogProbOptions,
    ) -> Result<Vec<f64>> {
        let spec = &self.spec;
        spec.objective.needs_flow("a log-likelihood")?;
        let rows = chunks.len() / spec.chunk();
        let observations = obs.len() / spec.request();
        expect("observations", obs.len(), spec.request() * observations.max(1))?;
        if rows == 0 || chunks.len() != rows * spec.chunk() || !rows.is_multiple_of(observations.max(1)) {
            let needed = format!("a multiple of {} for each of {observations} observations", spec.chunk());
            return Err(PolicyError::Shape { what: "chunks", found: chunks.len().to_string(), needed });
        }
        finite("observations", obs)?;
        finite("chunks", chunks)?;
        let samples = rows / observations;
        let (offset, scale) = spec.action_statistics();
        let mut x = chunks.to_vec();
        let mut per_row = Vec::with_capacity(rows * spec.request());
        for (r, chunk) in x.chunks_exact_mut(spec.chunk()).enumerate() {
            let request = &obs[r / samples * spec.request()..][..spec.request()];
            per_row.extend_from_slice(request);
            if let Some(relative) = &spec.relative_to {
                relative.subtract(chunk, &request[spec.request() - spec.obs_dim..])?;
            }
            for ((v, o), s) in chunk.iter_mut().zip(&offset).zip(&scale) {
                *v = (*v - o) * s;
            }
        }
        let params = self.params(options.weights);
        let field = PolicyField(spec);
        let probes = match options.divergence {
            Divergence::Exact => spec.chunk(),
            Divergence::Hutchinson { probes, .. } => probes,
        };
        let piece = (LOG_PROB_ROWS / probes.max(1)).clamp(1, rows);
        let mut compiled: Option<(usize, LogProb)> = None;
        let mut values = Vec::with_capacity(rows);
        for first in (0..rows).step_by(piece) {
            let n = piece.min(rows - first);
            let mut log_prob = match compiled.take() {
                Some((size, log_prob)) if size == n => log_prob,
                _ => {
                    let batch = Batch { requests: n, samples: 1 };
                    let mut new = LogProb::new(
                        device,
                        &field,
                        &params.layout,
                        options.solver,
                        batch,
                        options.divergence,
                    )?;
                    new.set_params(&params.values)?;
                    new
                }
            };
            let (chunks, requests) = (
                &x[first * spec.chunk()..][..n * spec.chunk()],
                &per_row[first * spec.request()..][..n * spec.request()],
            );
            values.extend(log_prob.run_from(first, chunks, &[requests])?.0);
            compiled = Some((n, log_prob));
        }
        if options.physical {
            let jacobian: f64 = scale.iter().map(|s| f64::from(s.abs()).ln()).sum();
            values.iter_mut().for_each(|v| *v += jacobian);
        }
        Ok(values)
    }
}

/// How a log-likelihood is computed.
#[derive(Clone, Copy, Debug)]
pub struct LogProbOptions {
    /// Solver of the reverse flow.
    pub solver: Solver,
    /// Exact or estimated divergence.
    pub divergence: Divergence,
    /// Densities per physical unit (the normaliser's Jacobian included) rather than in model space.
    pub physical: bool,
    /// Which weights.
    pub weights: Weights,
}

impl Sampler {
    /// The policy's spec.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// Chunks in physical units [observations, samples, horizon, action_dim] into `actions`, for raw observations
    /// [observations, history, obs_dim].
    pub fn sample(&mut self, obs: &[f32], noise: Noise<'_>, actions: &mut [f32]) -> Result<()> {
        self.run(obs, noise, actions, None)
    }

    /// As [`Sampler::sample`], with all states in physical units [observations, samples, steps + 1, horizon, action_dim].
    pub fn sample_trajectory(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        actions: &mut [f32],
    ) -> Result<Vec<f32>> {
        let (rows, chunk, times) = (self.batch.rows(), self.spec.chunk(), self.integrator.steps() + 1);
        let mut raw = vec![0.0f32; times * rows * chunk];
        self.run(obs, noise, actions, Some(&mut raw))?;
        let (offset, scale) = self.spec.action_statistics();
        let mut out = vec![0.0f32; raw.len()];
        for r in 0..rows {
            let request = &obs[r / self.batch.samples * self.spec.request()..][..self.spec.request()];
            for s in 0..times {
                let from = &raw[(s * rows + r) * chunk..][..chunk];
                let to = &mut out[(r * times + s) * chunk..][..chunk];
                for (((to, from), o), k) in to.iter_mut().zip(from).zip(&offset).zip(&scale) {
                    *to = from / k + o;
                }
                if let Some(relative) = &self.spec.relative_to {
                    relative.add(to, &request[self.spec.request() - self.spec.obs_dim..])?;
                }
            }
        }
        Ok(out)
    }

    fn run(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        actions: &mut [f32],
        trajectory: Option<&mut [f32]>,
    ) -> Result<()> {
        expect("observations", obs.len(), self.batch.requests * self.spec.request())?;
        expect("actions", actions.len(), self.batch.rows() * self.spec.chunk())?;
        finite("observations", obs)?;
        let start = match noise {
            _ if !self.zeros.is_empty() => Start::Given(&self.zeros),
            Noise::Seed { seed, request } => Start::Noise { seed, request },
            Noise::PerObservation(keys) => {
                count("noise keys", keys.len(), self.batch.requests)?;
                Start::Keys(keys)
            }
            Noise::Given(x) => {
                expect("noise", x.len(), self.batch.rows() * self.spec.chunk())?;
                finite("noise", x)?;
                Start::Given(x)
            }
        };
        Ok(self.integrator.run(start, &[obs], actions, trajectory)?)
    }

    /// The solver in use: a regression is evaluated once, whatever was asked for.
    pub fn solver(&self) -> Solver {
        self.solver
    }

    /// Observations and samples for each.
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// The compiled integration.
    pub fn integrator(&self) -> &Integrator {
        &self.integrator
    }

    /// Counts of the device so far.
    pub fn counters(&self) -> CounterSnapshot {
        self.integrator.counters()
    }
}

/// Free sampling: the previous chunk is not looked at.
impl ChunkSource for Sampler {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn robots(&self) -> usize {
        self.batch.requests
    }

    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        _: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        count("samples for each observation of a chunk source", self.batch.samples, 1)?;
        self.run(obs, Noise::PerObservation(noise), chunks, None)
    }
}

pub(super) fn expect(what: &'static str, found: usize, needed: usize) -> Result<()> {
    match found == needed {
        true => Ok(()),
        false => Err(PolicyError::Shape {
            what,
            found: format!("{found} values"),
            needed: format!("{needed} values"),
        }),
    }
}

pub(super) fn count(what: &'static str, found: usize, needed: usize) -> Result<()> {
    match found == needed {
        true => Ok(()),
        false => Err(PolicyError::Shape { what, found: found.to_string(), needed: needed.to_string() }),
    }
}

pub(super) fn finite(what: &'static str, data: &[f32]) -> Result<()> {
    match data.iter().position(|v| !v.is_finite()) {
        Some(element) => Err(PolicyError::NonFinite { what, value: data[element], element }),
        None => Ok(()),
    }
}
