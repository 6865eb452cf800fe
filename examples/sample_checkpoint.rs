//! Loads a policy and samples action chunks: what a robot's control loop does.
//!
//! Run: `cargo run --release --example sample_checkpoint -- advect-out/policy.safetensors`
//! (`advect demo` and `advect train` write such files; ADVECT_DEVICE chooses the device, as `--device` does).

use advect::{Device, Noise, Policy, SamplerOptions};
use anyhow::Context as _;

const SAMPLES: usize = 16;

fn main() -> anyhow::Result<()> {
    let path =
        std::env::args().nth(1).context("give the path of a policy: sample_checkpoint FILE.safetensors")?;
    let policy = Policy::load(&path)?;
    let device = Device::from_env()?;
    let mut sampler = policy.sampler(&device, 1, SAMPLES, &SamplerOptions::default())?;

    // A raw observation [observations = 1, history, obs_dim], oldest step first, in the units of the demonstrations. Here
    // the middle of what was seen in training; a robot has its own.
    let spec = &policy.spec;
    let obs = spec.obs_normalizer.offset.repeat(spec.history);
    // Chunks [observations = 1, SAMPLES, horizon, action_dim], in the units of the demonstrations.
    let mut actions = vec![0.0f32; SAMPLES * spec.chunk()];
    sampler.sample(&obs, Noise::Seed { seed: 0, request: 0 }, &mut actions)?;

    println!("device: {}", device.describe());
    println!(
        "policy: {} parameters, {} training steps",
        policy.weights.layout.count(),
        spec.provenance.steps
    );
    println!(
        "observation [{}, {}] -> actions [1, {SAMPLES}, {}, {}]",
        spec.history, spec.obs_dim, spec.horizon, spec.action_dim
    );
    for (n, chunk) in actions.chunks_exact(spec.chunk()).take(3).enumerate() {
        let (first, last) = (&chunk[..spec.action_dim], &chunk[spec.chunk() - spec.action_dim..]);
        println!("sample {n}: first action {first:.1?}, last action {last:.1?}");
    }
    Ok(())
}
