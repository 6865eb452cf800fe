//! Log-likelihood of action chunks in physical units.

use super::checkpoint::{Policy, Weights};
use super::sampler::{expect, finite};
use super::source::ModelSpace;
use super::spec::{PolicyField, PolicySpec};
use super::{PolicyError, Result, RowOutcome};
use crate::device::Device;
use crate::flow::integrator::all_done;
use crate::flow::log_prob::{Divergence, LogProb};
use crate::flow::{Batch, Solver};
use crate::nn::ParamStore;

/// Probe vectors that a log-likelihood integrates at once: more take more memory and no less time.
const LOG_PROB_ROWS: usize = 1 << 14;

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

/// A policy compiled for log-likelihoods; kept between calls, since batches of one size need compiling only once.
pub struct Likelihood {
    spec: PolicySpec,
    params: ParamStore,
    space: ModelSpace,
    options: LogProbOptions,
    device: Device,
    compiled: Option<(usize, LogProb)>,
    /// Of each chunk in the last call.
    outcomes: Vec<RowOutcome>,
}

impl Policy {
    /// Natural-log densities of chunks [observations * samples, horizon, action_dim] in physical units, given raw
    /// observations [observations, history, obs_dim]. With `physical` false, densities in the normalised model space.
    pub fn log_prob(
        &self,
        device: &Device,
        obs: &[f32],
        chunks: &[f32],
        options: &LogProbOptions,
    ) -> Result<Vec<f64>> {
        self.likelihood(device, options)?.log_prob(obs, chunks)
    }

    /// What [`Policy::log_prob`] computes with, to be used more than once.
    pub fn likelihood(&self, device: &Device, options: &LogProbOptions) -> Result<Likelihood> {
        self.spec.needs_flow("a log-likelihood")?;
        Ok(Likelihood {
            spec: self.spec.clone(),
            params: self.params(options.weights).clone(),
            space: ModelSpace::new(&self.spec),
            options: *options,
            device: device.clone(),
            compiled: None,
            outcomes: Vec::new(),
        })
    }
}

impl Likelihood {
    /// As [`Policy::log_prob`].
    pub fn log_prob(&mut self, obs: &[f32], chunks: &[f32]) -> Result<Vec<f64>> {
        let values = self.log_prob_each(obs, chunks)?;
        all_done(&self.outcomes, self.options.solver)?;
        Ok(values)
    }

    /// What became of each chunk in the last call; none if there was no call yet, or the last one failed as a whole.
    pub fn outcomes(&self) -> &[RowOutcome] {
        &self.outcomes
    }

    /// As [`Likelihood::log_prob`], but a chunk that fails is no error: its density is NaN, and its outcome says why.
    ///
    /// # Errors
    /// Arrays of another length, values that are not finite, or a failing device.
    pub fn log_prob_each(&mut self, obs: &[f32], chunks: &[f32]) -> Result<Vec<f64>> {
        self.outcomes.clear();
        let spec = &self.spec;
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
        let mut x = chunks.to_vec();
        let mut per_row = Vec::with_capacity(rows * spec.request());
        for (r, chunk) in x.chunks_exact_mut(spec.chunk()).enumerate() {
            let request = &obs[r / samples * spec.request()..][..spec.request()];
            per_row.extend_from_slice(request);
            self.space.enter(spec, request, chunk)?;
        }
        let (params, options) = (&self.params, self.options);
        let field = PolicyField(spec);
        let probes = match options.divergence {
            Divergence::Exact => spec.chunk(),
            Divergence::Hutchinson { probes, .. } => probes,
        };
        let piece = (LOG_PROB_ROWS / probes.max(1)).clamp(1, rows);
        let mut values = Vec::with_capacity(rows);
        let mut outcomes = Vec::with_capacity(rows);
        for first in (0..rows).step_by(piece) {
            let n = piece.min(rows - first);
            let mut log_prob = match self.compiled.take() {
                Some((size, log_prob)) if size == n => log_prob,
                _ => {
                    let batch = Batch { requests: n, samples: 1 };
                    let mut new = LogProb::new(
                        &self.device,
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
            values.extend(log_prob.run_each_from(first, chunks, &[requests])?.0);
            outcomes.extend_from_slice(log_prob.outcomes());
            self.compiled = Some((n, log_prob));
        }
        self.outcomes = outcomes;
        if options.physical {
            let jacobian = self.space.log_jacobian();
            values.iter_mut().for_each(|v| *v += jacobian);
        }
        Ok(values)
    }
}
