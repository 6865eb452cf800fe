//! Trains a policy on a toy made in memory, and samples it: a few seconds on a CPU.
//!
//! The toy: a hand at the origin reaches for a cup at x in [-0.2, 0.2] m, y in [0.5, 0.7] m, around a bottle that stands
//! half way. Half of the demonstrations pass it on the left, half on the right. A policy that predicts the mean would go
//! straight into the bottle; a flow keeps both ways apart.
//!
//! Run: `cargo run --release --example train_toy`

use advect::data::{EpisodeArrays, Episodes};
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::{Device, Noise, RunConfig, SamplerOptions, Trainer};
use std::f32::consts::PI;

/// Actions in a chunk: positions of the hand (x, y), m.
const HORIZON: usize = 8;
const EPISODES: usize = 1000;
const SAMPLES: usize = 200;

fn main() -> anyhow::Result<()> {
    let device = Device::from_env()?;
    println!("device: {}", device.describe());
    let episodes = demonstrations()?;

    let config = RunConfig {
        history: 1,
        horizon: HORIZON,
        pad_after: 0,
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![96, 96, 96],
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 32, scale: 99.0, max_period: 10_000.0 },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    }
    .in_steps(4000);
    let mut trainer = Trainer::new(&device, &episodes, &config)?;
    while trainer.step() < config.steps {
        let progress = trainer.advance(500)?;
        let held_out = trainer.validate()?.unwrap_or(f64::NAN);
        println!("step {:>4}  loss {:.3}  held out {held_out:.3}", progress.step, progress.loss);
    }

    // One observation [1, history = 1, obs_dim = 2]: the cup's x, y, m. Actions [1, SAMPLES, HORIZON, 2], m.
    let policy = trainer.policy()?;
    let mut sampler = policy.sampler(&device, 1, SAMPLES, &SamplerOptions::default())?;
    let mut actions = vec![0.0f32; SAMPLES * policy.spec.chunk()];
    for cup in [[-0.15f32, 0.55], [0.1, 0.65]] {
        sampler.sample(&cup, Noise::Seed { seed: 1, request: 0 }, &mut actions)?;
        let chunks = actions.chunks_exact(2 * HORIZON);
        let halfway = |chunk: &[f32]| chunk[HORIZON - 2] - cup[0] / 2.0;
        let left = chunks.clone().filter(|c| halfway(c) < 0.0).count();
        let hits = chunks.clone().filter(|c| halfway(c).abs() < 0.04).count();
        let end = |c: &[f32]| (c[2 * HORIZON - 2] - cup[0]).hypot(c[2 * HORIZON - 1] - cup[1]);
        let miss = chunks.map(end).sum::<f32>() / SAMPLES as f32;
        println!(
            "cup at {cup:+.2?} m: {left} of {SAMPLES} chunks pass on the left, {} on the right, \
             {hits} of them within 40 mm of the bottle; they end {:.1} mm from the cup on average",
            SAMPLES - left,
            1e3 * miss
        );
    }
    Ok(())
}

/// One window per episode: obs [EPISODES * HORIZON, 2] the cup's x, y, action [EPISODES * HORIZON, 2] the hand's positions.
pub fn demonstrations() -> anyhow::Result<Episodes> {
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for episode in 0..EPISODES {
        // Evenly spread and repeatable, without a generator: golden ratio steps.
        let part = |step: f32| (episode as f32 * step).fract();
        let cup = [0.4 * part(0.618_034) - 0.2, 0.5 + 0.2 * part(0.324_718)];
        let side = if episode % 2 == 0 { 1.0 } else { -1.0 };
        let bend = side * (0.15 + 0.04 * (part(0.754_878) - 0.5));
        for step in 0..HORIZON {
            let s = (step + 1) as f32 / HORIZON as f32;
            obs.extend(cup);
            action.extend([cup[0] * s + bend * (PI * s).sin(), cup[1] * s]);
        }
    }
    let lengths = vec![HORIZON; EPISODES];
    Ok(Episodes::from_arrays(EpisodeArrays {
        obs,
        action,
        obs_dim: 2,
        action_dim: 2,
        lengths,
        ..EpisodeArrays::default()
    })?)
}
