//! On the CPU the order of every sum is that of the shapes: neither the number of threads nor the rows beside a row change a bit, in
//! training or in sampling.

use advect::data::{EpisodeArrays, Episodes};
use advect::device::{Cpu, Device};
use advect::flow::Coupling;
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::residual::Residual;
use advect::nn::transformer::Transformer;
use advect::nn::unet1d::Unet1d;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::objective::Objective;
use advect::objective::act::ActObjective;
use advect::policy::{Noise, NoiseKey, Policy, SamplerOptions};
use advect::{RunConfig, Trainer};

/// More than the processors of most machines that run this.
const THREADS: [usize; 6] = [1, 2, 3, 4, 8, 16];

fn device(threads: usize) -> Device {
    Device::Cpu(Cpu::with_threads(threads).expect("threads start"))
}

/// Episodes of three numbers and two actions, of which every step is another.
fn episodes() -> Episodes {
    let (count, length) = (12, 40);
    let wave = |i: usize, f: f32| (f * i as f32).sin() + 0.01 * i as f32;
    let steps = count * length;
    let obs = (0..3 * steps).map(|i| wave(i, 0.37)).collect();
    let action = (0..2 * steps).map(|i| wave(i, 0.53)).collect();
    let lengths = vec![length; count];
    let arrays = EpisodeArrays { obs, action, obs_dim: 3, action_dim: 2, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the episodes are sound")
}

const TIME: TimeInput = TimeInput::Sinusoidal { dim: 32, scale: 99.0, max_period: 10_000.0 };

/// A configuration by name. Widths on both sides of what fills vectors, and products of few and of many rows.
fn config(name: &str, batch_size: usize) -> RunConfig {
    let network = match name {
        "unet" => NetworkSpec::Unet1d(Unet1d {
            down_dims: vec![16, 32],
            kernel_size: 3,
            groups: 4,
            final_groups: 8,
            time: TIME,
            film_scale: true,
        }),
        "transformer" => NetworkSpec::Transformer(Transformer {
            width: 32,
            layers: 1,
            heads: 2,
            mlp_ratio: 2,
            ..Transformer::default()
        }),
        "residual" => NetworkSpec::Residual(Residual {
            width: 48,
            blocks: 1,
            activation: Activation::Mish,
            time: TIME,
            conditioning: Conditioning::Concat,
        }),
        _ => NetworkSpec::Mlp(Mlp {
            hidden: vec![144, 100],
            activation: Activation::Silu,
            time: TIME,
            conditioning: Conditioning::Concat,
        }),
    };
    let act = ActObjective {
        width: 32,
        heads: 2,
        feedforward: 64,
        encoder_layers: 1,
        vae_encoder_layers: 1,
        latent_dim: 4,
        ..ActObjective::default()
    };
    let coupling = match name {
        "exact" => Coupling::ExactOt { condition_weight: 1.0 },
        "sinkhorn" => Coupling::Sinkhorn { reg: 0.5, iterations: 5, condition_weight: 1.0 },
        _ => Coupling::Independent,
    };
    let objective = if name == "act" { Objective::Act(act) } else { RunConfig::default().objective };
    let base = RunConfig { horizon: 8, pad_after: 7, validation_fraction: 0.1, ..RunConfig::default() };
    RunConfig { objective, network, coupling, batch_size, ..base.in_steps(3) }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Three steps, enough for a bit that differs to reach all weights.
fn trained(config: &RunConfig, threads: usize) -> (Policy, Vec<u64>) {
    let mut trainer = Trainer::new(&device(threads), &episodes(), config).expect("a trainer");
    let progress = trainer.advance(3).expect("three steps");
    let loss = trainer.validate().expect("a validation").expect("an episode is held out");
    let numbers = vec![progress.loss.to_bits(), u64::from(progress.grad_norm.to_bits()), loss.to_bits()];
    (trainer.policy().expect("a policy"), numbers)
}

#[test]
fn threads_change_no_bit_of_training() {
    let mut differing = Vec::new();
    for (name, batches) in [
        ("mlp", &[128, 256, 131][..]),
        ("unet", &[128, 37]),
        ("transformer", &[128, 33]),
        ("residual", &[256, 77]),
        ("act", &[128, 35]),
        ("exact", &[128]),
        ("sinkhorn", &[256]),
    ] {
        for batch in batches {
            let config = config(name, *batch);
            let (first, numbers) = trained(&config, THREADS[0]);
            for threads in &THREADS[1..] {
                let (other, again) = trained(&config, *threads);
                let equal = bits(&other.weights.values) == bits(&first.weights.values)
                    && bits(&other.ema.values) == bits(&first.ema.values);
                if !equal || again != numbers {
                    differing.push(format!("{name}, batch {batch}, {threads} threads"));
                }
            }
        }
    }
    assert!(differing.is_empty(), "other weights than on one thread: {differing:#?}");
}

/// A chunk for each of some robots, of which robot i always sees and draws the same.
fn chunks(policy: &Policy, threads: usize, solver: &str, robots: usize) -> Vec<Vec<u32>> {
    let options = SamplerOptions { solver: solver.parse().expect("a solver"), ..Default::default() };
    let mut sampler = policy.sampler(&device(threads), robots, 1, &options).expect("a sampler");
    let request = policy.spec.request();
    let obs: Vec<f32> = (0..robots * request).map(|i| (0.71 * i as f32).sin()).collect();
    let keys: Vec<NoiseKey> = (0..robots as u64).map(|robot| NoiseKey { seed: 3, request: robot }).collect();
    let mut out = vec![0.0; robots * policy.spec.chunk()];
    sampler.sample(&obs, Noise::PerObservation(&keys), &mut out).expect("chunks");
    out.chunks_exact(policy.spec.chunk()).map(bits).collect()
}

#[test]
fn neither_threads_nor_company_change_a_bit_of_a_sample() {
    let mut differing = Vec::new();
    for (name, solvers) in [
        ("mlp", &["euler:4", "heun:2", "dopri5:1e-3:1e-3"][..]),
        ("unet", &["euler:3", "dopri5:1e-2:1e-2"]),
        ("transformer", &["euler:3", "dopri5:1e-2:1e-2"]),
        ("residual", &["euler:3"]),
        ("act", &["euler:1"]),
    ] {
        let (policy, _) = trained(&config(name, 64), 2);
        for solver in solvers {
            let most = chunks(&policy, 1, solver, 70);
            for (threads, robots) in [
                (2, 70),
                (3, 70),
                (4, 70),
                (8, 70),
                (16, 70),
                (1, 1),
                (2, 1),
                (2, 2),
                (4, 3),
                (2, 12),
                (2, 64),
            ] {
                let some = chunks(&policy, threads, solver, robots);
                let wrong = some.iter().zip(&most).filter(|(a, b)| a != b).count();
                if wrong > 0 {
                    differing.push(format!("{name} by {solver}: {wrong} of {robots} on {threads} threads"));
                }
            }
        }
    }
    assert!(differing.is_empty(), "other chunks than among 70 on one thread: {differing:#?}");
}
