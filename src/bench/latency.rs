//! Latency of one robot: how long a single chunk takes, call by call, and how much that varies.

use super::{BenchError, Setting, Times};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::{Batch, Integrator};
use crate::kernel::philox;
use serde::Serialize;
use std::time::Instant;

/// Calls that are measured: a p99.9 of them is the tenth longest.
pub const CALLS: usize = 10_000;
/// Calls of warming up.
const WARM_UP: usize = 200;
/// Seed of parameters, observations and noise.
const SEED: u64 = 1;

/// The times of single chunks, milliseconds: from an observation on the host to actions on the host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyRow {
    /// Calls measured.
    pub calls: usize,
    /// Median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 99.9th percentile.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Mean difference from one call to the next.
    pub jitter_ms: f64,
    /// Kernel launches of one call; 0 on the CPU.
    pub dispatches: u64,
    /// Command buffers of one call; 0 on the CPU.
    pub submits: u64,
}

/// Mean of |a call's time - the one before|.
fn jitter(ms: &[f64]) -> f64 {
    let differences = ms.windows(2).map(|w| (w[1] - w[0]).abs());
    differences.sum::<f64>() / (ms.len().max(2) - 1) as f64
}

/// Calls the sampler `calls` times, one after another, each time with another observation and other noise. `go_on` hears how far it is
/// (0 to 1) and may stop it.
pub fn latency(
    device: &Device,
    setting: &Setting,
    calls: usize,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<LatencyRow, BenchError> {
    let Setting { workload, solver, .. } = *setting;
    let store = workload.parameters(SEED)?;
    let (one, options) = (Batch { requests: 1, samples: 1 }, setting.options());
    let mut integrator = Integrator::new(device, &workload, &store.layout, solver, one, &options)?;
    integrator.set_params(&store.values)?;
    let mut observation = vec![0.0; workload.request_dim()];
    let mut chunk = vec![0.0; super::STATE_DIM];
    let mut ms = Vec::with_capacity(calls);
    let mut before = integrator.counters();
    for call in 0..WARM_UP + calls {
        philox::fill_normal(SEED, 0, call as u64, 0, &mut observation);
        if call == WARM_UP {
            before = integrator.counters();
        }
        let begun = Instant::now();
        integrator.run(
            Start::Noise { seed: SEED, request: call as u64 },
            &[&observation],
            &mut chunk,
            None,
        )?;
        if call >= WARM_UP {
            ms.push(1e3 * begun.elapsed().as_secs_f64());
        }
        if !go_on(call as f64 / (WARM_UP + calls) as f64) {
            return Err(BenchError::Stopped);
        }
    }
    let counts = integrator.counters().since(&before);
    let jitter_ms = jitter(&ms);
    let times = Times::new(ms);
    Ok(LatencyRow {
        calls,
        p50_ms: times.percentile(0.5),
        p99_ms: times.percentile(0.99),
        p999_ms: times.percentile(0.999),
        max_ms: times.percentile(1.0),
        jitter_ms,
        dispatches: counts.dispatches / calls.max(1) as u64,
        submits: counts.submits / calls.max(1) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Workload;
    use crate::device::DeviceChoice;
    use crate::flow::Solver;

    #[test]
    fn jitter_is_from_call_to_call() {
        assert_eq!(jitter(&[1.0, 3.0, 2.0]), 1.5);
        assert_eq!((jitter(&[1.0]), jitter(&[])), (0.0, 0.0));
    }

    #[test]
    fn every_call_counts_and_percentiles_rise() {
        let device = Device::open(&DeviceChoice::Cpu).unwrap();
        let setting = Setting::new(Workload::Mlp256, Solver::euler(2));
        let row = latency(&device, &setting, 50, &mut |_| true).unwrap();
        assert_eq!(row.calls, 50);
        assert!(0.0 < row.p50_ms && row.p50_ms <= row.p99_ms && row.p999_ms <= row.max_ms, "{row:?}");
        let stopped = latency(&device, &setting, 50, &mut |_| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }
}
