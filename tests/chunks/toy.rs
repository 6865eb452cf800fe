//! A small policy of a point that walks to one of two sides.

use crate::common::cpu;
use advect::data::{EpisodeArrays, Episodes};
use advect::kernel::math::Activation;
use advect::nn::residual::Residual;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::policy::{NoiseKey, Policy};
use advect::train::{DimRef, RunConfig, Trainer};

/// Episodes of a point that walks to one of two sides, so that chunks have two modes.
pub fn episodes() -> Episodes {
    let (episodes, length) = (12, 20);
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..episodes {
        let side = if e % 2 == 0 { 1.0 } else { -1.0 };
        let mut x = [0.1 * (e / 2) as f32, 0.0];
        for t in 0..length {
            obs.extend_from_slice(&[x[0], x[1], t as f32 / length as f32]);
            // Uneven steps: a dimension that never changed would have no scale to speak of.
            let uneven = 0.02 * (1.7 * e as f32 + 0.9 * t as f32).sin();
            x = [x[0] + 0.05 * side + 0.5 * uneven, x[1] + 0.1 + uneven];
            action.extend_from_slice(&x);
        }
    }
    let arrays = EpisodeArrays {
        obs,
        action,
        obs_dim: 3,
        action_dim: 2,
        lengths: vec![length; episodes],
        ..Default::default()
    };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

/// Chunks of 8 actions relative to the newest of two observations.
pub fn config() -> RunConfig {
    let mut config = RunConfig {
        steps: 1500,
        batch_size: 32,
        seed: 7,
        horizon: 8,
        pad_after: 4,
        relative_to: vec![DimRef::Index(0), DimRef::Index(1)],
        network: NetworkSpec::Residual(Residual {
            width: 32,
            blocks: 1,
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    };
    config.optimizer.warmup = 50;
    config
}

/// The policy of a configuration after `steps` steps on the CPU.
pub fn policy(config: &RunConfig, steps: u64) -> Policy {
    let mut trainer = Trainer::new(&cpu(), &episodes(), config).expect("a trainer");
    while trainer.step() < steps {
        trainer.advance((steps - trainer.step()).min(Trainer::MOST_STEPS)).expect("training");
    }
    trainer.policy().expect("a policy")
}

/// Raw observations [robots, 2, 3] at the start, where either side is as likely.
pub fn observations(robots: usize) -> Vec<f32> {
    (0..robots).flat_map(|r| [0.1 * (r % 6) as f32, 0.0, 0.0].repeat(2)).collect()
}

/// A key for each robot.
pub fn keys(robots: usize, seed: u64) -> Vec<NoiseKey> {
    (0..robots as u64).map(|robot| NoiseKey { seed, request: robot }).collect()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The largest difference of two equally long slices.
pub fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
