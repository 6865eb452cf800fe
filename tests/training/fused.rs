//! Fused training steps: the same weights as layer by layer, the same bits every time, and no silence about what is not fused.

use crate::common::devices;
use advect::data::{EpisodeArrays, Episodes};
use advect::device::{Device, Tuned, Tuning};
use advect::graph::{Fusion, LAYERS};
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, EncoderSpec, NetworkSpec, TimeInput};
use advect::policy::{Objective, PrefixSpec};
use advect::train::{RunConfig, Trainer};
use std::sync::Arc;

const OBS: usize = 3;

/// Walks in the plane.
fn episodes() -> Episodes {
    let (count, length) = (6, 24);
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..count {
        for t in 0..length {
            let at = (e * length + t) as f32;
            obs.extend([(0.3 * at).sin(), (0.17 * at).cos(), t as f32 / length as f32]);
            action.extend([(0.3 * at + 0.3).sin(), (0.11 * at).cos()]);
        }
    }
    let lengths = vec![length; count];
    let arrays = EpisodeArrays { obs, action, obs_dim: OBS, action_dim: 2, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the walks are sound")
}

fn mlp(hidden: &[usize], activation: Activation) -> NetworkSpec {
    NetworkSpec::Mlp(Mlp {
        hidden: hidden.to_vec(),
        activation,
        time: TimeInput::Sinusoidal { dim: 6, scale: 99.0, max_period: 1e4 },
        conditioning: Conditioning::Concat,
    })
}

fn config(network: NetworkSpec, batch_size: usize) -> RunConfig {
    let mut config = RunConfig {
        batch_size,
        horizon: 5,
        seed: 3,
        validation_fraction: 0.0,
        network,
        ..RunConfig::default()
    };
    config.optimizer.warmup = 2;
    config
}

fn trainer(device: &Device, config: &RunConfig, fusion: Fusion) -> Trainer {
    Trainer::with_fusion(device, &episodes(), config, fusion).expect("a trainer")
}

fn kernels(trainer: &Trainer) -> Vec<&'static str> {
    // A product that a GPU takes in slices is one.
    let all = trainer.plan().commands.iter().map(|c| c.kernel.name);
    all.filter(|name| *name != "matmul_join").collect()
}

/// Loss, gradient norm and weights after some steps.
fn trained(trainer: &mut Trainer, steps: u64) -> (f64, f32, Vec<f32>) {
    let progress = trainer.advance(steps).expect("training");
    (progress.loss, progress.grad_norm, trainer.policy().expect("a policy").weights.values)
}

/// Relative distance of finite values.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f64 {
    let (mut diff, mut norm) = (0.0f64, 0.0f64);
    for (a, b) in a.iter().zip(b) {
        assert!(a.is_finite() && b.is_finite());
        diff += f64::from(a - b).powi(2);
        norm += f64::from(*b).powi(2);
    }
    (diff / norm).sqrt()
}

#[test]
fn a_fused_step_trains_as_the_layered_one() {
    let networks: [(&[usize], Activation); 5] = [
        (&[16], Activation::Silu),
        (&[48, 31, 48], Activation::Silu),
        (&[33, 130], Activation::Mish),
        (&[20, 20, 20, 20, 20], Activation::Tanh),
        (&[300], Activation::Relu),
    ];
    for device in devices() {
        for (hidden, act) in networks {
            for batch in [2, 7, 33] {
                let config = config(mlp(hidden, act), batch);
                let mut layered = trainer(&device, &config, Fusion::Layers);
                let mut fused = trainer(&device, &config, Fusion::Rows);
                let names = kernels(&fused);
                let about = format!("{}: {hidden:?} {act:?} of {batch}", device.describe());
                assert!(
                    !names.iter().any(|n| n.starts_with("matmul") || *n == "matvec" || *n == "col_sum"),
                    "{about}: {names:?}"
                );
                let own = names.iter().filter(|n| n.starts_with("mlp_")).count();
                assert_eq!(own, 3, "{about}: {names:?}");
                // Of each layer forward and backward a product, the two gradients, and the activations; the cotangent of the result.
                let saved = 5 * hidden.len() + 3 + 1;
                assert_eq!(kernels(&layered).len() - names.len(), saved - 3, "{about}");
                assert!(fused.way().starts_with("mlp_grad_rows") && layered.way() == LAYERS, "{about}");
                // One step: Adam's own step would hide the size of a gradient, not so its norm.
                let (a, b) = (trained(&mut fused, 1), trained(&mut layered, 1));
                assert!(
                    (a.0 - b.0).abs() < 1e-5 * b.0 && (a.1 - b.1).abs() < 1e-5 * b.1,
                    "{about}: {a:?}, {b:?}"
                );
                let (a, b) = (trained(&mut fused, 7), trained(&mut layered, 7));
                let apart = distance(&a.2, &b.2);
                assert!(
                    (a.0 - b.0).abs() < 1e-4 * b.0 && apart < 2e-4,
                    "{about}: losses {} {}, weights {apart:e} apart",
                    a.0,
                    b.0
                );
                let again = trained(&mut trainer(&device, &config, Fusion::Rows), 8);
                assert_eq!(again.2, a.2, "{about}: the same seed gives the same bits");
            }
        }
    }
}

#[test]
fn an_encoder_gets_its_gradient_from_a_fused_step() {
    for device in devices() {
        let encoder = EncoderSpec::Mlp { widths: vec![8, 6], activation: Activation::Silu };
        let config = RunConfig { encoder, ..config(mlp(&[24, 24], Activation::Silu), 9) };
        let mut layered = trainer(&device, &config, Fusion::Layers);
        let mut fused = trainer(&device, &config, Fusion::Rows);
        assert!(
            kernels(&fused).contains(&"mlp_grad") && kernels(&fused).iter().any(|n| n.starts_with("matmul"))
        );
        let start = fused.policy().unwrap().weights;
        let (a, b) = (trained(&mut fused, 6), trained(&mut layered, 6));
        assert!(distance(&a.2, &b.2) < 2e-4, "{}", distance(&a.2, &b.2));
        let info = start.layout.get("encoder.layers.0.weight").unwrap();
        let part = info.offset..info.offset + info.shape.len();
        assert!(distance(&a.2[part.clone()], &start.values[part]) > 1e-3, "the encoder learns");
    }
}

#[test]
fn a_step_takes_the_tuned_way() {
    for device in devices() {
        let Some(gpu) = device.gpu() else { continue };
        let config = config(mlp(&[16, 16], Activation::Silu), 8);
        let guessed = trainer(&device, &config, Fusion::Auto);
        let schedule = guessed.plan().schedule.clone().expect("an MLP's step can run in several ways");
        assert!(schedule.ways.len() > 2 && guessed.way() == schedule.ways[0], "{schedule:?}");
        for way in &schedule.ways {
            let (guess, best) = (schedule.ways[0].to_owned(), (*way).to_owned());
            let mut tuning = Tuning::default();
            tuning.insert(schedule.question.clone(), Tuned { guess, guess_ms: 2.0, best, best_ms: 1.0 });
            let tuned = Device::Gpu(gpu.with_tuning(Some(Arc::new(tuning))));
            let mut tuned = trainer(&tuned, &config, Fusion::Auto);
            assert_eq!(tuned.way(), *way);
            let loss = trained(&mut tuned, 1).0;
            let want = trained(&mut trainer(&device, &config, Fusion::Layers), 1).0;
            assert!((loss - want).abs() < 1e-5 * want, "{way}: {loss}, {want}");
        }
    }
}

#[test]
fn many_steps_are_one_submit_and_create_nothing() {
    for device in devices().iter().filter(|d| d.gpu().is_some()) {
        let mut fused = trainer(device, &config(mlp(&[16, 16], Activation::Silu), 8), Fusion::Rows);
        fused.advance(16).unwrap();
        let before = fused.counters();
        fused.advance(16).unwrap();
        let cost = fused.counters().since(&before);
        assert_eq!(cost.submits, 1, "{cost:?}");
        assert_eq!(cost.dispatches, 16 * fused.dispatches() as u64, "{cost:?}");
        assert_eq!(
            (cost.buffers_created, cost.pipelines_created, cost.bytes_uploaded),
            (0, 0, 0),
            "{cost:?}"
        );
    }
}

#[test]
fn what_cannot_be_fused_trains_layer_by_layer_and_says_so() {
    let film = NetworkSpec::Mlp(Mlp {
        hidden: vec![16],
        activation: Activation::Silu,
        time: TimeInput::Raw,
        conditioning: Conditioning::Film,
    });
    let plain = || mlp(&[16, 16], Activation::Silu);
    let objective =
        |name: &str| RunConfig { objective: Objective::named(name).unwrap(), ..config(plain(), 8) };
    let cases = [
        // Scaled features, a layer wider than any variant, a masked loss, a loss of another kind.
        config(film, 8),
        config(mlp(&[600], Activation::Silu), 8),
        RunConfig { prefix: Some(PrefixSpec { max_delay: 2 }), ..config(plain(), 8) },
        objective("mean_flow"),
    ];
    for device in devices() {
        for config in &cases {
            let asked = trainer(&device, config, Fusion::Rows);
            let layered = trainer(&device, config, Fusion::Layers);
            assert_eq!(kernels(&asked), kernels(&layered));
            assert_eq!(asked.way(), LAYERS);
        }
        // And by itself where there is no real GPU.
        let auto = trainer(&device, &config(plain(), 8), Fusion::Auto);
        let real = device.gpu().is_some_and(|gpu| !gpu.caps().software);
        assert_eq!(auto.way() != LAYERS, real);
    }
}
