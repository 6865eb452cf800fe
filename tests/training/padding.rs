//! Actions past an episode's end: repeated, or left out of the loss and of the normaliser.

use crate::common::{cpu, devices};
use advect::data::{EpisodeArrays, Episodes, Padding, Windows};
use advect::kernel::math::Activation;
use advect::nn::{Conditioning, NetworkSpec, TimeInput, mlp::Mlp};
use advect::objective::Objective;
use advect::objective::act::ActObjective;
use advect::objective::vq_bet::VqBet;
use advect::policy::{NormKind, PrefixSpec, Scope};
use advect::train::{DimRef, OptimizerSpec, ReflowSpec};
use advect::{Noise, RunConfig, SamplerOptions, Trainer};

/// Clips that are cut out of a motion: six steps each.
fn clips() -> Episodes {
    let (episodes, length) = (10, 6);
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..episodes {
        for t in 0..length {
            let x = e as f32 * 0.3 + t as f32 * 0.5;
            obs.extend([x, x.sin()]);
            action.extend([x + 0.5, (x + 0.5).cos()]);
        }
    }
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 2, action_dim: 2, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

fn config(objective: Objective, padding: Padding) -> RunConfig {
    RunConfig {
        objective,
        padding,
        history: 1,
        horizon: 4,
        pad_after: 3,
        batch_size: 32,
        validation_fraction: 0.3,
        action_normalizer: NormKind::Identity,
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![16],
            activation: Activation::Silu,
            time: TimeInput::Raw,
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default().in_steps(100)
    }
}

/// A validation looks at every held-out window once, so its loss is the mean over what counts exactly.
#[test]
fn the_loss_is_the_mean_over_the_actions_that_count() {
    let episodes = clips();
    for device in devices() {
        let mut found = Vec::new();
        for padding in [Padding::Repeat, Padding::Mask] {
            let config = config(Objective::behaviour_cloning(), padding);
            let mut trainer = Trainer::new(&device, &episodes, &config).unwrap();
            trainer.advance(20).unwrap();
            let loss = trainer.validate().unwrap().expect("episodes are held out");
            let policy = trainer.policy().unwrap();
            let held = &policy.spec.provenance.validation_episodes;
            let windows = Windows::new(&episodes, held, &config.windows()).unwrap().with_padding(padding);
            let mut sampler = policy.sampler(&device, 1, 1, &SamplerOptions::default()).unwrap();
            let (mut sum, mut count) = (0.0, 0);
            for (w, entry) in windows.table().iter().enumerate() {
                let (mut obs, mut want, mut chunk) = ([0.0; 2], [0.0; 8], [0.0; 8]);
                windows.gather_obs(w, &mut obs).unwrap();
                windows.gather_actions(w, &mut want).unwrap();
                sampler.sample(&obs, Noise::Seed { seed: 0, request: 0 }, &mut chunk).unwrap();
                for i in (0..8).filter(|i| windows.counts(*entry, i / 2)) {
                    sum += f64::from(chunk[i] - want[i]).powi(2);
                    count += 1;
                }
            }
            assert_eq!(count == windows.count() * 8, padding == Padding::Repeat);
            let mean = sum / f64::from(count as u32);
            assert!(
                (loss - mean).abs() < 1e-4 * mean,
                "{padding:?} on {}: {loss}, {mean}",
                device.describe()
            );
            found.push(loss);
        }
        assert!((found[0] - found[1]).abs() > 1e-3 * found[0], "{found:?}");
    }
}

/// The objective of a name; act and vq_bet with small networks of their own.
fn small(name: &str) -> Objective {
    match name {
        "act" => Objective::Act(ActObjective {
            width: 16,
            heads: 2,
            feedforward: 32,
            encoder_layers: 1,
            vae_encoder_layers: 1,
            latent_dim: 4,
            ..ActObjective::default()
        }),
        "vq_bet" => Objective::VqBet(VqBet { width: 16, latent_dim: 4, layers: 1, ..VqBet::default() }),
        name => Objective::named(name).expect("it is in the table"),
    }
}

/// Where nothing lies past an end, masked and repeated are the same loss; where something does, they are not. By every objective,
/// and after a prefix.
#[test]
fn every_objective_masks() {
    let (device, episodes) = (cpu(), clips());
    for name in Objective::NAMES.iter().filter(|name| **name != "riemannian") {
        for max_delay in [None, Some(2)] {
            if max_delay.is_some() && *name != "flow_matching" {
                continue;
            }
            let loss = |padding, pad_after| {
                let config = RunConfig {
                    pad_after,
                    prefix: max_delay.map(|max_delay| PrefixSpec { max_delay }),
                    action_scope: Scope::PerDim,
                    action_normalizer: NormKind::MinMax,
                    relative_to: vec![DimRef::Index(0), DimRef::Index(1)],
                    ..config(small(name), padding)
                };
                Trainer::new(&device, &episodes, &config).unwrap().advance(1).unwrap().loss
            };
            let [repeat, mask] = [Padding::Repeat, Padding::Mask].map(|padding| loss(padding, 0));
            assert!((repeat - mask).abs() <= 1e-5 * repeat.abs(), "{name}: {repeat}, {mask}");
            let [repeat, mask] = [Padding::Repeat, Padding::Mask].map(|padding| loss(padding, 3));
            assert!(mask.is_finite() && mask != repeat, "{name}: {repeat}, {mask}");
        }
    }
}

/// What lies past an end teaches a code nothing: clips of a circle are gone on with at their speed to the end of a chunk, where
/// repeated ends are learnt as standing still.
#[test]
fn codes_go_on_past_the_ends_of_clips() {
    let (device, mut rng) = (cpu(), 1u32);
    let mut arrays = EpisodeArrays { obs_dim: 2, action_dim: 2, lengths: vec![8; 60], ..Default::default() };
    for _ in 0..60 {
        rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let from = (rng >> 8) as f32 / (1 << 24) as f32 * std::f32::consts::TAU;
        for t in 0..8 {
            let place = |t: usize| from + 0.3 * t as f32;
            arrays.obs.extend([place(t).cos(), place(t).sin()]);
            arrays.action.extend([place(t + 1).cos(), place(t + 1).sin()]);
        }
    }
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let advance = |padding| {
        let vq = VqBet { width: 32, latent_dim: 8, layers: 2, ..VqBet::default() };
        let config = RunConfig {
            horizon: 6,
            pad_after: 5,
            batch_size: 64,
            optimizer: OptimizerSpec { lr: 3e-3, ..OptimizerSpec::default() },
            ..config(Objective::VqBet(vq), padding)
        }
        .in_steps(600);
        let mut trainer = Trainer::new(&device, &episodes, &config).unwrap();
        (0..6).for_each(|_| assert!(trainer.advance(100).is_ok()));
        let mut sampler =
            trainer.policy().unwrap().sampler(&device, 48, 1, &SamplerOptions::default()).unwrap();
        let places: Vec<f32> = (0..48).map(|i| i as f32 * std::f32::consts::TAU / 48.0).collect();
        let obs: Vec<f32> = places.iter().flat_map(|p| [p.cos(), p.sin()]).collect();
        let mut chunks = vec![0.0; 48 * 12];
        sampler.sample(&obs, Noise::Seed { seed: 3, request: 0 }, &mut chunks).unwrap();
        let turn = |(chunk, from): (&[f32], &f32)| {
            let by = chunk[11].atan2(chunk[10]) - from;
            by - std::f32::consts::TAU * (by / std::f32::consts::TAU).round()
        };
        chunks.chunks_exact(12).zip(&places).map(turn).sum::<f32>() / 48.0
    };
    let [repeat, mask] = [Padding::Repeat, Padding::Mask].map(advance);
    println!("repeat {repeat} mask {mask}");
    assert!((mask - 1.8).abs() < 0.15 && repeat < 1.5, "{repeat}, {mask}");
}

/// The teacher's chunks of a reflow run are whole: nothing of them is masked, and the normaliser is the teacher's.
#[test]
fn pairs_of_reflow_are_whole() {
    let (device, episodes, folder) = (cpu(), clips(), tempfile::tempdir().unwrap());
    let path = folder.path().join("teacher.safetensors");
    let base = config(small("flow_matching"), Padding::Mask);
    let mut teacher = Trainer::new(&device, &episodes, &base).unwrap();
    teacher.advance(50).unwrap();
    teacher.policy().unwrap().save(&path).unwrap();
    let losses = [Padding::Mask, Padding::Repeat].map(|padding| {
        let reflow = ReflowSpec { policy: path.clone(), solver: "euler:4".into() };
        let config = RunConfig { reflow: Some(reflow), ..config(small("flow_matching"), padding) };
        let mut trainer = Trainer::new(&device, &episodes, &config).unwrap();
        assert_eq!(trainer.spec().action_normalizer, teacher.spec().action_normalizer);
        (trainer.advance(3).unwrap().loss, trainer.validate().unwrap())
    });
    assert_eq!(losses[0], losses[1]);
}

/// Directions are parts of an action that have no normaliser; their loss is masked as any other.
#[test]
fn directions_are_masked() {
    let (device, mut arrays) = (cpu(), clips().into_arrays());
    for row in 0..arrays.action.len() / 2 {
        let angle = arrays.action[2 * row];
        (arrays.action[2 * row], arrays.action[2 * row + 1]) = (angle.cos(), angle.sin());
    }
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let text = r#"{"riemannian":{"manifolds":[{"kind":"s1","at":0}]}}"#;
    let objective: Objective = serde_json::from_str(text).unwrap();
    let loss = |padding, pad_after| {
        let config = RunConfig { pad_after, ..config(objective.clone(), padding) };
        Trainer::new(&device, &episodes, &config).unwrap().advance(1).unwrap().loss
    };
    let [repeat, mask] = [Padding::Repeat, Padding::Mask].map(|padding| loss(padding, 0));
    assert!((repeat - mask).abs() <= 1e-5 * repeat.abs(), "{repeat}, {mask}");
    let [repeat, mask] = [Padding::Repeat, Padding::Mask].map(|padding| loss(padding, 3));
    assert!(mask.is_finite() && (mask - repeat).abs() > 1e-4 * repeat, "{repeat}, {mask}");
}

/// The normaliser of what counts reaches as far as the motion does.
#[test]
fn the_normaliser_is_fitted_to_what_counts() {
    let (device, episodes) = (cpu(), clips());
    let scales = |padding| {
        let config = RunConfig {
            action_normalizer: NormKind::MeanStd,
            relative_to: vec![DimRef::Index(0), DimRef::Name("none".into())],
            ..config(Objective::behaviour_cloning(), padding)
        };
        let trainer = Trainer::new(&device, &episodes, &config).unwrap();
        trainer.spec().action_normalizer.offset.clone()
    };
    // Relative to where the point is, step h leads 0.5 (h + 1) on; repeated ends lead less far.
    let (repeat, mask) = (scales(Padding::Repeat), scales(Padding::Mask));
    for h in 0..4 {
        assert!((mask[2 * h] - 0.5 * (h + 1) as f32).abs() < 1e-5, "{mask:?}");
    }
    assert!(repeat[6] < 1.8, "{repeat:?}");
}
