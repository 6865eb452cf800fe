//! Controllers over a real policy on the CPU executor: a point that walks to one of two sides.

use advect::control::{Actor, ControlSpec, Controller, FitOptions, Hold, Kind, Mode, SafetySpec};
use advect::data::EpisodeArrays;
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::train::DimRef;
use advect::{Cpu, Device, Episodes, Policy, RunConfig, SamplerOptions, Trainer};
use std::time::Duration;

const RATE: f64 = 20.0;

fn device() -> Device {
    Device::Cpu(Cpu::with_threads(1).unwrap())
}

/// Observation: x, y. Action: the next x, y.
fn episodes() -> Episodes {
    let (count, length) = (40, 30);
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..count {
        let side = if e % 2 == 0 { 1.0 } else { -1.0 };
        let mut at = [0.01 * (e / 2) as f32, 0.0];
        for t in 0..length {
            obs.extend(at);
            let wave = 0.004 * (1.3 * e as f32 + 0.5 * t as f32).sin();
            at = [at[0] + side * 0.02 + wave, at[1] + 0.03 - wave];
            action.extend(at);
        }
    }
    let lengths = vec![length; count];
    let arrays =
        EpisodeArrays { obs, action, obs_dim: 2, action_dim: 2, lengths, ..EpisodeArrays::default() };
    Episodes::from_arrays(arrays).unwrap()
}

fn policy() -> Policy {
    let config = RunConfig {
        batch_size: 64,
        horizon: 8,
        relative_to: vec![DimRef::Index(0), DimRef::Index(1)],
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![48, 48],
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    }
    .in_steps(600);
    let mut trainer = Trainer::new(&device(), &episodes(), &config).unwrap();
    trainer.advance(600).unwrap();
    trainer.policy().unwrap()
}

fn spec(policy: &Policy, mode: Mode, execute: usize) -> ControlSpec {
    ControlSpec { seed: 3, ..ControlSpec::new(mode, execute, Hold::of(&policy.spec).unwrap()) }
}

/// Robots that are where they were told to be: all their actions, one row of `2 robots` per step.
fn walk(
    starts: &[[f32; 2]],
    steps: usize,
    mut act: impl FnMut(&[f32], Duration) -> Vec<f32>,
) -> Vec<Vec<f32>> {
    let mut at: Vec<f32> = starts.as_flattened().to_vec();
    let mut rows = Vec::new();
    for step in 0..steps {
        at = act(&at, Duration::from_secs_f64(step as f64 / RATE));
        rows.push(at.clone());
    }
    rows
}

#[test]
fn an_actor_with_time_does_what_a_controller_does() {
    let policy = policy();
    let source = || policy.sampler(&device(), 1, 1, &SamplerOptions::default()).unwrap();
    for mode in [Mode::Receding, Mode::Ensemble { decay: 0.01 }] {
        let spec = ControlSpec { deadline_ms: 60_000.0, ..spec(&policy, mode, 3) };
        let mut controller = Controller::new(source(), &spec).unwrap();
        let mut actor = Actor::start(source(), &spec).unwrap();
        let start = [[0.05, 0.0]];
        let here = walk(&start, 25, |obs, now| controller.act(obs, now).unwrap().values.to_vec());
        let there = walk(&start, 25, |obs, now| {
            let action = actor.act(obs, now).unwrap();
            assert_eq!(action.kind, Kind::Fresh);
            action.values.to_vec()
        });
        assert_eq!(here, there, "{mode:?}");
        let end = &here[24];
        assert!((end[1] - 0.75).abs() < 0.2, "it walks: {end:?}");
        assert_eq!(actor.stop(), controller.counts());
    }
}

#[test]
fn a_robot_acts_the_same_in_any_company() {
    let policy = policy();
    let run = |starts: &[[f32; 2]]| {
        let source = policy.sampler(&device(), starts.len(), 1, &SamplerOptions::default()).unwrap();
        let mut controller = Controller::new(source, &spec(&policy, Mode::Receding, 3)).unwrap();
        walk(starts, 20, |obs, now| controller.act(obs, now).unwrap().values.to_vec())
    };
    let alone = run(&[[0.1, 0.0]]);
    let together = run(&[[0.1, 0.0], [0.0, 0.1], [0.05, 0.2]]);
    for (a, b) in alone.iter().zip(&together) {
        // Products of few and of many rows add in another order.
        assert!((a[0] - b[0]).abs() < 1e-4 && (a[1] - b[1]).abs() < 1e-4, "{a:?} {b:?}");
    }
}

#[test]
fn limits_fitted_to_the_demonstrations_let_the_policy_pass_and_stop_nonsense() {
    let (policy, episodes) = (policy(), episodes());
    let safety = SafetySpec::fit(&episodes, RATE, &FitOptions { quantile: 1.0, margin: 1.0 }).unwrap();
    let spec =
        ControlSpec { safety: Some(safety.clone()), ..spec(&policy, Mode::Ensemble { decay: 0.01 }, 1) };
    let source = policy.sampler(&device(), 1, 1, &SamplerOptions::default()).unwrap();
    let mut controller = Controller::new(source, &spec).unwrap();
    let rows = walk(&[[0.05, 0.0]], 25, |obs, now| controller.act(obs, now).unwrap().values.to_vec());
    let counts = controller.gate().unwrap().counts();
    assert_eq!((counts.not_finite, counts.outside, counts.held), (0, 0, 0), "{counts:?}");
    assert!(rows[24][1] > 0.5, "it still walks: {:?}", rows[24]);
    // Far from all demonstrations the policy's word is not taken.
    controller.reset(0, None).unwrap();
    let action = controller.act(&[40.0, -40.0], Duration::from_secs(2)).unwrap();
    let (high, low) = (safety.high[0], safety.low[1]);
    assert_eq!((action.kind, action.values), (Kind::Hold, &[high, low][..]));
}

/// In real time: nothing is promised about a loaded machine, but that every call gives finite actions and says what they are.
#[test]
fn an_actor_keeps_its_word_in_real_time() {
    let policy = policy();
    let source = policy.sampler(&device(), 1, 1, &SamplerOptions::default()).unwrap();
    let spec = ControlSpec { deadline_ms: 2.0, ..spec(&policy, Mode::Receding, 4) };
    let mut actor = Actor::start(source, &spec).unwrap();
    actor.act(&[0.0, 0.0], Duration::ZERO).unwrap();
    assert!(actor.wait(Duration::from_secs(20)));
    let mut at = vec![0.0, 0.0];
    for step in 1..60 {
        let action = actor.act(&at, Duration::from_millis(5 * step)).unwrap();
        assert!(action.values.iter().all(|v| v.is_finite()));
        at = action.values.to_vec();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(actor.fault().is_none() && actor.is_alive());
    let counts = actor.stop();
    assert_eq!(counts.ticks, 60);
    assert_eq!(counts.fresh + counts.previous + counts.held, 60);
    assert!(counts.chunks >= 2 && counts.fresh > 0, "{counts:?}");
}
