//! A whole training run against PyTorch: `tests/torch/training.py` made the same steps from the same weights and the same draws in
//! float64, so loss, gradients, clipping, schedule, AdamW, weight decay and moving average are all held to it at once.

use crate::common::devices;
use advect::data::{EpisodeArrays, Episodes};
use advect::graph::{Fusion, LAYERS};
use advect::{RunConfig, Trainer};
use safetensors::SafeTensors;

const FILE: &[u8] = include_bytes!("../torch/training.safetensors");

fn tensor(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).data();
    data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn the_same_draws_lead_to_the_same_weights() {
    let (_, head) = SafeTensors::read_metadata(FILE).unwrap();
    let about = head.metadata().clone().unwrap();
    let file = SafeTensors::deserialize(FILE).unwrap();
    let config: RunConfig = toml::from_str(&about["config"]).unwrap();
    let length: usize = about["length"].parse().unwrap();
    let (obs, action) = (tensor(&file, "obs"), tensor(&file, "action"));
    let lengths = vec![length; action.len() / 2 / length];
    let arrays = EpisodeArrays { obs, action, obs_dim: 3, action_dim: 2, lengths, ..Default::default() };
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let losses = tensor(&file, "losses");

    for (device, fusion) in devices().iter().flat_map(|d| [Fusion::Layers, Fusion::Rows].map(|f| (d, f))) {
        let mut trainer = Trainer::with_fusion(device, &episodes, &config, fusion).unwrap();
        assert_eq!(
            trainer.way() == LAYERS,
            fusion == Fusion::Layers,
            "the step is fused where it is asked for"
        );
        let start = trainer.policy().unwrap().weights;
        for (step, want) in losses.iter().enumerate() {
            let loss = trainer.advance(1).unwrap().loss;
            assert!((loss - f64::from(*want)).abs() < 2e-6 * loss, "step {step}: {loss}, PyTorch {want}");
        }
        let policy = trainer.policy().unwrap();
        let mut checked = 0;
        for (prefix, store) in [("start", &start), ("end", &policy.weights), ("ema", &policy.ema)] {
            for name in (0..3).flat_map(|i| ["weight", "bias"].map(|kind| format!("layers.{i}.{kind}"))) {
                let got = store.get(&name).unwrap_or_else(|| panic!("no parameter {name}"));
                let (want, at) =
                    (tensor(&file, &format!("{prefix}.{name}")), tensor(&file, &format!("start.{name}")));
                assert_eq!(got.len(), want.len(), "{name}");
                let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let moved = at.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                println!("{}: {prefix}.{name} within {far:e}, moved by {moved:.3}", device.describe());
                assert!(far < if prefix == "start" { 1e-30 } else { 1e-5 }, "{prefix}.{name}: {far} apart");
                assert!(
                    prefix == "start" || moved > 100.0 * far,
                    "{prefix}.{name} stands still: nothing is compared"
                );
                checked += 1;
            }
        }
        assert_eq!(checked, 18, "three layers of weight and bias, three times");
    }
}
