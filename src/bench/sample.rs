//! Sampling, measured.

use super::{BenchError, Budget, Row, STATE_DIM, Times, Workload, row};
use crate::device::{CounterSnapshot, Device};
use crate::flow::integrator::Start;
use crate::flow::{Batch, IntegrateOptions, Integrator, Solver};
use crate::graph::Fusion;
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
    pub(super) fn new(
        device: &Device,
        workload: Workload,
        solver: Solver,
        fusion: Fusion,
        batch: usize,
    ) -> Result<Sampling, BenchError> {
        let store = workload.parameters(SEED)?;
        let (rows, options) = (one_each(batch), IntegrateOptions { fusion, ..IntegrateOptions::default() });
        let mut integrator = Integrator::new(device, &workload, &store.layout, solver, rows, &options)?;
        integrator.set_params(&store.values)?;
        let mut observations = zeros("the observations", batch, workload.request_dim())?;
        philox::fill_normal(SEED, 0, 0, 0, &mut observations);
        let chunks = zeros("the result", batch, STATE_DIM)?;
        Ok(Sampling { integrator, observations, chunks, request: 0 })
    }

    fn run(&mut self) -> Result<(), BenchError> {
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
#[allow(clippy::too_many_arguments)] // what is measured, how, for how long
pub fn sample(
    device: &Device,
    workload: Workload,
    solver: Solver,
    fusion: Fusion,
    batch: usize,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Row, BenchError> {
    let (times, counts) = Sampling::new(device, workload, solver, fusion, batch)?.measure(budget, go_on)?;
    let evaluations = solver.evaluations().map(|n| (n * batch) as f64);
    let operations = workload.sampling_operations(batch, &solver)?;
    Ok(row("sample", batch, &times, evaluations, operations, &counts))
}

fn zeros(what: &'static str, batch: usize, cols: usize) -> Result<Vec<f32>, BenchError> {
    let elements = batch.saturating_mul(cols);
    let mut out = Vec::new();
    let failed = |_| BenchError::OutOfMemory { what, batch, bytes: elements.saturating_mul(4) };
    out.try_reserve_exact(elements).map_err(failed)?;
    out.resize(elements, 0.0);
    Ok(out)
}
