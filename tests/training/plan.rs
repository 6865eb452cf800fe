//! What a training step is made of: its commands by kernel, that none of them transposes, and one submit for many steps.

use crate::common::{cpu, gpu};
use advect::bench::{Workload, demonstrations, run_config};
use advect::device::Device;
use advect::graph::Fusion;
use advect::nn::NetworkSpec;
use advect::train::{RunConfig, Trainer};
use std::collections::BTreeMap;

/// The networks of the bench; the U-Net and the transformer small.
fn configs() -> [(&'static str, RunConfig); 3] {
    let of = |workload: Workload| (workload.name(), run_config(workload, 4, 1));
    let mut all = [Workload::Mlp256, Workload::Unet1d, Workload::Transformer].map(of);
    for (_, config) in &mut all {
        match &mut config.network {
            NetworkSpec::Unet1d(net) => net.down_dims = vec![16, 32],
            NetworkSpec::Transformer(net) => (net.width, net.layers, net.heads) = (32, 2, 2),
            _ => {}
        }
    }
    all
}

fn trainer(device: &Device, config: &RunConfig, fusion: Fusion) -> Trainer {
    Trainer::with_fusion(device, &demonstrations(2, 32, 1).unwrap(), config, fusion).unwrap()
}

/// Calls by kernel; all products are `matmul`, whatever their variant.
fn counts(trainer: &Trainer) -> BTreeMap<&'static str, usize> {
    let mut out = BTreeMap::new();
    for command in &trainer.plan().commands {
        let name = match command.kernel.name {
            name if name.starts_with("mat") => "matmul",
            name => name,
        };
        *out.entry(name).or_default() += 1;
    }
    out
}

#[test]
fn a_step_is_made_of_what_it_needs() {
    let device = cpu();
    for (name, config) in configs() {
        for fusion in [Fusion::Layers, Fusion::Rows] {
            let trainer = trainer(&device, &config, fusion);
            let (counts, total) = (counts(&trainer), trainer.dispatches());
            println!("{name} {fusion:?}: {total} calls, {counts:?}");
            // No call turns a matrix round: these are the kernels that could.
            for turns in ["reorder", "pack_weights"] {
                assert_eq!(counts.get(turns), None, "{name}");
            }
            // What `copy` does keeps rows and columns. In a backward pass it is left where a part of a whole is read twice.
            let names: Vec<&str> = trainer.plan().commands.iter().map(|c| c.kernel.name).collect();
            let loss = names.iter().position(|n| *n == "mse").unwrap();
            let copies = |part: &[&str]| part.iter().filter(|n| **n == "copy").count();
            let (forward, backward) = (copies(&names[..loss]), copies(&names[loss..]));
            match (name, fusion) {
                // Drawing, gathering and the path take 5 calls, the network's input 3, the loss 1, the optimiser 3; the network
                // 4 products, 3 activations, the cotangent of the result, and backwards 4 + 3 products and 4 sums.
                ("mlp256", Fusion::Layers) => assert_eq!((total, forward, backward), (31, 2, 0)),
                // Instead of 19: packed weights, one pass, the gradients.
                ("mlp256", _) => {
                    assert_eq!((total, forward, backward), (15, 2, 0));
                    assert_eq!(["mlp_pack", "mlp_grad", "mlp_grad_weights"].map(|k| counts[k]), [1; 3]);
                }
                // The observation beside the time, and the skip, which two read.
                ("unet1d", _) => assert_eq!((forward, backward), (2, 0)),
                // In each block: zeros behind attention's cotangent, dk and dv out of one result, and two parts of the adaptive norms
                // whose values the residual stream needs too; one such part at the end.
                _ => assert_eq!((forward, backward), (0, 1 + 5 * 2)),
            }
        }
    }
}

#[test]
fn many_steps_are_one_submit() {
    let Some(gpu) = gpu() else { return };
    for (name, config) in configs() {
        let mut trainer = trainer(&gpu, &config, Fusion::Auto);
        trainer.advance(3).unwrap();
        let before = trainer.counters();
        trainer.advance(3).unwrap();
        let cost = trainer.counters().since(&before);
        assert_eq!((cost.submits, cost.bytes_uploaded), (1, 0), "{name}: {cost:?}");
        assert_eq!(cost.dispatches, 3 * trainer.dispatches() as u64, "{name}: {cost:?}");
    }
}
