//! Time of the exact minibatch coupling on one core: `cargo bench --bench coupling`.
//!
//! Pairs batches of 256 noise rows with rows that lie on a few clusters, as chunks of demonstrations do, and prints the
//! fastest, the median and the slowest of many batches: the cost matrix alone, then with the assignment. Standard normal rows against each other
//! are printed too, and a condition weight.

use advect::flow::coupling::{BatchShape, assign, exact};
use advect::kernel::philox::fill_normal;
use std::time::Instant;

const BATCH: usize = 256;
const BATCHES: usize = 50;
const REQUEST: usize = 10;

fn normals(count: usize, stream: u32, step: u64) -> Vec<f32> {
    let mut out = vec![0.0; count];
    fill_normal(1, stream, step, 0, &mut out);
    out
}

/// Rows around eight centres, a tenth as wide as the noise.
fn clustered(dim: usize, step: u64) -> Vec<f32> {
    let (centres, mut rows) = (normals(8 * dim, 1, 0), normals(BATCH * dim, 2, step));
    for (i, row) in rows.chunks_mut(dim).enumerate() {
        let centre = &centres[(i * 5 % 8) * dim..][..dim];
        row.iter_mut().zip(centre).for_each(|(v, c)| *v = 0.1 * *v + 1.5 * c);
    }
    rows
}

fn main() -> anyhow::Result<()> {
    println!("exact coupling of {BATCH} rows on one core, {BATCHES} batches; milliseconds");
    println!("{:>4}  {:<24} {:>8} {:>8} {:>8} {:>8}", "dim", "rows", "cost", "fastest", "median", "slowest");
    for dim in [2, 32, 72] {
        for (name, weight) in [
            ("normal", 0.0),
            ("clusters", 0.0),
            ("clusters, condition 1", 1.0),
            ("clusters, condition 100", 100.0),
        ] {
            let shape = BatchShape { batch: BATCH, dim, request: REQUEST };
            let mut cost = vec![0.0; BATCH * BATCH];
            let (mut matrix, mut whole) = (Vec::new(), Vec::new());
            for step in 0..BATCHES as u64 {
                let x = if name == "normal" { normals(BATCH * dim, 3, step) } else { clustered(dim, step) };
                let (y, z) = (normals(BATCH * dim, 4, step), normals(BATCH * REQUEST, 5, step));
                let start = Instant::now();
                exact::cost(&shape, weight, [&x, &y, &z], &mut cost)?;
                matrix.push(start.elapsed().as_secs_f64() * 1e3);
                assign(&cost, BATCH)?;
                whole.push(start.elapsed().as_secs_f64() * 1e3);
            }
            matrix.sort_by(f64::total_cmp);
            whole.sort_by(f64::total_cmp);
            let middle = BATCHES / 2;
            println!(
                "{dim:>4}  {name:<24} {:>8.3} {:>8.3} {:>8.3} {:>8.3}",
                matrix[middle],
                whole[0],
                whole[middle],
                whole[BATCHES - 1]
            );
        }
    }
    Ok(())
}
