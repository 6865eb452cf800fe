//! Weights larger than one storage binding: the same training steps and the same chunks as on a device that binds them whole.

use crate::common::{gpu, gpu_with};
use crate::fused::distance;
use advect::bench::{Workload, demonstrations, run_config};
use advect::device::{Device, GpuOptions};
use advect::graph::Fusion;
use advect::nn::NetworkSpec;
use advect::policy::{Noise, SamplerOptions};
use advect::train::{RunConfig, Trainer};

/// Elements that the small device binds: more than any tensor and any activation below has, and than a few of them.
const BINDING: usize = 1 << 17;

/// The adapter as one that binds at most so many bytes.
fn binding(bytes: u64) -> Option<Device> {
    let mut options = GpuOptions::default();
    options.binding_bytes = Some(bytes);
    gpu_with(&options)
}

/// The networks of the bench, small, with weights of several bindings.
fn configs() -> [(&'static str, RunConfig); 3] {
    let of = |workload: Workload| (workload.name(), run_config(workload, 4, 1));
    let mut all = [Workload::Mlp256, Workload::Unet1d, Workload::Transformer].map(of);
    for (_, config) in &mut all {
        match &mut config.network {
            NetworkSpec::Mlp(net) => net.hidden = vec![256; 6],
            NetworkSpec::Unet1d(net) => net.down_dims = vec![32, 64],
            NetworkSpec::Transformer(net) => (net.width, net.layers, net.heads) = (128, 3, 2),
            _ => {}
        }
    }
    all
}

/// Weights and gradient norm after some steps, and chunks of the policy.
fn trained(device: &Device, config: &RunConfig) -> (Vec<f32>, f32, Vec<f32>) {
    let data = demonstrations(2, 32, 1).unwrap();
    let mut trainer = Trainer::with_fusion(device, &data, config, Fusion::Layers).unwrap();
    let progress = trainer.advance(3).unwrap();
    let policy = trainer.policy().unwrap();
    let mut sampler = policy.sampler(device, 2, 2, &SamplerOptions::default()).unwrap();
    let mut chunks = vec![f32::NAN; 4 * policy.spec.chunk()];
    let obs: Vec<f32> = (0..2 * policy.spec.request()).map(|i| (0.4 * i as f32).sin()).collect();
    sampler.sample(&obs, Noise::Seed { seed: 1, request: 0 }, &mut chunks).unwrap();
    (policy.weights.values, progress.grad_norm, chunks)
}

#[test]
fn weights_of_several_bindings_train_and_sample() {
    let (Some(whole), Some(small)) = (gpu(), binding(4 * BINDING as u64)) else { return };
    for (name, config) in configs() {
        let (weights, norm, chunks) = trained(&whole, &config);
        assert!(2 * weights.len() > 3 * BINDING, "{name}: {} weights", weights.len());
        let (again, other, same) = trained(&small, &config);
        // The gradient's squares are added up in other groups, so the clip factor differs in its last bits.
        assert!((norm / other - 1.0).abs() < 1e-6, "{name}: {norm} {other}");
        assert!(distance(&again, &weights) < 1e-6, "{name}: {}", distance(&again, &weights));
        assert!(distance(&same, &chunks) < 1e-5, "{name}: {}", distance(&same, &chunks));
    }
}

#[test]
fn a_tensor_of_more_than_a_binding_is_one_clear_error() {
    let Some(small) = binding(1 << 16) else { return };
    let mut config = run_config(Workload::Mlp256, 4, 1);
    if let NetworkSpec::Mlp(net) = &mut config.network {
        net.hidden = vec![256; 2];
    }
    let data = demonstrations(2, 32, 1).unwrap();
    let error =
        Trainer::with_fusion(&small, &data, &config, Fusion::Layers).err().expect("too large").to_string();
    for part in ["uses of 'params' at once", "the device's limit is 65536"] {
        assert!(error.contains(part), "{error}");
    }
}
