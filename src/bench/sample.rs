//! Sampling, measured.

use super::{BenchError, Budget, Row, STATE_DIM, Setting, Times, row};
use crate::device::{CounterSnapshot, Device};
use crate::flow::integrator::Start;
use crate::flow::{Batch, Integrator};
use crate::graph::Precision;
use crate::kernel::philox;

/// Seed of parameters, observations and noise.
pub(super) const SEED: u64 = 1;

/// A sampler of random weights with all that its runs need. One run draws the noise of `batch` chunks, each with an
/// observation of its own, integrates, and has the result on the host.
pub(super) struct Sampling {
    pub(super) integrator: Integrator,
    observations: Vec<f32>,
    chunks: Vec<f32>,
    request: u64,
}

impl Sampling {
    pub(super) fn new(device: &Device, setting: &Setting, batch: usize) -> Result<Sampling, BenchError> {
        let Setting { workload, solver, .. } = *setting;
        let store = workload.parameters(SEED)?;
        let (rows, options) = (one_each(batch), setting.options());
        let mut integrator = Integrator::new(device, &workload, &store.layout, solver, rows, &options)?;
        integrator.set_params(&store.values)?;
        let mut observations = zeros("the observations", batch, workload.request_dim())?;
        philox::fill_normal(SEED, 0, 0, 0, &mut observations);
        let chunks = zeros("the result", batch, STATE_DIM)?;
        Ok(Sampling { integrator, observations, chunks, request: 0 })
    }

    pub(super) fn run(&mut self) -> Result<(), BenchError> {
        self.request += 1;
        let start = Start::Noise { seed: SEED, request: self.request };
        Ok(self.integrator.run(start, &[&self.observations], &mut self.chunks, None)?)
    }

    /// Times of runs, and what one run asks of the device.
    pub(super) fn measure(
        &mut self,
        budget: Budget,
        go_on: &mut dyn FnMut(f64) -> bool,
    ) -> Result<(Times, CounterSnapshot), BenchError> {
        let times = budget.measure(|| self.run(), go_on)?;
        let before = self.integrator.counters();
        self.run()?;
        Ok((times, self.integrator.counters().since(&before)))
    }
}

/// Every chunk with an observation of its own.
pub(super) fn one_each(batch: usize) -> Batch {
    Batch { requests: batch, samples: 1 }
}

/// Measures sampling: one run draws the noise of `batch` chunks, each with an observation of its own, integrates, and
/// has the result on the host. `go_on` hears how far it is (0 to 1) and may stop it.
pub fn sample(
    device: &Device,
    setting: &Setting,
    batch: usize,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Row, BenchError> {
    let mut sampling = Sampling::new(device, setting, batch)?;
    let (times, counts) = sampling.measure(budget, go_on)?;
    let Setting { workload, solver, .. } = *setting;
    let evaluations = solver.evaluations().map(|n| (n * batch) as f64);
    let operations = workload.sampling_operations(batch, &solver)?;
    let row = row("sample", batch, &times, evaluations, operations, &counts);
    let precision_error = match setting.precision {
        Precision::F32 => None,
        Precision::F16 => {
            let single = Setting { precision: Precision::F32, ..*setting };
            let mut exact = Sampling::new(device, &single, batch)?;
            exact.request = sampling.request;
            sampling.run()?;
            exact.run()?;
            Some(distance(&sampling.chunks, &exact.chunks))
        }
    };
    Ok(Row { precision_error, ..row })
}

/// Relative L2 distance.
fn distance(found: &[f32], exact: &[f32]) -> f64 {
    let squares = |of: &dyn Fn(f32, f32) -> f64| -> f64 {
        found.iter().zip(exact).map(|(f, e)| of(*f, *e).powi(2)).sum()
    };
    (squares(&|f, e| f64::from(f) - f64::from(e)) / squares(&|_, e| f64::from(e))).sqrt()
}

pub(super) fn zeros(what: &'static str, batch: usize, cols: usize) -> Result<Vec<f32>, BenchError> {
    let elements = batch.saturating_mul(cols);
    let mut out = Vec::new();
    let failed = |_| BenchError::OutOfMemory { what, batch, bytes: elements.saturating_mul(4) };
    out.try_reserve_exact(elements).map_err(failed)?;
    out.resize(elements, 0.0);
    Ok(out)
}
