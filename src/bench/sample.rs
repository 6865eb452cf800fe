//! Sampling, measured.

use super::{BenchError, Budget, Row, STATE_DIM, Workload, row};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::{Batch, IntegrateOptions, Integrator, Solver};
use crate::graph::Fusion;
use crate::kernel::philox;

/// Seed of parameters, observations and noise.
const SEED: u64 = 1;

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
    let store = workload.parameters(SEED)?;
    let rows = Batch { requests: batch, samples: 1 };
    let options = IntegrateOptions { fusion, ..IntegrateOptions::default() };
    let mut integrator = Integrator::new(device, &workload, &store.layout, solver, rows, &options)?;
    integrator.set_params(&store.values)?;
    let mut observations = zeros("the observations", batch, workload.request_dim())?;
    philox::fill_normal(SEED, 0, 0, 0, &mut observations);
    let mut chunks = zeros("the result", batch, STATE_DIM)?;
    let mut request = 0;
    let mut run = || {
        request += 1;
        let start = Start::Noise { seed: SEED, request };
        Ok(integrator.run(start, &[&observations], &mut chunks, None)?)
    };
    let times = budget.measure(&mut run, go_on)?;
    let before = integrator.counters();
    integrator.run(Start::Noise { seed: SEED, request: 0 }, &[&observations], &mut chunks, None)?;
    let counts = integrator.counters().since(&before);
    let evaluations = solver.evaluations().map(|n| (n * batch) as f64);
    let operations = workload.sampling_operations(batch, &solver)?;
    Ok(row("sample", batch, &times, evaluations, operations, &counts))
}

pub(super) fn zeros(what: &'static str, batch: usize, cols: usize) -> Result<Vec<f32>, BenchError> {
    let elements = batch.saturating_mul(cols);
    let mut out = Vec::new();
    let failed = |_| BenchError::OutOfMemory { what, batch, bytes: elements.saturating_mul(4) };
    out.try_reserve_exact(elements).map_err(failed)?;
    out.resize(elements, 0.0);
    Ok(out)
}
