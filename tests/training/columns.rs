//! Columns of the demonstrations that carry nothing, hardly anything, or far too much: whatever the network says, the robot gets
//! what was demonstrated. On the CPU and through WGSL.

use crate::common::{cpu, devices};
use advect::data::{EpisodeArrays, Episodes, Finding};
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::policy::{Noise, NormKind, Policy, SamplerOptions};
use advect::train::{DimRef, Event, RunConfig, RunOptions, TrainError, Trainer, run};

const LENGTH: usize = 24;
const EPISODES: usize = 8;

/// Noise in [-1, 1) by place.
fn noise(at: usize) -> f32 {
    let bits = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// Two swinging joints and what `obs` and `action` add to each row, given the row's number and its two joints.
fn arm(
    obs: impl Fn(usize, [f32; 2]) -> Vec<f32>,
    action: impl Fn(usize, [f32; 2]) -> Vec<f32>,
) -> EpisodeArrays {
    let mut arrays = EpisodeArrays { lengths: vec![LENGTH; EPISODES], ..Default::default() };
    for row in 0..EPISODES * LENGTH {
        let (t, e) = ((row % LENGTH) as f32, (row / LENGTH) as f32);
        let joint = |t: f32| [(0.2 * t + e).sin(), (0.13 * t + 2.0 * e).cos()];
        let (now, next) = (joint(t), joint(t + 2.0));
        let (obs, action) = (obs(row, now), action(row, now));
        arrays.obs.extend(now.iter().chain(&obs));
        arrays.action.extend(next.iter().chain(&action));
        (arrays.obs_dim, arrays.action_dim) = (2 + obs.len(), 2 + action.len());
    }
    arrays
}

fn nothing(_: usize, _: [f32; 2]) -> Vec<f32> {
    Vec::new()
}

fn episodes(arrays: EpisodeArrays) -> Episodes {
    Episodes::from_arrays(arrays).expect("sound data")
}

fn config() -> RunConfig {
    let mut config = RunConfig {
        steps: 12,
        batch_size: 16,
        log_every: 4,
        validate_every: 12,
        history: 1,
        horizon: 4,
        pad_after: 2,
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![32],
            activation: Activation::Silu,
            time: TimeInput::Raw,
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    };
    config.optimizer.warmup = 2;
    config
}

fn trained(device: &advect::device::Device, episodes: &Episodes, config: &RunConfig) -> (Policy, Vec<f64>) {
    let mut trainer = Trainer::new(device, episodes, config).expect("a trainer");
    let mut losses = Vec::new();
    let observer = &mut |event| {
        if let Event::Line(line) = event {
            losses.push(line.loss);
        }
    };
    run(&mut trainer, RunOptions::default(), observer).expect("training");
    (trainer.policy().expect("a policy"), losses)
}

/// One chunk for each observation.
fn sampled(policy: &Policy, device: &advect::device::Device, obs: &[f32], solver: &str) -> Vec<f32> {
    let options = SamplerOptions { solver: solver.parse().expect("a solver"), ..SamplerOptions::default() };
    let count = obs.len() / policy.spec.request();
    let mut sampler = policy.sampler(device, count, 1, &options).expect("a sampler");
    let mut chunks = vec![f32::NAN; count * policy.spec.chunk()];
    // The same noise for all of them.
    let keys = vec![advect::policy::NoiseKey { seed: 3, request: 1 }; count];
    sampler.sample(obs, Noise::PerObservation(&keys), &mut chunks).expect("chunks");
    chunks
}

#[test]
fn constant_actions_come_out_exactly() {
    let fixed = [0.0, 0.04, 1200.0];
    // The last column is the first joint and a quarter: relative to it, it is constant too.
    let episodes = episodes(arm(nothing, |_, now| {
        fixed.iter().copied().chain([(now[0] * 64.0).round() / 64.0]).collect()
    }));
    for device in devices() {
        for kind in [NormKind::MeanStd, NormKind::MinMax, NormKind::Quantile] {
            let config = RunConfig { action_normalizer: kind, ..config() };
            let (policy, _) = trained(&device, &episodes, &config);
            for solver in ["euler:3", "midpoint:2", "dopri5:1e-3:1e-3"] {
                let chunks = sampled(&policy, &device, &[0.3, -0.2, 5.0, 9.0], solver);
                for action in chunks.chunks_exact(6) {
                    assert_eq!(action[2..5], fixed, "{} {kind:?} {solver}", device.describe());
                }
            }
            let options = SamplerOptions { trajectory: true, ..SamplerOptions::default() };
            let mut sampler = policy.sampler(&device, 1, 1, &options).expect("a sampler");
            let (noise, mut chunk) = (Noise::Seed { seed: 1, request: 0 }, vec![0.0; policy.spec.chunk()]);
            let states = sampler.sample_trajectory(&[0.3, -0.2], noise, &mut chunk).expect("states");
            assert!(states.chunks_exact(6).all(|action| action[2..5] == fixed));
        }
    }
}

/// An action that is always so far from a joint: anchored to where the joint is, exactly.
#[test]
fn constant_relative_actions_follow_their_anchor() {
    let mut arrays = arm(|row, _| vec![(row % LENGTH) as f32], nothing);
    arrays.action = arrays.obs.chunks_exact(3).map(|row| row[2] + 0.25).collect();
    arrays.action_dim = 1;
    // Not the horizon's later steps, which move on.
    let config = RunConfig { horizon: 1, pad_after: 0, relative_to: vec![DimRef::Index(2)], ..config() };
    let episodes = episodes(arrays);
    for device in devices() {
        let (policy, _) = trained(&device, &episodes, &config);
        assert_eq!(policy.spec.action_normalizer.scale, [0.0]);
        assert_eq!(sampled(&policy, &device, &[0.1, 0.2, 7.0, 0.1, 0.2, -100.0], "euler:2"), [7.25, -99.75]);
    }
}

#[test]
fn a_locked_joint_is_not_looked_at_whatever_it_reads() {
    let episodes = episodes(arm(|row, _| vec![1e-7 * noise(row), 0.5], nothing));
    for device in devices() {
        let mut trainer = Trainer::new(&device, &episodes, &config()).expect("a trainer");
        let found: Vec<_> = trainer.findings().iter().map(|f| (f.index, f.finding.name())).collect();
        assert_eq!(found, [(2, "noise"), (3, "constant")]);
        assert!(matches!(trainer.findings()[0].finding, Finding::Noise { range, .. } if range < 3e-7));
        run(&mut trainer, RunOptions::default(), &mut |_| {}).expect("training");
        let policy = trainer.policy().expect("a policy");
        let chunk = |read: f32, fixed: f32| sampled(&policy, &device, &[0.3, -0.2, read, fixed], "euler:3");
        for (read, fixed) in [(1e-4, 0.5), (0.01, 0.5), (1.0, 0.5), (-1e6, 3.0)] {
            assert_eq!(chunk(read, fixed), chunk(0.0, 0.5), "{}: {read}", device.describe());
        }
    }
}

/// What is too large for noise beside the others is bounded all the same.
#[test]
fn the_network_sees_no_further_than_half_as_far_again() {
    let episodes = episodes(arm(|row, _| vec![1e-3 * noise(row)], nothing));
    for device in devices() {
        let (policy, _) = trained(&device, &episodes, &config());
        let clip = &policy.spec.obs_normalizer.clip;
        assert!(clip.iter().all(|c| (c - 1.5).abs() < 1e-5), "{clip:?}");
        let chunk = |read: f32| sampled(&policy, &device, &[0.3, -0.2, read], "euler:3");
        assert_ne!(chunk(1e-3), chunk(0.0));
        assert_ne!(chunk(1.0), chunk(1e-3));
        assert_eq!(chunk(1.0), chunk(1e6), "{}", device.describe());
        // The host's normaliser says the same.
        let mut obs = [0.3, -0.2, 1.0];
        policy.spec.obs_normalizer.normalize(&mut obs).expect("an observation");
        assert_eq!(obs[2], clip[2]);
        let (free, _) = trained(&device, &episodes, &RunConfig { obs_clip: 0.0, ..config() });
        assert!(free.spec.obs_normalizer.clip.is_empty());
        assert_ne!(
            sampled(&free, &device, &[0.3, -0.2, 1.0], "euler:3"),
            sampled(&free, &device, &[0.3, -0.2, 1e6], "euler:3")
        );
    }
}

#[test]
fn metres_and_nanometres_train_alike() {
    let scaled = |unit: f32| {
        let mut arrays = arm(nothing, nothing);
        arrays.obs.iter_mut().chain(&mut arrays.action).for_each(|x| *x *= unit);
        let (policy, losses) = trained(&cpu(), &episodes(arrays), &config());
        let chunk = sampled(&policy, &cpu(), &[0.3 * unit, -0.2 * unit], "euler:3");
        (losses, chunk.iter().map(|x| x / unit).collect::<Vec<_>>())
    };
    let want = scaled(1.0);
    for power in [-27, 20] {
        assert_eq!(scaled(2f32.powi(power)), want, "2^{power}: bit for bit");
    }
    let (losses, chunk) = scaled(1e-8);
    for (a, b) in losses.iter().zip(&want.0) {
        assert!((a - b).abs() < 1e-4 * b, "{losses:?} {:?}", want.0);
    }
    for (a, b) in chunk.iter().zip(&want.1) {
        assert!((a - b).abs() < 1e-3, "{chunk:?} {:?}", want.1);
    }
}

/// Noise of 1e-6 and one step of 1 among two hundred: not blown up to 3e5.
#[test]
fn a_sparse_column_keeps_its_range_by_quantile() {
    let rare = |row: usize, _: [f32; 2]| vec![if row == 77 { 1.0 } else { 1e-6 * noise(row) }];
    let config = RunConfig { action_normalizer: NormKind::Quantile, validation_fraction: 0.0, ..config() };
    let episodes = episodes(arm(nothing, rare));
    let trainer = Trainer::new(&cpu(), &episodes, &config).expect("a trainer");
    let found: Vec<_> = trainer.findings().iter().map(|f| f.to_string()).collect();
    assert!(
        found.len() == 1 && found[0].contains("action 2") && found[0].contains("min_max is taken"),
        "{found:?}"
    );
    assert!(trained(&cpu(), &episodes, &config).1.iter().all(|loss| *loss < 5.0));
}

#[test]
fn an_absurd_loss_is_said_and_then_stops() {
    let config = RunConfig { action_normalizer: NormKind::Identity, save_every: 2, ..config() };
    let with = |size: f32| {
        let episodes = episodes(arm(nothing, |row, _| vec![size * (row as f32).sin()]));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.safetensors");
        let mut trainer = Trainer::new(&cpu(), &episodes, &config).expect("a trainer");
        let mut high = Vec::new();
        let options = RunOptions { checkpoint: Some(&path), ..RunOptions::default() };
        let result = run(&mut trainer, options, &mut |event| {
            if let Event::HighLoss { step, loss } = event {
                high.push((step, loss));
            }
        });
        let saved = Policy::load(&path).map(|policy| policy.spec.provenance.steps).ok();
        (result, high, saved)
    };
    let (result, high, _) = with(1.0);
    assert!(result.is_ok() && high.is_empty(), "{high:?}");
    let (result, high, _) = with(200.0);
    assert!(result.is_ok() && high.len() == 1, "said once: {result:?} {high:?}");
    let (result, _, saved) = with(1e5);
    let Err(error @ TrainError::AbsurdLoss { step: 4, .. }) = result else { panic!("{result:?}") };
    assert!(error.to_string().contains("action 2 reaches 1.0"), "{error}");
    assert_eq!(saved, Some(2), "the last good checkpoint is kept");
}
