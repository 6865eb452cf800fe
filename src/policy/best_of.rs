//! The best of several candidates: all are sampled in one pass, and a score decides.

use super::sampler::expect;
use super::{Likelihood, Noise, Policy, PolicyError, Result, Sampler, SamplerOptions};
use crate::device::Device;

/// What was chosen for an observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Which candidate, from 0.
    pub candidate: usize,
    /// Its score.
    pub score: f64,
}

/// A policy compiled to sample several candidates for each observation and keep one.
pub struct BestOf {
    sampler: Sampler,
    candidates: Vec<f32>,
    /// What is scored in place of the candidates, where some have failed.
    scored: Vec<f32>,
}

impl Policy {
    /// Compiles `candidates` chunks for each of `observations` observations.
    pub fn best_of(
        &self,
        device: &Device,
        observations: usize,
        candidates: usize,
        options: &SamplerOptions,
    ) -> Result<BestOf> {
        let sampler = self.sampler(device, observations, candidates, options)?;
        let values = sampler.batch().rows() * self.spec.chunk();
        Ok(BestOf { sampler, candidates: vec![0.0; values], scored: Vec::new() })
    }
}

impl BestOf {
    /// Keeps for each observation the candidate that `score` likes most: it is given the number of the observation and a
    /// candidate [horizon, action_dim] in physical units. Of equals the first is kept; a NaN is never chosen, nor a candidate whose
    /// sampling failed, which is not scored. The chunks kept are [observations, horizon, action_dim].
    ///
    /// # Errors
    /// As [`Sampler::sample`], but for a failed candidate only if its observation has no other; [`PolicyError::NonFinite`] if all scores of an observation are NaN.
    pub fn by_score(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        mut score: impl FnMut(usize, &[f32]) -> f64,
        chunks: &mut [f32],
    ) -> Result<Vec<Choice>> {
        self.sample(obs, noise, chunks)?;
        let (chunk, samples) = (self.sampler.spec().chunk(), self.sampler.batch().samples);
        let scores: Vec<f64> = self
            .candidates
            .chunks_exact(chunk)
            .enumerate()
            .zip(self.sampler.outcomes())
            .map(|((row, candidate), outcome)| match outcome.status.is_done() {
                true => score(row / samples, candidate),
                false => f64::NAN,
            })
            .collect();
        self.keep(&scores, chunks)
    }

    /// Keeps for each observation the candidate that the policy itself finds most likely ([`Policy::likelihood`]).
    ///
    /// # Errors
    /// As [`Sampler::sample`] and [`Policy::log_prob`].
    pub fn by_log_prob(
        &mut self,
        obs: &[f32],
        noise: Noise<'_>,
        likelihood: &mut Likelihood,
        chunks: &mut [f32],
    ) -> Result<Vec<Choice>> {
        self.sample(obs, noise, chunks)?;
        let (chunk, samples) = (self.sampler.spec().chunk(), self.sampler.batch().samples);
        let done = |row: usize| self.sampler.outcomes()[row].status.is_done();
        // A failed candidate has no density: a sound one of the same observation is evaluated in its place, and not counted.
        self.scored.clear();
        for row in 0..self.sampler.batch().rows() {
            let first = row / samples * samples;
            let of = if done(row) { Some(row) } else { (first..first + samples).find(|row| done(*row)) };
            let of = of.unwrap_or(row);
            self.scored.extend_from_slice(&self.candidates[of * chunk..][..chunk]);
        }
        let mut scores = likelihood.log_prob(obs, &self.scored)?;
        scores.iter_mut().enumerate().filter(|(row, _)| !done(*row)).for_each(|(_, score)| *score = f64::NAN);
        self.keep(&scores, chunks)
    }

    /// All candidates of the last call, [observations, candidates, horizon, action_dim]; NaN where one failed.
    pub fn candidates(&self) -> &[f32] {
        &self.candidates
    }

    /// The sampler of the candidates.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    fn sample(&mut self, obs: &[f32], noise: Noise<'_>, chunks: &[f32]) -> Result<()> {
        let needed = self.sampler.batch().requests * self.sampler.spec().chunk();
        expect("chunks", chunks.len(), needed)?;
        let samples = self.sampler.batch().samples;
        let outcomes = self.sampler.sample_each(obs, noise, &mut self.candidates)?;
        match outcomes.chunks(samples).all(|each| each.iter().any(|outcome| outcome.status.is_done())) {
            true => Ok(()),
            false => Ok(self.sampler.integrator().all_done()?),
        }
    }

    fn keep(&self, scores: &[f64], chunks: &mut [f32]) -> Result<Vec<Choice>> {
        let (chunk, samples) = (self.sampler.spec().chunk(), self.sampler.batch().samples);
        let mut out = Vec::with_capacity(self.sampler.batch().requests);
        for (element, (scores, to)) in
            scores.chunks_exact(samples).zip(chunks.chunks_exact_mut(chunk)).enumerate()
        {
            let mut best: Option<Choice> = None;
            for (candidate, &score) in scores.iter().enumerate() {
                if !score.is_nan() && best.is_none_or(|b| score > b.score) {
                    best = Some(Choice { candidate, score });
                }
            }
            let Some(best) = best else {
                return Err(PolicyError::NonFinite {
                    what: "every score of an observation",
                    value: f32::NAN,
                    element,
                });
            };
            to.copy_from_slice(&self.candidates[(element * samples + best.candidate) * chunk..][..chunk]);
            out.push(best);
        }
        Ok(out)
    }
}
