//! How close sampling at batch 1 comes to the memory's speed: `cargo bench --bench weight_stream`.
//!
//! Interleaves reading 512 MiB on all threads with sampling the U-Net workload by euler:10 at batch 1. Each solver step must
//! read the weights of all convolutions and norms once, so their bytes over the measured rate are a floor for the step.

use advect::bench::{Budget, Setting, Workload, sample};
use advect::{Cpu, Device, Solver};
use rayon::prelude::*;
use std::time::Instant;

const ELEMENTS: usize = 128 << 20;
const STEPS: usize = 10;
const ROUNDS: usize = 5;

/// The sum of a part, in independent lanes so that nothing but the memory limits it.
fn read(part: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 64];
    for chunk in part.as_chunks::<64>().0 {
        for (l, v) in lanes.iter_mut().zip(chunk) {
            *l += v;
        }
    }
    lanes.iter().sum()
}

fn main() -> anyhow::Result<()> {
    let cpu = Cpu::new()?;
    let (threads, device) = (cpu.threads(), Device::Cpu(cpu.clone()));
    let workload: Workload = "unet1d".parse()?;
    let store = workload.parameters(0)?;
    // What staging computes ahead of the steps is not read in them.
    let ahead = |name: &str| name.contains("cond_encoder") || name.contains("step_encoder");
    let weights: usize = store.layout.iter().filter(|p| !ahead(&p.name)).map(|p| 4 * p.shape.len()).sum();
    let memory = vec![1.0f32; ELEMENTS];
    let (mut rates, mut times, mut fastest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let sum: f32 =
            cpu.install(|| memory.par_chunks(ELEMENTS.div_ceil(threads * 8)).map(read).sum::<f32>());
        anyhow::ensure!(sum > 0.0, "nothing was read");
        rates.push(4.0 * ELEMENTS as f64 / start.elapsed().as_secs_f64() / 1e9);
        let row = sample(
            &device,
            &Setting::new(workload, Solver::euler(STEPS)),
            1,
            Budget::seconds(2.0),
            &mut |_| true,
        )?;
        times.push(row.p50_ms);
        fastest.push(row.min_ms);
    }
    let best = rates.iter().copied().fold(0.0, f64::max);
    let least = fastest.iter().copied().fold(f64::INFINITY, f64::min);
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let floor = (STEPS * weights) as f64 / best / 1e6;
    println!("reading 512 MiB, {threads} threads: {best:.1} GB/s at best of {ROUNDS}");
    println!(
        "unet1d, batch 1, euler:{STEPS}: median {median:.1} ms, fastest {least:.1} ms; {:.0} MB of weights a step: floor {floor:.1} ms, \
         {:.2} of it at the median, {:.2} at the fastest",
        weights as f64 / 1e6,
        median / floor,
        least / floor
    );
    Ok(())
}
