//! What it costs to hand half of a kernel to another thread: `cargo bench --bench hand_off`.
//!
//! Rounds of a kernel's life on two threads: work that one thread does alone, then two parts of the same length at once, by a team
//! whose members stay awake (`Team`) and by a parallel iterator of the pool. What a round takes beyond its work is the hand-off.

use advect::Cpu;
use rayon::prelude::*;
use std::time::{Duration, Instant};

const WORK: Duration = Duration::from_micros(20);
const ROUNDS: usize = 5_000;
const REPEATS: usize = 5;

/// Keeps a thread busy for as long as a small kernel does.
fn work() {
    let begun = Instant::now();
    while begun.elapsed() < WORK {
        std::hint::spin_loop();
    }
}

/// Microseconds of a round beyond its work.
fn beyond(mut round: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..ROUNDS).for_each(|_| round());
    (begun.elapsed().as_secs_f64() / ROUNDS as f64 - 2.0 * WORK.as_secs_f64()) * 1e6
}

fn main() -> anyhow::Result<()> {
    let cpu = Cpu::with_threads(2)?;
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..REPEATS {
        costs[0].push(cpu.lead(|team| {
            beyond(|| {
                work();
                team.for_each(2, |_| work());
            })
        }));
        costs[1].push(cpu.install(|| {
            beyond(|| {
                work();
                (0..2).into_par_iter().with_max_len(1).for_each(|_| work());
            })
        }));
    }
    let [team, pool] = costs.map(|mut c| {
        c.sort_by(f64::total_cmp);
        c[c.len() / 2]
    });
    println!(
        "a hand-off after {} us alone, medians of {REPEATS}: team {team:.1} us, pool {pool:.1} us",
        WORK.as_micros()
    );
    Ok(())
}
