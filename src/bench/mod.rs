//! Measuring how fast a device samples (and trains) networks of known size: what `advect bench` prints.
//!
//! GFLOP/s are nominal: two operations for each element of each weight matrix (and each step that a convolution multiplies it
//! with), for each sample and each evaluation of the velocity, the whole network every time. Work that the engine saves (what depends on the time or the observation
//! alone is computed once, not at each step) counts as done, so numbers of different engines compare; activations,
//! biases, embeddings and the solver's own arithmetic count as nothing.

mod control;
mod fleet;
mod latency;
mod roofline;
mod sample;
mod timing;
mod train;
mod tune;
mod workload;

pub use control::{ControlRow, RATE_HZ, control};
pub use fleet::fleet;
pub use latency::{CALLS, LatencyRow, latency};
pub use roofline::{
    Gap, OUTSIDE, Peaks, RooflineReport, RooflineRow, StageCost, peaks, plot, roofline, roofline_train,
};
pub use sample::sample;
pub use timing::{Budget, Times};
pub use train::{TRAIN_BATCH, demonstrations, run_config, train};
pub use tune::{SkippedBatch, Subject, TuneOptions, TuneResult, TuneRow, WayTime, tune};
pub use workload::{ACTION_DIM, HORIZON, OBS_DIM, STATE_DIM, Workload};

use crate::control::ControlError;
use crate::device::{CounterSnapshot, Device};
use crate::flow::{FlowError, IntegrateOptions, Solver};
use crate::graph::{Fusion, Precision};
use crate::policy::{PolicyError, Share};
use crate::train::TrainError;
use serde::Serialize;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The network.
    pub workload: Workload,
    /// How the flow is integrated.
    pub solver: Solver,
    /// How the steps are scheduled on the device.
    pub fusion: Fusion,
    /// How weights are stored.
    pub precision: Precision,
}

impl Setting {
    /// A workload and a solver as a sampler would have them.
    pub fn new(workload: Workload, solver: Solver) -> Setting {
        Setting { workload, solver, fusion: Fusion::Auto, precision: Precision::F32 }
    }

    fn options(&self) -> IntegrateOptions<'static> {
        let (fusion, precision) = (self.fusion, self.precision);
        IntegrateOptions { fusion, precision, ..IntegrateOptions::default() }
    }
}

/// Why a measurement came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The caller asked to stop.
    #[error("the measurement was stopped")]
    Stopped,
    /// A workload that does not exist.
    #[error("unknown workload {found:?}, needed {needed}")]
    Workload {
        /// The text.
        found: String,
        /// The names that there are.
        needed: String,
    },
    /// The host has no memory for inputs and results.
    #[error("out of memory: {what} of batch {batch} needs {bytes} bytes")]
    OutOfMemory {
        /// What for.
        what: &'static str,
        /// The batch.
        batch: usize,
        /// How much.
        bytes: usize,
    },
    /// Sampling failed.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The policy could not be made.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The control loop failed.
    #[error(transparent)]
    Control(Box<ControlError>),
}

impl From<ControlError> for BenchError {
    fn from(error: ControlError) -> Self {
        BenchError::Control(Box::new(error))
    }
}

impl From<crate::graph::GraphError> for BenchError {
    fn from(error: crate::graph::GraphError) -> Self {
        BenchError::Flow(error.into())
    }
}

/// One line of the table. Milliseconds are of one run (of training, one step); rates are by the median.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `sample` or `train`.
    pub what: &'static str,
    /// Samples in one run.
    pub batch: usize,
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// The fastest run, milliseconds.
    pub min_ms: f64,
    /// Samples (action chunks) per second.
    pub chunks_per_s: f64,
    /// Evaluations of the network per second, of one sample each; none for adaptive solvers, which choose how many.
    pub evals_per_s: Option<f64>,
    /// 10^9 nominal operations per second; none for adaptive solvers.
    pub gflops: Option<f64>,
    /// Kernel launches of one run; 0 on the CPU.
    pub dispatches: u64,
    /// Command buffers of one run; 0 on the CPU.
    pub submits: u64,
    /// With weights in half precision: relative L2 distance of the chunks to those of single precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision_error: Option<f64>,
    /// Of training: what a step is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<TrainStep>,
}

/// What a training step is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrainStep {
    /// Kernel calls: dispatches on a GPU.
    pub calls: usize,
    /// `layers`, or the name of the variant that runs the network forward and backward in one call.
    pub way: &'static str,
}

/// What `advect bench --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The device in one line.
    pub device: String,
    /// The workload's name.
    pub workload: &'static str,
    /// The solver.
    pub solver: String,
    /// Threads of the CPU executor; 0 on a GPU.
    pub threads: usize,
    /// The measurements, in the order asked for.
    pub results: Vec<Row>,
    /// What each device computed of each batch, if there were several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Vec<Share>>,
    /// Single chunks call by call, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyRow>,
    /// The control loop, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<ControlRow>,
}

/// Threads of the CPU executor, 0 on a GPU.
pub fn threads(device: &Device) -> usize {
    match device {
        Device::Cpu(cpu) => cpu.threads(),
        Device::Gpu(_) => 0,
    }
}

/// A row from times, nominal operations and evaluations of one run, and what that run asked of the device.
fn row(
    what: &'static str,
    batch: usize,
    times: &Times,
    evaluations: Option<f64>,
    operations: Option<f64>,
    counts: &CounterSnapshot,
) -> Row {
    let p50_ms = times.percentile(0.5);
    let per_second = |n: f64| 1e3 * n / p50_ms;
    Row {
        what,
        batch,
        p50_ms,
        p99_ms: times.percentile(0.99),
        min_ms: times.percentile(0.0),
        chunks_per_s: per_second(batch as f64),
        evals_per_s: evaluations.map(per_second),
        gflops: operations.map(|n| per_second(n) * 1e-9),
        dispatches: counts.dispatches,
        submits: counts.submits,
        precision_error: None,
        step: None,
    }
}
