//! What couplings cost: `cargo bench --bench coupling`, `-- step` for the second table alone.
//!
//! First the exact coupling on one core.
//! Pairs batches of 256 noise rows with rows that lie on a few clusters, as chunks of demonstrations do, and prints the
//! fastest, the median and the slowest of many batches: the cost matrix alone, then with the assignment. Standard normal rows against each other
//! are printed too, and a condition weight.
//!
//! Then a training step on the shipped demonstrations (data/pusht.npz) with each coupling, in turns so that a busy machine is as
//! busy for all: the reference policy's network, and wider ones whose step takes longer. ADVECT_DEVICE names the device.

use advect::data::Episodes;
use advect::device::{Device, DeviceChoice};
use advect::flow::Coupling;
use advect::flow::coupling::{BatchShape, assign, exact};
use advect::kernel::philox::fill_normal;
use advect::nn::NetworkSpec;
use advect::train::{RunConfig, Trainer};
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
    if !std::env::args().any(|a| a == "step") {
        batches()?;
    }
    steps()
}

/// Steps between two looks at the device, and how often every trainer has its turn.
const STEPS: u64 = 5;
const ROUNDS: usize = 30;

fn steps() -> anyhow::Result<()> {
    let choice: DeviceChoice = std::env::var("ADVECT_DEVICE").unwrap_or("auto".into()).parse()?;
    let device = Device::open(&choice)?;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let config = RunConfig::load(&root.join("pusht.toml"))?;
    let episodes = Episodes::load_npz(root.join("pusht.npz"), &config.data)?;
    println!(
        "training step of {BATCH} windows on {}, median of {ROUNDS} turns; milliseconds",
        device.describe()
    );
    let couplings = [
        ("independent", Coupling::Independent),
        ("exact", Coupling::ExactOt { condition_weight: 0.0 }),
        ("exact, condition 1", Coupling::ExactOt { condition_weight: 1.0 }),
        // A twentieth of the mean cost, which is twice the 32 values of a chunk.
        ("sinkhorn 3.2, 10 times", Coupling::Sinkhorn { reg: 3.2, iterations: 10, condition_weight: 0.0 }),
        ("sinkhorn 3.2, 20 times", Coupling::Sinkhorn { reg: 3.2, iterations: 20, condition_weight: 0.0 }),
    ];
    for width in [384, 768] {
        let mut config = config.clone();
        if let NetworkSpec::Residual(network) = &mut config.network {
            network.width = width;
        }
        let mut trainers = Vec::new();
        for (_, coupling) in couplings {
            let config = RunConfig { coupling, validation_fraction: 0.0, ..config.clone() };
            let mut trainer = Trainer::new(&device, &episodes, &config)?;
            trainer.advance(STEPS)?;
            trainers.push((trainer, Vec::new()));
        }
        for _ in 0..ROUNDS {
            for (trainer, times) in &mut trainers {
                let start = Instant::now();
                trainer.advance(STEPS)?;
                times.push(start.elapsed().as_secs_f64() * 1e3 / STEPS as f64);
            }
        }
        let mut first = None;
        for ((name, _), (_, times)) in couplings.iter().zip(&mut trainers) {
            times.sort_by(f64::total_cmp);
            let (fastest, median) = (times[0], times[ROUNDS / 2]);
            let (least, middle) = *first.get_or_insert((fastest, median));
            let more = |a: f64, b: f64| 100.0 * (a / b - 1.0);
            println!(
                "width {width:>5}  {name:<22} fastest {fastest:>7.2} ({:>+5.1} %)  median {median:>7.2} ({:>+5.1} %)",
                more(fastest, least),
                more(median, middle)
            );
        }
    }
    Ok(())
}

fn batches() -> anyhow::Result<()> {
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
