//! Integrates a velocity field of your own with the batched solvers, on any device, and compares with the closed form.
//!
//! The field: undamped oscillators, each with its own frequency. The state is [position q (m), velocity p (m/s), angular
//! frequency w (rad/s)]; dq/dt = p, dp/dt = -w^2 q, dw/dt = 0. Time in s, from 0 to 2.
//!
//! Run: `cargo run --release --example custom_field` (ADVECT_DEVICE=gpu for WGSL)

use advect::flow::field::FnField;
use advect::flow::integrator::Start;
use advect::flow::{Batch, IntegrateOptions, Integrator};
use advect::graph::{ParamLayout, Shape};
use advect::{Device, Solver};
use std::time::Instant;

/// Oscillators in the batch.
const ROWS: usize = 4096;
const END: f64 = 2.0;

fn main() -> anyhow::Result<()> {
    let device = Device::from_env()?;
    println!("{ROWS} oscillators for {END} s on {}", device.describe());
    println!("{:<18} {:>16} {:>12}", "solver", "worst error (m)", "time (ms)");

    // A field is a graph: velocity [rows, 3] of state [rows, 3]; the time is not used here.
    let field = FnField::new(3, |g, state, _time| {
        let q = g.slice(state, 0, 1)?;
        let p = g.slice(state, 1, 1)?;
        let w = g.slice(state, 2, 1)?;
        let w2 = g.mul(w, w)?;
        let pull = g.mul(w2, q)?;
        let dp = g.affine(pull, -1.0, 0.0)?;
        let zero = g.constant(Shape::matrix(1, 1), vec![0.0])?;
        let rows = g.shape(q);
        let dw = g.broadcast(zero, rows)?;
        g.concat(&[p, dp, dw])
    });

    // Start states [ROWS, 3], row-major.
    let start: Vec<f32> = (0..ROWS)
        .flat_map(|i| {
            let part = i as f32 / ROWS as f32;
            [1.0 - part, part, 1.0 + 4.0 * part]
        })
        .collect();

    for solver in ["euler:100", "midpoint:50", "rk4:25", "rk4:100", "dopri5:1e-4:1e-6", "tsit5:1e-5:1e-7"] {
        let solver: Solver = solver.parse()?;
        // Fixed-step solvers take a grid of times; adaptive ones its ends.
        let times: Vec<f64> = match solver {
            Solver::Fixed { steps, .. } => (0..=steps).map(|k| END * k as f64 / steps as f64).collect(),
            _ => vec![0.0, END],
        };
        let options = IntegrateOptions { times: Some(&times), ..IntegrateOptions::default() };
        let batch = Batch { requests: 1, samples: ROWS };
        let mut integrator =
            Integrator::new(&device, &field, &ParamLayout::default(), solver, batch, &options)?;
        integrator.set_params(&[])?;
        let mut end = vec![0.0f32; 3 * ROWS];
        // Once to warm up, once for the clock.
        integrator.run(Start::Given(&start), &[], &mut end, None)?;
        let clock = Instant::now();
        integrator.run(Start::Given(&start), &[], &mut end, None)?;
        let ms = clock.elapsed().as_secs_f64() * 1e3;
        let worst =
            start.chunks_exact(3).zip(end.chunks_exact(3)).map(|(a, b)| error(a, b)).fold(0.0, f64::max);
        println!("{:<18} {worst:>16.1e} {ms:>12.2}", solver.to_string());
        anyhow::ensure!(worst < 0.5, "{solver} is off by {worst} m");
    }
    Ok(())
}

/// Distance from q(t) = q0 cos(w t) + p0 / w sin(w t), m.
fn error(start: &[f32], end: &[f32]) -> f64 {
    let [q, p, w] = [0, 1, 2].map(|i| f64::from(start[i]));
    let exact = q * (w * END).cos() + p / w * (w * END).sin();
    (f64::from(end[0]) - exact).abs()
}
