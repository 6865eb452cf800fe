//! What a comparison finds, as compare.json has it.

use super::measures::{Reproductions, Straightness};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Measured.
    Ok,
    /// The method does not do this.
    NotApplicable,
    /// It was tried and failed: training or sampling was not finite.
    Failed,
}

/// One method with one seed and one number of evaluations. A measure that does not apply is null; [`Report::absent`] says why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The method's id.
    pub method: String,
    /// The training's seed.
    pub seed: u64,
    /// Evaluations of the network for one sample.
    pub nfe: usize,
    /// How it went.
    pub status: Status,
    /// Why it is not ok.
    pub reason: Option<String>,
    /// To the held-out chunks, the mean over a few draws of the sampling noise.
    pub energy_distance: Option<f64>,
    /// Sample standard deviation over these draws.
    pub energy_distance_sd: Option<f64>,
    /// The same of chunks together with their observations, standardised.
    pub energy_distance_joint: Option<f64>,
    /// Sample standard deviation over the draws.
    pub energy_distance_joint_sd: Option<f64>,
    /// To the held-out chunks, the mean over the draws.
    pub sliced_wasserstein: Option<f64>,
    /// Share of the modes that are covered.
    pub mode_coverage: Option<f64>,
    /// Evenness of the modes, 0 to 1.
    pub mode_balance: Option<f64>,
    /// The smallest share that a mode of any observation has.
    pub mode_least: Option<f64>,
    /// Share of the samples that are in the support, over all draws.
    pub validity: Option<f64>,
    /// Mean end-point error of closed-loop reproductions, a part of the shape's size.
    pub end_error: Option<f64>,
    /// Mean time warping distance of these to the closest demonstration, a part of the shape's size.
    pub dtw: Option<f64>,
    /// Reproductions that diverged.
    pub diverged: Option<usize>,
    /// The reproductions of each shape.
    pub shapes: Vec<Reproductions>,
    /// Median time of one chunk, milliseconds.
    pub latency_ms: Option<f64>,
    /// Chunks per second in one large batch.
    pub samples_per_s: Option<f64>,
    /// Time of the training, seconds.
    pub train_s: Option<f64>,
}

impl Row {
    /// A row without measures.
    pub fn empty(method: &str, seed: u64, nfe: usize, status: Status, reason: Option<String>) -> Row {
        Row {
            method: method.into(),
            seed,
            nfe,
            status,
            reason,
            energy_distance: None,
            energy_distance_sd: None,
            energy_distance_joint: None,
            energy_distance_joint_sd: None,
            sliced_wasserstein: None,
            mode_coverage: None,
            mode_balance: None,
            mode_least: None,
            validity: None,
            end_error: None,
            dtw: None,
            diverged: None,
            shapes: Vec::new(),
            latency_ms: None,
            samples_per_s: None,
            train_s: None,
        }
    }
}

/// What one training run gave besides its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The method's id.
    pub method: String,
    /// The training's seed.
    pub seed: u64,
    /// How it went.
    pub status: Status,
    /// Why it is not ok.
    pub reason: Option<String>,
    /// Number of parameters.
    pub parameters: Option<usize>,
    /// Mean loss of the last line of metrics; losses of different objectives do not compare.
    pub loss: Option<f64>,
    /// Time of the steps, seconds.
    pub train_s: Option<f64>,
    /// Mean log-likelihood of held-out chunks, nats per chunk, per physical unit.
    pub log_likelihood: Option<f64>,
    /// How straight the flow is.
    pub straightness: Option<Straightness>,
    /// For each measure of these that is null, why.
    pub absent: BTreeMap<String, String>,
}

/// A finished (method, seed).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The training.
    pub training: Training,
    /// A row for each number of evaluations.
    pub rows: Vec<Row>,
    /// What report.html draws of it.
    pub pictures: super::evaluate::Pictures,
}

/// Measures of draws of the law itself: what a perfect sampler scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// See [`Row::energy_distance`].
    pub energy_distance: f64,
    /// See [`Row::energy_distance_joint`].
    pub energy_distance_joint: Option<f64>,
    /// See [`Row::sliced_wasserstein`].
    pub sliced_wasserstein: f64,
    /// See [`Row::validity`].
    pub validity: Option<f64>,
}

/// compare.json.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The task's id or file.
    pub task: String,
    /// Optimiser steps of every method.
    pub steps: u64,
    /// The device.
    pub device: String,
    /// The network of every method.
    pub network: String,
    /// Windows per step.
    pub batch_size: usize,
    /// Held-out pairs.
    pub held_out: usize,
    /// What a perfect sampler scores.
    pub reference: Reference,
    /// Measures that this task does not have, and why.
    pub absent: BTreeMap<String, String>,
    /// One for each method, seed and number of evaluations.
    pub results: Vec<Row>,
    /// One for each method and seed.
    pub training: Vec<Training>,
    /// Means and deviations over the seeds.
    pub summary: Vec<super::summary::Mean>,
    /// Every method at the same quality.
    pub equal_quality: super::summary::EqualQuality,
}
