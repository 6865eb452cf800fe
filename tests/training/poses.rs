//! A policy of poses trains on its manifold, and what does not fit one is named.

use crate::common::{cpu, devices};
use advect::data::{EpisodeArrays, Episodes};
use advect::device::Device;
use advect::flow::manifold::{Manifold, Placement};
use advect::kernel::math::Activation;
use advect::nn::{Conditioning, NetworkSpec, TimeInput, mlp::Mlp};
use advect::objective::Objective;
use advect::objective::riemannian::Riemannian;
use advect::policy::NormKind;
use advect::{Noise, Policy, RunConfig, SamplerOptions, Trainer};

/// Two grasps: from above and from the side, at two places, with a gripper opening.
fn grasps() -> Episodes {
    let (episodes, length) = (20, 8);
    let half = std::f32::consts::FRAC_1_SQRT_2;
    let ways = [[0.5, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0, 1.0], [-0.5, 0.3, 0.0, half, 0.0, half, 0.0, -1.0]];
    let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
    let action = (0..episodes * length)
        .flat_map(|i| {
            let mut a = ways[i / length % 2];
            // Recorders flip the sign of quaternions as they like.
            a[3..7].iter_mut().for_each(|v| *v *= sign(i));
            a
        })
        .collect();
    let obs = (0..episodes * length).map(|i| (i % length) as f32).collect();
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 1, action_dim: 8, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).unwrap()
}

fn config(steps: u64) -> RunConfig {
    RunConfig {
        objective: Objective::Riemannian(Riemannian {
            manifolds: vec![Placement { kind: Manifold::Se3, at: 0 }],
        }),
        history: 1,
        horizon: 2,
        pad_after: 1,
        batch_size: 128,
        validation_fraction: 0.1,
        action_normalizer: NormKind::MinMax,
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![128, 128],
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 1e4 },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default().in_steps(steps)
    }
}

fn sample(policy: &Policy, device: &Device, solver: &str, samples: usize) -> Vec<f32> {
    let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
    let mut sampler = policy.sampler(device, 1, samples, &options).unwrap();
    let mut actions = vec![0.0; samples * policy.spec.chunk()];
    sampler.sample(&[0.0], Noise::Seed { seed: 5, request: 0 }, &mut actions).unwrap();
    actions
}

#[test]
fn a_policy_of_poses_takes_both_grasps() {
    let cpu = cpu();
    let mut trainer = Trainer::new(&cpu, &grasps(), &config(8000)).unwrap();
    for _ in 0..8 {
        trainer.advance(1000).unwrap();
    }
    let policy = trainer.policy().unwrap();
    let samples = 128;
    for solver in ["euler:10", "rk4:4"] {
        let actions = sample(&policy, &cpu, solver, samples);
        let (mut above, mut side) = (0, 0);
        for chunk in actions.chunks_exact(16) {
            let (first, second) = (&chunk[..8], &chunk[8..]);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            assert!((dot(&first[3..7], &first[3..7]) - 1.0).abs() < 1e-5, "a rotation: {first:?}");
            assert!(dot(&first[3..7], &second[3..7]) >= 0.0, "signs follow each other: {chunk:?}");
            // Within 0.3 rad and 0.2 m, with the gripper right.
            let half = std::f32::consts::FRAC_1_SQRT_2;
            let close = |place: [f32; 3], q: [f32; 4], grip: f32| {
                let far = (0..3).map(|i| (first[i] - place[i]).abs()).fold(0.0, f32::max);
                dot(&first[3..7], &q).abs() > 0.15f32.cos() && far < 0.2 && (first[7] - grip).abs() < 0.4
            };
            above += usize::from(close([0.5, 0.0, 0.2], [1.0, 0.0, 0.0, 0.0], 1.0));
            side += usize::from(close([-0.5, 0.3, 0.0], [half, 0.0, half, 0.0], -1.0));
        }
        println!("{solver}: {above} from above, {side} from the side, of {samples}");
        assert!(
            above > samples / 4 && side > samples / 4 && above + side > samples * 4 / 5,
            "{solver}: {above} {side}"
        );
    }
    let loss = |device: &Device| {
        let mut trainer =
            Trainer::new(device, &grasps(), &RunConfig { batch_size: 16, ..config(12) }).unwrap();
        trainer.advance(12).unwrap().loss
    };
    let reference = (loss(&cpu), sample(&policy, &cpu, "midpoint:2", 3));
    for device in devices() {
        assert!((loss(&device) - reference.0).abs() < 1e-3 * reference.0);
        let got = sample(&policy, &device, "midpoint:2", 3);
        assert!(got.iter().zip(&reference.1).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let cpu = cpu();
    let error = |episodes: &Episodes, config: RunConfig| {
        Trainer::new(&cpu, episodes, &config).err().expect("refused").to_string()
    };
    let of = |manifolds: Vec<Placement>| RunConfig {
        objective: Objective::Riemannian(Riemannian { manifolds }),
        ..config(10)
    };
    let said = error(&grasps(), of(vec![]));
    assert!(said.contains("objective.riemannian.manifolds") && said.contains("at least one"), "{said}");
    let said = error(&grasps(), of(vec![Placement { kind: Manifold::Se3, at: 2 }]));
    assert!(said.contains("8 values"), "{said}");
    // The position is no direction.
    let said = error(&grasps(), of(vec![Placement { kind: Manifold::S2, at: 0 }]));
    assert!(said.contains("row 0") && said.contains("unit vector"), "{said}");
    let relative = RunConfig { relative_to: vec![advect::train::DimRef::Index(0); 8], ..config(10) };
    let said = error(&grasps(), relative);
    assert!(said.contains("column 3") && said.contains("relative"), "{said}");
    let coupled =
        RunConfig { coupling: advect::flow::Coupling::ExactOt { condition_weight: 0.0 }, ..config(10) };
    let said = error(&grasps(), coupled);
    assert!(said.contains("coupling"), "{said}");

    let mut trainer = Trainer::new(&cpu, &grasps(), &config(10)).unwrap();
    let policy = trainer.policy().unwrap();
    let refused = |solver: &str| {
        let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
        policy.sampler(&cpu, 1, 1, &options).err().expect("refused").to_string()
    };
    assert!(refused("dopri5:1e-4").contains("fixed steps"));
    assert!(refused("sde:4").contains("fixed steps"));
}
