//! A joint that turns on over the ends of its range: named as an angle it is followed there, as a plain number it is not.
//! On the CPU and through WGSL.

use std::f32::consts::{PI, TAU};

use crate::common::{cpu, devices};
use advect::data::{EpisodeArrays, Episodes};
use advect::device::Device;
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::objective::Objective;
use advect::policy::{AngleUnit, Noise, NormKind, Policy, PolicySpec, SamplerOptions, Scope};
use advect::train::{AnglesSpec, DimRef, RunConfig, Trainer};

pub const HORIZON: usize = 4;
pub const STEP: f32 = 0.3;

pub fn wrap(x: f32) -> f32 {
    x - TAU * (x / TAU - 0.5).ceil()
}

/// A joint and which way it turns; the action is where it will be next.
pub fn turning() -> Episodes {
    let mut arrays = EpisodeArrays {
        obs_dim: 2,
        action_dim: 1,
        lengths: vec![30; 24],
        obs_names: Some(vec!["joint".into(), "way".into()]),
        action_names: Some(vec!["joint".into()]),
        ..EpisodeArrays::default()
    };
    for row in 0..24 * 30 {
        let (episode, t) = (row / 30, (row % 30) as f32);
        let way = if episode % 2 == 0 { 1.0 } else { -1.0 };
        let place = |t: f32| wrap(0.26 * episode as f32 + way * STEP * t);
        arrays.obs.extend([place(t), way]);
        arrays.action.push(place(t + 1.0));
    }
    Episodes::from_arrays(arrays).unwrap()
}

pub fn config(relative: bool, angles: bool, steps: u64) -> RunConfig {
    let names = |name: &str| vec![DimRef::Name(name.into())];
    RunConfig {
        objective: Objective::behaviour_cloning(),
        batch_size: 64,
        history: 1,
        horizon: HORIZON,
        pad_after: 0,
        action_normalizer: NormKind::MinMax,
        action_scope: Scope::PerDim,
        relative_to: if relative { names("joint") } else { vec![] },
        angles: angles.then(|| AnglesSpec {
            obs: names("joint"),
            action: names("joint"),
            ..AnglesSpec::default()
        }),
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![32, 32],
            activation: Activation::Silu,
            time: TimeInput::Raw,
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    }
    .in_steps(steps)
}

pub fn trained(device: &Device, config: &RunConfig) -> Policy {
    let mut trainer = Trainer::new(device, &turning(), config).unwrap();
    while trainer.step() < config.steps {
        trainer.advance((config.steps - trainer.step()).min(64)).unwrap();
    }
    trainer.policy().unwrap()
}

fn chunks(device: &Device, policy: &Policy, obs: &[f32]) -> Vec<f32> {
    let count = obs.len() / 2;
    let mut sampler = policy.sampler(device, count, 1, &SamplerOptions::default()).unwrap();
    let mut actions = vec![0.0; count * HORIZON];
    sampler.sample(obs, Noise::Seed { seed: 5, request: 0 }, &mut actions).unwrap();
    actions
}

/// Where the joint may be asked for: next to the cut, on both sides, both ways.
pub fn places() -> Vec<f32> {
    (0..24).flat_map(|i| [wrap(PI - 0.6 + 0.05 * i as f32), if i % 2 == 0 { 1.0 } else { -1.0 }]).collect()
}

/// The largest error modulo a turn.
fn error(obs: &[f32], actions: &[f32]) -> f32 {
    let each = actions.chunks_exact(HORIZON).zip(obs.chunks_exact(2)).flat_map(|(chunk, obs)| {
        chunk.iter().enumerate().map(|(i, x)| wrap(x - obs[0] - obs[1] * STEP * (i + 1) as f32).abs())
    });
    each.fold(0.0, f32::max)
}

#[test]
fn an_angle_is_followed_over_its_ends_and_a_number_is_not() {
    // A regression, so that what is left is not the width of a flow's samples.
    let (device, obs) = (cpu(), places());
    let policy = trained(&device, &config(true, true, 600));
    let actions = chunks(&device, &policy, &obs);
    let off = error(&obs, &actions);
    assert!(off < 0.25, "an angle: {off}");
    assert!(actions.iter().all(|x| x.abs() <= PI), "{actions:?}");
    for relative in [false, true] {
        let plain = chunks(&device, &trained(&device, &config(relative, false, 600)), &obs);
        assert!(error(&obs, &plain) > 1.0, "a plain number, relative {relative}: {}", error(&obs, &plain));
    }
}

#[test]
fn whole_turns_of_the_state_change_nothing_on_any_device_and_after_saving() {
    let (obs, folder) = (places(), tempfile::tempdir().unwrap());
    let turned: Vec<f32> = obs.chunks_exact(2).flat_map(|o| [o[0] - 2.0 * TAU, o[1]]).collect();
    let mut first: Option<Vec<f32>> = None;
    for device in devices() {
        let policy = trained(&device, &config(true, true, 8));
        let path = folder.path().join("policy.safetensors");
        policy.save(&path).unwrap();
        let again = Policy::load(&path).unwrap();
        assert_eq!(again.spec, policy.spec);
        let actions = chunks(&device, &again, &obs);
        for (a, b) in actions.iter().zip(chunks(&device, &again, &turned)) {
            assert!(wrap(a - b).abs() < 1e-3, "{a} {b}");
        }
        let first = first.get_or_insert_with(|| actions.clone());
        for (a, b) in first.iter().zip(&actions) {
            assert!(wrap(a - b).abs() < 1e-3, "{a} {b}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |change: &dyn Fn(&mut RunConfig)| {
        let mut config = config(true, true, 8);
        change(&mut config);
        match Trainer::new(&cpu(), &turning(), &config) {
            Ok(_) => panic!("{config:?} is taken"),
            Err(error) => error.to_string(),
        }
    };
    let said = refused(&|c| c.relative_to.clear());
    assert!(said.contains("action 0 is an angle, and absolute") && said.contains("riemannian"), "{said}");
    let said = refused(&|c| c.relative_to = vec![DimRef::Index(1)]);
    assert!(said.contains("action 0 is an angle, observation 1 is none"), "{said}");
    let said =
        refused(&|c| c.angles = Some(AnglesSpec { obs: vec![DimRef::Index(0)], ..AnglesSpec::default() }));
    assert!(said.contains("action 0 is no angle, but relative to one"), "{said}");
    let angle = |d| Some(AnglesSpec { obs: vec![d], action: vec![], unit: AngleUnit::Degrees });
    let said = refused(&|c| c.angles = angle(DimRef::Index(2)));
    assert!(said.contains("angles.obs: found dimension 2 of 2"), "{said}");
    let said = refused(&|c| c.angles = angle(DimRef::Name("elbow".into())));
    assert!(said.contains("angles.obs: found the name \"elbow\""), "{said}");
}

#[test]
fn a_policy_of_before_has_no_angles() {
    let policy = trained(&cpu(), &config(true, false, 2));
    let text = serde_json::to_string(&policy.spec).unwrap();
    assert!(!text.contains("angles"), "{text}");
    assert_eq!(serde_json::from_str::<PolicySpec>(&text).unwrap(), policy.spec);
}
