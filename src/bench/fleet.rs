//! Sampling over several devices, measured.

use super::sample::SEED;
use super::{BenchError, Budget, OBS_DIM, Row, STATE_DIM, Setting, demonstrations, row, run_config};
use crate::device::{CounterSnapshot, Cpu, Device};
use crate::kernel::philox;
use crate::policy::{Noise, SamplerOptions, Share, Weights};
use crate::train::Trainer;

/// As [`sample`](super::sample()), the batch shared out over `devices` by their speed; and what each got. Dispatches and submits are not
/// counted.
pub fn fleet(
    devices: &[Device],
    setting: &Setting,
    batch: usize,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<(Row, Vec<Share>), BenchError> {
    let Setting { workload, solver, fusion, precision } = *setting;
    let cpu = Device::Cpu(Cpu::with_threads(1).map_err(crate::graph::GraphError::from)?);
    let data = demonstrations(4, 64, 1)?;
    let policy = Trainer::new(&cpu, &data, &run_config(workload, 1, 1))?.policy()?;
    let options =
        SamplerOptions { solver, fusion, precision, weights: Weights::Raw, ..SamplerOptions::default() };
    let mut fleet = policy.fleet(devices, batch, 1, None, &options)?;
    let mut observations = vec![0.0; batch * workload.history() * OBS_DIM];
    philox::fill_normal(SEED, 0, 0, 0, &mut observations);
    let mut chunks = vec![0.0; batch * STATE_DIM];
    let mut request = 0;
    let times = budget.measure(
        || {
            request += 1;
            Ok(fleet.sample(&observations, Noise::Seed { seed: SEED, request }, &mut chunks)?)
        },
        go_on,
    )?;
    let evaluations = solver.evaluations().map(|n| (n * batch) as f64);
    let operations = workload.sampling_operations(batch, &solver)?;
    let row = row("sample", batch, &times, evaluations, operations, &CounterSnapshot::default());
    Ok((row, fleet.shares()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Workload;
    use crate::flow::Solver;

    #[test]
    fn every_device_has_its_share() {
        let devices = [1, 2].map(|threads| Device::Cpu(Cpu::with_threads(threads).unwrap()));
        let setting = Setting::new(Workload::Mlp256, Solver::euler(1));
        let budget = Budget { seconds: 0.0, least: 2 };
        let (row, shares) = fleet(&devices, &setting, 64, budget, &mut |_| true).unwrap();
        assert!(row.p50_ms > 0.0 && row.batch == 64);
        assert_eq!(shares.iter().map(|s| s.chunks).sum::<usize>(), 64);
    }
}
