//! Every objective end to end: it trains on a toy of two ways, is sampled, and survives its checkpoint; a GPU does the same as the CPU.

use crate::common::{cpu, devices, gpu};
use advect::control::{ControlSpec, Controller, Hold, Mode, StreamController};
use advect::data::{EpisodeArrays, Episodes};
use advect::device::Device;
use advect::flow::Integrator;
use advect::flow::manifold::{Manifold, Placement};
use advect::kernel::math::Activation;
use advect::nn::{Conditioning, NetworkSpec, TimeInput, mlp::Mlp};
use advect::objective::Objective;
use advect::objective::act::ActObjective;
use advect::objective::mean_flow::MeanFlow;
use advect::objective::riemannian::Riemannian;
use advect::objective::vq_bet::VqBet;
use advect::policy::{NoiseKey, NormKind, Scope, Weights};
use advect::train::DimRef;
use advect::{Noise, Policy, RunConfig, SamplerOptions, Trainer};
use npyz::WriterBuilder as _;

/// Episodes that stay at +1 or at -1 while the robot is at 0.
fn two_ways() -> Episodes {
    let (episodes, length) = (20, 8);
    let obs = (0..episodes * length).flat_map(|i| [0.0, (i % length) as f32]).collect();
    let action = (0..episodes * length).map(|i| if i / length % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 2, action_dim: 1, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

/// The same two ways on a circle, for the objective that needs one.
fn toy(name: &str) -> Episodes {
    let episodes = two_ways();
    if name != "riemannian" {
        return episodes;
    }
    let action: Vec<f32> = episodes.action().iter().flat_map(|a| [*a, 0.0]).collect();
    let lengths = vec![8; 20];
    let obs = episodes.obs().to_vec();
    let arrays = EpisodeArrays { obs, action, obs_dim: 2, action_dim: 2, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

fn objective(name: &str) -> Objective {
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
        "vq_bet" => Objective::VqBet(VqBet { latent_dim: 8, width: 64, layers: 2, ..VqBet::default() }),
        "mean_flow" => Objective::MeanFlow(MeanFlow { every: 2, ..MeanFlow::default() }),
        "riemannian" => {
            let manifolds = vec![Placement { kind: Manifold::S1, at: 0 }];
            Objective::Riemannian(Riemannian { manifolds })
        }
        name => Objective::named(name).expect("it is in the table"),
    }
}

fn config(name: &str, steps: u64) -> RunConfig {
    RunConfig {
        objective: objective(name),
        horizon: 4,
        pad_after: 3,
        batch_size: 128,
        validation_fraction: 0.1,
        relative_to: if name == "riemannian" { Vec::new() } else { vec![DimRef::Index(0)] },
        action_scope: Scope::PerDim,
        action_normalizer: if name == "denoising" { NormKind::MinMax } else { NormKind::MeanStd },
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![64, 64],
            activation: Activation::Silu,
            // MeanFlow differentiates by the time: an embedding of high frequencies would drown its target.
            time: match name {
                "mean_flow" => TimeInput::Raw,
                _ => TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 1e4 },
            },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default().in_steps(steps)
    }
}

fn sample(policy: &Policy, device: &Device, solver: &str, samples: usize) -> Vec<f32> {
    let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
    let mut sampler = policy.sampler(device, 1, samples, &options).unwrap();
    let mut actions = vec![0.0; samples * policy.spec.chunk()];
    let obs = vec![0.0; policy.spec.request()];
    sampler.sample(&obs, Noise::Seed { seed: 5, request: 0 }, &mut actions).unwrap();
    assert!(actions.iter().all(|a| a.is_finite()));
    actions
}

/// What a generative objective is for: both ways, nothing between them. A regression takes one answer for all noise.
#[test]
fn generative_objectives_take_both_ways_and_regressions_one() {
    let device = cpu();
    let samples = 128;
    for (name, solvers) in [
        ("flow_matching", &["euler:10", "sde:50"][..]),
        ("classifier_free", &["euler:10"]),
        ("mean_flow", &["euler:1", "euler:4"]),
        ("shortcut", &["euler:1", "euler:8"]),
        ("consistency", &["euler:2", "euler:10"]),
        ("denoising", &["ddim:10", "ddpm:50"]),
        ("vq_bet", &["euler:1"]),
        ("behaviour_cloning", &["euler:1"]),
        ("mip", &["euler:2"]),
        ("act", &["euler:1"]),
    ] {
        // The codes settle before the offsets can.
        let rounds = if name == "vq_bet" { 16 } else { 6 };
        let mut trainer = Trainer::new(&device, &toy(name), &config(name, 500 * rounds)).unwrap();
        let first = trainer.advance(500).unwrap().loss;
        for _ in 1..rounds {
            trainer.advance(500).unwrap();
        }
        assert!(trainer.validate().unwrap().expect("two episodes are held out").is_finite());
        let policy = trainer.policy().unwrap();
        for solver in solvers {
            let actions = sample(&policy, &device, solver, samples);
            let last: Vec<f32> = actions.chunks_exact(4).map(|c| c[3]).collect();
            let share =
                |side: f32| last.iter().filter(|a| (*a - side).abs() < 0.4).count() as f32 / samples as f32;
            let (left, right) = (share(-1.0), share(1.0));
            println!(
                "{name} {solver}: mean loss of the first 500 steps {first:.3}, left {left:.2}, right {right:.2}"
            );
            match name {
                "behaviour_cloning" | "mip" | "act" => {
                    assert!(last.iter().all(|a| a == &last[0] && a.abs() < 1.5), "{name}: {:?}", &last[..4]);
                }
                // Few steps are an approximation: most samples, and on both sides.
                "mean_flow" | "shortcut" | "consistency" => assert!(
                    left > 0.2 && right > 0.2 && left + right > 0.5,
                    "{name} {solver}: {left} left, {right} right"
                ),
                _ => assert!(
                    left > 0.25 && right > 0.25 && left + right > 0.85,
                    "{name} {solver}: {left} left, {right} right"
                ),
            }
        }
    }
}

/// A streaming policy starts where the robot is and follows the demonstrated trajectory, one action a step.
#[test]
fn streaming_follows_the_trajectory() {
    let device = cpu();
    let (episodes, length) = (10, 8);
    let obs = (0..episodes * length).flat_map(|i| [0.0, (i % length) as f32]).collect();
    let action = (0..episodes * length).map(|i| (i % length + 1) as f32 / length as f32).collect();
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 2, action_dim: 1, lengths, ..Default::default() };
    let ramp = Episodes::from_arrays(arrays).expect("the toy is sound");
    let mut trainer = Trainer::new(&device, &ramp, &config("streaming", 8000)).unwrap();
    for _ in 0..8 {
        trainer.advance(1000).unwrap();
    }
    let actions = sample(&trainer.policy().unwrap(), &device, "euler:4", 32);
    for chunk in actions.chunks_exact(4) {
        for (i, a) in chunk.iter().enumerate() {
            let want = (i + 1) as f32 / length as f32;
            assert!((a - want).abs() < 0.08, "action {i}: {a}, demonstrated {want}");
        }
    }
}

/// Action by action it is the chunk that the sampler makes, for robots at different steps; and a controller that takes actions as they
/// come does what one that waits for whole chunks does, asking the network once for each.
#[test]
fn streams_emit_the_chunks_of_the_sampler() {
    let cpu = cpu();
    let config = RunConfig { relative_to: vec![DimRef::Index(1)], ..config("streaming", 200) };
    let mut trainer = Trainer::new(&cpu, &two_ways(), &config).unwrap();
    trainer.advance(200).unwrap();
    let policy = trainer.policy().unwrap();
    for device in &devices() {
        let keys = [3, 4].map(|request| NoiseKey { seed: 9, request });
        let obs = [0.1f32, 0.5, 0.2, 1.5, -0.3, 2.0, 0.4, 3.0];
        let mut sampler = policy.sampler(device, 2, 1, &SamplerOptions::default()).unwrap();
        let mut chunks = vec![0.0; 8];
        sampler.sample(&obs, Noise::PerObservation(&keys), &mut chunks).unwrap();
        let mut stream = policy.stream(device, 2, Weights::Ema).unwrap();
        let mut got = [f32::NAN; 8];
        // The second robot begins when the first has emitted two actions.
        stream.begin(0, &obs[..4], keys[0]).unwrap();
        for step in 0..6 {
            if step == 2 {
                stream.begin(1, &obs[4..], keys[1]).unwrap();
            }
            let wanted = [step < 4, step >= 2];
            stream.next(&wanted, |robot, row, action| got[4 * robot + row] = action[0]).unwrap();
        }
        for (got, want) in got.iter().zip(&chunks) {
            assert!((got - want).abs() < 1e-5, "{got} emitted, {want} in the chunk");
        }
        let dispatches = |integrator: &Integrator| {
            let plan = integrator.plan();
            plan.dispatches(plan.phase("steps").unwrap())
        };
        let (of_action, of_chunk) = (dispatches(stream.integrator()), dispatches(sampler.integrator()));
        assert!(0 < of_action && 2 * of_action < of_chunk, "{of_action} dispatches of {of_chunk}");
        let ended = stream.next(&[true, false], |_, _, _| {}).unwrap_err().to_string();
        assert!(ended.contains("robot 0 at its end"), "{ended}");

        let spec = ControlSpec::new(Mode::Receding, 3, Hold::Last { from: vec![1] });
        let stream = policy.stream(device, 2, Weights::Ema).unwrap();
        let mut streaming = StreamController::new(stream, &spec).unwrap();
        let sampler = policy.sampler(device, 2, 1, &SamplerOptions::default()).unwrap();
        let mut whole = Controller::new(sampler, &spec).unwrap();
        let now = std::time::Duration::ZERO;
        for tick in 0..12 {
            let t = tick as f32;
            // One robot is not seen for a moment, and is reset once.
            let first = if tick == 4 { f32::NAN } else { 0.1 * t };
            let obs = [first, t, 0.3 - t, 2.0];
            if tick == 8 {
                streaming.reset(1, Some(5)).unwrap();
                whole.reset(1, Some(5)).unwrap();
            }
            let a = streaming.act(&obs, now).unwrap();
            let (values, kinds) = (a.values.to_vec(), a.kinds.to_vec());
            let b = whole.act(&obs, now).unwrap();
            assert_eq!(kinds, b.kinds, "tick {tick}");
            assert!(
                values.iter().zip(b.values).all(|(a, b)| (a - b).abs() < 1e-5),
                "tick {tick}: {values:?} {b:?}"
            );
        }
        assert_eq!(streaming.counts().fresh, whole.counts().fresh);
    }
    let other = Trainer::new(&cpu, &two_ways(), &self::config("flow_matching", 5)).unwrap().policy().unwrap();
    let said = other.stream(&cpu, 1, Weights::Ema).err().expect("refused").to_string();
    assert!(said.contains("flow_matching") && said.contains("streaming"), "{said}");
}

/// A checkpoint says everything that sampling needs.
#[test]
fn checkpoints_are_whole() {
    let device = cpu();
    let dir = tempfile::tempdir().unwrap();
    for name in Objective::NAMES {
        let mut trainer = Trainer::new(&device, &toy(name), &config(name, 20)).unwrap();
        trainer.advance(20).unwrap();
        let policy = trainer.policy().unwrap();
        let path = dir.path().join(format!("{name}.safetensors"));
        policy.save(&path).unwrap();
        let read = Policy::load(&path).unwrap();
        assert_eq!(read.spec, policy.spec, "{name}");
        let [a, b] = [&policy, &read].map(|p| sample(p, &device, "euler:3", 5));
        assert_eq!(a, b, "{name}");
    }
}

/// The command line asks for ten Euler steps by default; a trajectory has as many states as the objective really takes.
#[test]
fn trajectories_have_the_objectives_own_steps() {
    let device = cpu();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let mut file = std::fs::File::create(at("obs.npy")).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(&[1, 2, 2]);
    let mut writer = options.writer(&mut file).begin_nd().unwrap();
    writer.extend([0.0f32; 4]).unwrap();
    writer.finish().unwrap();
    for (name, solver, steps) in [("mip", "euler:10", 2u64), ("denoising", "ddim:4", 4)] {
        let mut trainer = Trainer::new(&device, &two_ways(), &config(name, 5)).unwrap();
        trainer.advance(5).unwrap();
        trainer.policy().unwrap().save(at("policy.safetensors")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_advect"))
            .args(["sample", &at("policy.safetensors"), "--obs", &at("obs.npy"), "--batch", "3"])
            .args(["--solver", solver, "--device", "cpu"])
            .args(["--trajectory", &at("states.npy"), "--out", &at("actions.npy")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let read = |name: &str| {
            let file = npyz::NpyFile::new(std::fs::File::open(at(name)).unwrap()).unwrap();
            (file.shape().to_vec(), file.into_vec::<f32>().unwrap())
        };
        let ((shape, states), (_, actions)) = (read("states.npy"), read("actions.npy"));
        assert_eq!(shape, [1, 3, steps + 1, 4, 1], "{name}");
        for (states, action) in states.chunks_exact(4 * (steps as usize + 1)).zip(actions.chunks_exact(4)) {
            let apart = |(a, b): (&f32, &f32)| (a - b).abs();
            let last = &states[4 * steps as usize..];
            assert!(last.iter().zip(action).map(apart).fold(0.0, f32::max) < 1e-5, "{name}");
        }
    }
}

/// Batches that an objective cannot divide, and settings that its samplers would turn into nonsense, are errors before training.
#[test]
fn settings_that_do_not_fit_are_named() {
    let device = cpu();
    let error =
        |config: RunConfig| Trainer::new(&device, &two_ways(), &config).err().expect("refused").to_string();
    let odd = error(RunConfig { batch_size: 126, ..config("shortcut", 10) });
    assert_eq!(odd, "batch_size: found 126, needed a multiple of 4 for shortcut");
    let clipped = error(RunConfig { action_normalizer: NormKind::MeanStd, ..config("denoising", 10) });
    assert!(clipped.contains("min_max") && clipped.contains("clip"), "{clipped}");
    let absolute = error(RunConfig { relative_to: Vec::new(), ..config("streaming", 10) });
    assert!(absolute.contains("relative_to"), "{absolute}");
}

/// The same steps through WGSL: losses and samples agree with the CPU's.
#[test]
fn a_gpu_does_the_same() {
    let Some(gpu) = gpu() else { return };
    let cpu = cpu();
    for name in Objective::NAMES {
        let run = |device: &Device| {
            let config = RunConfig { batch_size: 16, ..config(name, 12) };
            let mut trainer = Trainer::new(device, &toy(name), &config).unwrap();
            let loss = trainer.advance(12).unwrap().loss;
            let policy = trainer.policy().unwrap();
            (loss, policy)
        };
        let ((a, policy), (b, _)) = (run(&cpu), run(&gpu));
        assert!((a - b).abs() < 1e-3 * a.abs().max(0.1), "{name}: loss {a} on the CPU, {b} on the GPU");
        let solvers: &[&str] = match *name {
            "flow_matching" => &["euler:3", "sde:4"],
            "denoising" => &["ddim:4", "ddpm:4"],
            _ => &["euler:3"],
        };
        for solver in solvers {
            let [a, b] = [&cpu, &gpu].map(|d| sample(&policy, d, solver, 3));
            let apart = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-4, "{name} {solver}: {apart}");
        }
    }
}
