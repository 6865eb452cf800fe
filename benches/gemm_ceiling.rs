//! How much of the machine's best matrix rate batched sampling reaches: `cargo bench --bench gemm_ceiling`.
//!
//! Interleaves one large product of the gemm crate (4,096 cubed, all threads) with sampling mlp256 by euler:10 at batch
//! 16,384, and prints the ratio of medians, counted in the operations that the plan really does and in the nominal ones.

use advect::bench::{Budget, Setting, Workload, sample};
use advect::{Cpu, Device, Solver};
use std::time::Instant;

const N: usize = 4096;
const BATCH: usize = 16_384;
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let cpu = Cpu::new()?;
    let threads = cpu.threads();
    let device = Device::Cpu(cpu.clone());
    let (a, b) = (vec![0.5f32; N * N], vec![0.25f32; N * N]);
    let mut c = vec![0.0f32; N * N];
    let (mut gemm_rates, mut nominal_rates) = (Vec::new(), Vec::new());
    let workload: Workload = "mlp256".parse()?;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        cpu.install(|| {
            let n = N as isize;
            // SAFETY: the three slices hold N x N elements each, and row-major strides of N stay inside them.
            unsafe {
                gemm::gemm(
                    N,
                    N,
                    N,
                    c.as_mut_ptr(),
                    1,
                    n,
                    false,
                    a.as_ptr(),
                    1,
                    n,
                    b.as_ptr(),
                    1,
                    n,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(threads),
                );
            }
        });
        gemm_rates.push(2.0 * (N as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9);
        let row = sample(
            &device,
            &Setting::new(workload, Solver::euler(10)),
            BATCH,
            Budget::seconds(2.0),
            &mut |_| true,
        )?;
        nominal_rates.push(row.gflops.unwrap_or_default());
    }
    let median = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let (gemm, nominal) = (median(&mut gemm_rates), median(&mut nominal_rates));
    // Staging leaves the state's columns of the first layer at every step: 32 of 116.
    let real =
        nominal * (32.0 * 256.0 + 2.0 * 65_536.0 + 8_192.0) / (116.0 * 256.0 + 2.0 * 65_536.0 + 8_192.0);
    println!("gemm crate, {N} cubed, {threads} threads: {gemm:.0} GFLOP/s");
    println!(
        "mlp256, batch {BATCH}, euler:10: {nominal:.0} GFLOP/s nominal, {real:.0} done: {:.0} % of the gemm crate's rate",
        100.0 * real / gemm
    );
    Ok(())
}
