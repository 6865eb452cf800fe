//! Training as a whole: the same seed is the same run, stopped or not, on the CPU and through WGSL; the loss falls; steady
//! state creates nothing; a checkpoint is a whole policy.

use crate::common::{cpu, devices, gpu};
use crate::fused::distance;
use advect::data::{EpisodeArrays, Episodes};
use advect::device::Device;
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::residual::Residual;
use advect::nn::transformer::{Observation, Transformer};
use advect::nn::unet1d::Unet1d;
use advect::nn::{Conditioning, EncoderSpec, NetworkSpec, TimeInput};
use advect::policy::{LogProbOptions, Noise, Objective, Policy, SamplerOptions, Weights};
use advect::train::{
    DimRef, Event, MetricsLine, MetricsWriter, ReflowSpec, RunConfig, RunOptions, TrainError, Trainer,
    resume, run,
};
use std::cell::Cell;
use std::path::Path;

/// Episodes of a point that walks to one of two sides, so that chunks have two modes.
fn toy() -> Episodes {
    let (episodes, length) = (12, 20);
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..episodes {
        let side = if e % 2 == 0 { 1.0 } else { -1.0 };
        let mut x = [0.1 * e as f32, 0.0];
        for t in 0..length {
            obs.extend_from_slice(&[x[0], x[1], t as f32 / length as f32]);
            x = [x[0] + 0.05 * side, x[1] + 0.1];
            action.extend_from_slice(&x);
        }
    }
    let arrays = EpisodeArrays {
        obs,
        action,
        obs_dim: 3,
        action_dim: 2,
        lengths: vec![length; episodes],
        ..Default::default()
    };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

fn config() -> RunConfig {
    let mut config = RunConfig {
        steps: 24,
        batch_size: 32,
        seed: 7,
        log_every: 5,
        validate_every: 10,
        save_every: 8,
        horizon: 4,
        pad_after: 2,
        relative_to: vec![DimRef::Index(0), DimRef::Index(1)],
        network: NetworkSpec::Residual(Residual {
            width: 32,
            blocks: 1,
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    };
    config.optimizer.warmup = 4;
    config
}

fn trained(device: &Device, config: &RunConfig) -> (Policy, Vec<MetricsLine>) {
    let mut trainer = Trainer::new(device, &toy(), config).expect("a trainer");
    let mut lines = Vec::new();
    let observer = &mut |event| {
        if let Event::Line(line) = event {
            lines.push(MetricsLine { steps_per_s: 0.0, ..line });
        }
    };
    run(&mut trainer, RunOptions::default(), observer).expect("training");
    (trainer.policy().expect("a policy"), lines)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// A small U-Net goes through the same trainer: its loss falls, and its policy samples.
#[test]
fn a_unet_trains() {
    let network = NetworkSpec::Unet1d(Unet1d {
        down_dims: vec![16, 32],
        kernel_size: 3,
        groups: 4,
        final_groups: 8,
        time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
        film_scale: true,
    });
    for device in devices() {
        // Fewer steps on an adapter that may be software, and less to ask of them.
        let (steps, share) = if matches!(device, Device::Cpu(_)) { (200, 0.9) } else { (30, 1.0) };
        let config = RunConfig { network: network.clone(), steps, ..config() };
        let (policy, lines) = trained(&device, &config);
        let losses: Vec<f64> = lines.iter().map(|l| l.loss).collect();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let third = losses.len() / 3;
        let (first, last) = (mean(&losses[..third]), mean(&losses[losses.len() - third..]));
        println!("{}: {steps} steps of a U-Net, loss {first:.3} to {last:.3}", device.describe());
        assert!(last < share * first, "{}: loss {first} to {last}", device.describe());
        let mut sampler = policy.sampler(&device, 2, 3, &SamplerOptions::default()).expect("a sampler");
        let mut chunks = vec![f32::NAN; 6 * policy.spec.chunk()];
        let obs = vec![0.1; 2 * policy.spec.request()];
        sampler.sample(&obs, Noise::Seed { seed: 1, request: 0 }, &mut chunks).expect("chunks");
        assert!(chunks.iter().all(|v| v.is_finite()));
    }
    let error = Trainer::new(&devices()[0], &toy(), &RunConfig { network, horizon: 5, ..config() });
    let error = error.err().expect("5 is odd").to_string();
    assert!(error.contains("horizon 5") && error.contains("multiple of 2"), "{error}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for device in devices() {
        let (a, lines) = trained(&device, &config());
        let (b, again) = trained(&device, &config());
        assert_eq!(bits(&a.weights.values), bits(&b.weights.values), "{}", device.describe());
        assert_eq!(bits(&a.ema.values), bits(&b.ema.values), "{}", device.describe());
        assert_eq!(lines, again);
        assert_eq!(
            a.to_bytes().expect("a file"),
            b.to_bytes().expect("a file"),
            "the same run is the same bytes"
        );
        let steps: Vec<u64> = lines.iter().map(|l| l.step).collect();
        assert_eq!(steps, [5, 10, 15, 20, 24], "a line each log_every steps, and at the end");
        let validated: Vec<bool> = lines.iter().map(|l| l.val_loss.is_some()).collect();
        assert_eq!(validated, [false, true, false, true, true]);
        let (other, _) = trained(&device, &RunConfig { seed: 8, ..config() });
        assert_ne!(bits(&a.weights.values), bits(&other.weights.values));
    }
}

/// The transformer starts with gates of zero, so that its blocks have to be opened first.
#[test]
fn a_transformer_learns() {
    for observation in [Observation::Conditioning, Observation::CrossAttention] {
        let network = NetworkSpec::Transformer(Transformer {
            width: 32,
            layers: 2,
            heads: 2,
            mlp_ratio: 2,
            observation,
            ..Transformer::default()
        });
        let mut config = RunConfig { steps: 300, log_every: 20, network, history: 2, ..config() };
        config.optimizer.lr = 3e-3;
        let (policy, lines) = trained(&cpu(), &config);
        let (first, last) = (lines[0].loss, lines[lines.len() - 1].loss);
        println!("{observation:?}: loss {first} to {last}");
        assert!(last < 0.4 * first, "{observation:?}: loss {first} to {last}");
        let gate = policy.weights.get("transformer_blocks.1.adaLN_modulation.1.weight").expect("a weight");
        assert!(gate.iter().any(|w| w.abs() > 1e-3), "{observation:?}: the gates open");
    }
}

#[test]
fn the_devices_agree() {
    let devices = devices();
    let [cpu, gpu] = &devices[..] else { return };
    let ((a, lines), (b, other)) = (trained(cpu, &config()), trained(gpu, &config()));
    let error = distance(&b.weights.values, &a.weights.values);
    println!("relative distance of the weights after 24 steps: {error:.1e}");
    assert!(error < 1e-3, "{error}");
    for (x, y) in lines.iter().zip(&other) {
        assert!((x.loss - y.loss).abs() < 1e-3 * x.loss, "{x:?} {y:?}");
    }
}

/// Trains as the command does; stops at the first look once `stop_at` steps are done.
fn session(device: &Device, folder: &Path, stop_at: u64, resuming: bool) -> Vec<Event> {
    let (episodes, config) = (toy(), config());
    let data = resume::fingerprint(&episodes);
    let checkpoint = folder.join("policy.safetensors");
    let mut trainer = Trainer::new(device, &episodes, &config).expect("a trainer");
    if resuming {
        trainer.resume(&checkpoint, &data).expect("a stopped run");
    }
    let first = trainer.step();
    let metrics =
        MetricsWriter::open(&folder.join("metrics.jsonl"), resuming.then_some(first)).expect("metrics");
    let done = Cell::new(first);
    let stop = || done.get() >= stop_at;
    let options =
        RunOptions { checkpoint: Some(&checkpoint), metrics: Some(metrics), data: &data, stop: &stop };
    let mut events = Vec::new();
    let outcome = run(&mut trainer, options, &mut |event| {
        if let Event::Steps { step, .. } = event {
            done.set(step);
        }
        events.push(event);
    });
    assert_eq!(outcome.expect("training").stopped, stop_at < config.steps);
    events
}

fn metrics(folder: &Path) -> Vec<MetricsLine> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).expect("metrics");
    let line = |l: &str| MetricsLine { steps_per_s: 0.0, ..serde_json::from_str(l).expect("a line") };
    text.lines().map(line).collect()
}

#[test]
fn a_resumed_run_equals_one_never_stopped() {
    for device in devices() {
        let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        session(&device, whole.path(), u64::MAX, false);
        session(&device, parts.path(), 3, false);
        session(&device, parts.path(), 13, true);
        session(&device, parts.path(), u64::MAX, true);
        let [a, b] =
            [&whole, &parts].map(|f| Policy::load(f.path().join("policy.safetensors")).expect("a policy"));
        assert_eq!(a.spec, b.spec);
        assert_eq!(bits(&a.weights.values), bits(&b.weights.values), "{}", device.describe());
        assert_eq!(bits(&a.ema.values), bits(&b.ema.values), "{}", device.describe());
        assert_eq!(metrics(whole.path()), metrics(parts.path()), "the metrics too, the losses bit for bit");
        let files = std::fs::read_dir(parts.path()).expect("a folder").count();
        assert_eq!(files, 3, "checkpoint, state, metrics");
        let again = session(&device, parts.path(), u64::MAX, true);
        assert!(again.is_empty(), "a complete run has nothing left to do: {again:?}");
    }
}

#[test]
fn only_the_same_run_is_resumed() {
    let device = cpu();
    let folder = tempfile::tempdir().expect("a folder");
    session(&device, folder.path(), 3, false);
    let (episodes, path) = (toy(), folder.path().join("policy.safetensors"));
    let data = resume::fingerprint(&episodes);
    let fault = |config: &RunConfig, data: &str| {
        let mut trainer = Trainer::new(&device, &episodes, config).expect("a trainer");
        let error = trainer.resume(&path, data).expect_err("another run");
        assert_eq!(trainer.step(), 0);
        error.to_string()
    };
    let text = fault(&RunConfig { batch_size: 16, ..config() }, &data);
    assert!(text.contains("batch_size: 32 in the stopped run, 16 now"), "{text}");
    assert!(fault(&config(), "0").contains("the demonstrations are not those"));
    let often = RunConfig { log_every: 1, ..config() };
    let mut trainer = Trainer::new(&device, &episodes, &often).expect("a trainer");
    trainer.resume(&path, &data).expect("how often a run logs is no part of it");
    assert_eq!(resume::stored_config(&path).expect("a stopped run"), config());
    // Damage in the middle of the numbers is no run to go on from.
    let state = resume::train_path(&path);
    let mut bytes = std::fs::read(&state).expect("the run's file");
    let at = bytes.len() - 1000;
    bytes[at..at + 12].fill(0);
    std::fs::write(&state, bytes).expect("written");
    let text = fault(&config(), &data);
    assert!(text.contains("weights are damaged"), "{text}");
}

#[test]
fn the_loss_falls() {
    let mut config = RunConfig { steps: 400, log_every: 50, ..config() };
    config.optimizer.lr = 3e-3;
    let (policy, lines) = trained(&cpu(), &config);
    let (first, last) = (lines[0].loss, lines[lines.len() - 1]);
    println!("loss {first:.3} -> {:.3}, validation {:.3}", last.loss, last.val_loss.unwrap_or(f64::NAN));
    assert!(last.loss < 0.5 * first, "{first} {last:?}");
    assert!(last.lr < 1e-5, "the cosine ends at 0: {last:?}");
    assert_eq!(policy.spec.provenance.steps, 400);
    assert_eq!(policy.spec.provenance.validation_episodes.len(), 1);
}

#[test]
fn steady_state_creates_nothing_and_submits_once() {
    let Some(device) = gpu() else {
        println!("SKIPPED: this machine has no adapter");
        return;
    };
    let mut trainer = Trainer::new(&device, &toy(), &config()).expect("a trainer");
    trainer.advance(2).expect("steps");
    trainer.validate().expect("validation");
    for steps in [1, 2, 5] {
        let before = trainer.counters();
        trainer.advance(steps).expect("steps");
        let did = trainer.counters().since(&before);
        assert_eq!(did.dispatches, steps * trainer.dispatches() as u64);
        assert_eq!(did.submits, 1, "{steps} steps and the loss that comes back");
        assert_eq!((did.buffers_created, did.pipelines_created, did.bind_groups_created), (0, 0, 0));
        assert_eq!(did.bytes_uploaded, 0);
    }
}

#[test]
fn a_checkpoint_is_the_whole_policy() {
    let device = cpu();
    let network = NetworkSpec::Mlp(Mlp {
        hidden: vec![32, 24],
        activation: Activation::Silu,
        time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
        conditioning: Conditioning::Concat,
    });
    let encoder = EncoderSpec::Mlp { widths: vec![12], activation: Activation::Relu };
    let config = RunConfig { network, encoder, ..config() };
    let mut trainer = Trainer::new(&device, &toy(), &config).expect("a trainer");
    trainer.advance(5).expect("steps");
    let policy = trainer.policy().expect("a policy");
    assert_ne!(policy.weights.values, policy.ema.values);

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.safetensors");
    policy.save(&path).expect("saved");
    let loaded = Policy::load(&path).expect("loaded");
    assert_eq!(policy, loaded);
    let obs = [0.1f32; 6];
    let mut actions = [[0.0f32; 3 * 8]; 2];
    for (policy, out) in [&policy, &loaded].into_iter().zip(&mut actions) {
        let mut sampler = policy.sampler(&device, 1, 3, &SamplerOptions::default()).expect("a sampler");
        sampler.sample(&obs, Noise::Seed { seed: 1, request: 0 }, out).expect("chunks");
    }
    assert_eq!(bits(&actions[0]), bits(&actions[1]));

    // PyTorch's names and layout: [out, in].
    let bytes = std::fs::read(&path).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let chunk = 4 * 2;
    for (name, shape) in [
        ("encoder.layers.0.weight", vec![12, 6]),
        ("encoder.layers.0.bias", vec![12]),
        ("layers.0.weight", vec![32, chunk + 16 + 12]),
        ("layers.0.bias", vec![32]),
        ("layers.1.weight", vec![24, 32]),
        ("layers.2.weight", vec![chunk, 24]),
        ("layers.2.bias", vec![chunk]),
    ] {
        for prefix in ["", "ema."] {
            let tensor =
                file.tensor(&format!("{prefix}{name}")).unwrap_or_else(|e| panic!("{prefix}{name}: {e}"));
            assert_eq!(tensor.shape(), shape, "{prefix}{name}");
        }
    }
    assert_eq!(file.names().len(), 2 * 8);
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint() {
    for device in devices() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.safetensors");
        let mut config = RunConfig { steps: 40, save_every: 2, log_every: 1, ..config() };
        config.optimizer.lr = 1e30;
        config.optimizer.warmup = 4;
        let mut trainer = Trainer::new(&device, &toy(), &config).expect("a trainer");
        let mut saved = Vec::new();
        let options = RunOptions { checkpoint: Some(&path), ..RunOptions::default() };
        let result = run(&mut trainer, options, &mut |event| {
            if let Event::Saved(step) = event {
                saved.push(step);
            }
        });
        let step = match result {
            Err(TrainError::NonFinite { step, .. } | TrainError::AbsurdLoss { step, .. }) => step,
            other => panic!("{other:?}"),
        };
        assert!(step < 40);
        match saved.last() {
            Some(last) => {
                assert!(*last <= step);
                assert_eq!(Policy::load(&path).expect("the last good one").spec.provenance.steps, *last);
            }
            None => assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0),
        }
    }
}

/// From every state, half of the episodes go left (-1) and half go right (+1).
fn two_ways() -> Episodes {
    let (episodes, length) = (20, 8);
    let obs = (0..episodes * length).map(|i| (i % length) as f32).collect();
    let action = (0..episodes * length).map(|i| if i / length % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 1, action_dim: 1, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

/// The field's control: a regression averages the two ways, a flow takes either.
#[test]
fn behaviour_cloning_takes_the_mean_and_a_flow_takes_either_way() {
    let device = cpu();
    let samples = 64;
    let sampled = |objective: Objective, solver: &str, seed: u64| {
        let config = RunConfig {
            objective,
            relative_to: Vec::new(),
            validation_fraction: 0.0,
            batch_size: 128,
            ..config().in_steps(1000)
        };
        let mut trainer = Trainer::new(&device, &two_ways(), &config).unwrap();
        trainer.advance(1000).unwrap();
        let policy = trainer.policy().unwrap();
        let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
        let mut sampler = policy.sampler(&device, 1, samples, &options).unwrap();
        let mut actions = vec![0.0; samples * policy.spec.chunk()];
        sampler.sample(&[0.0; 2], Noise::Seed { seed, request: 0 }, &mut actions).unwrap();
        (policy, actions)
    };
    let (policy, bc) = sampled(Objective::behaviour_cloning(), "euler:10", 1);
    assert!(bc.iter().all(|a| a.abs() < 0.3), "the mean of the two ways is 0, found {:?}", &bc[..4]);
    let (_, again) = sampled(Objective::behaviour_cloning(), "rk4:3", 2);
    assert_eq!(bc, again, "neither noise nor solver matter to a regression");

    let (_, flow) = sampled(Objective::default(), "euler:10", 1);
    let near = |side: f32| flow.iter().filter(|a| (*a - side).abs() < 0.5).count() as f32 / flow.len() as f32;
    let (left, right) = (near(-1.0), near(1.0));
    assert!(left > 0.25 && right > 0.25 && left + right > 0.8, "found {left} left, {right} right");

    // What needs a flow says so.
    let options = LogProbOptions {
        solver: "euler:4".parse().unwrap(),
        divergence: advect::flow::log_prob::Divergence::Exact,
        physical: true,
        weights: Weights::Ema,
    };
    let error = policy.log_prob(&device, &[0.0; 2], &bc[..4], &options).unwrap_err().to_string();
    assert_eq!(
        error,
        "a log-likelihood needs a policy with a flow, and this one was trained by behaviour_cloning"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bc.safetensors");
    policy.save(&file).unwrap();
    assert_eq!(Policy::load(&file).unwrap(), policy);
}

/// Retraining on the pairs of a trained flow: the run starts from its weights, its few-step samples come closer to the many-step ones,
/// and a policy of other settings is refused.
#[test]
fn reflow_straightens() {
    let device = cpu();
    let dir = tempfile::tempdir().unwrap();
    let base = RunConfig { relative_to: Vec::new(), batch_size: 128, ..config().in_steps(1500) };
    let trained = |config: &RunConfig| {
        let mut trainer = Trainer::new(&device, &two_ways(), config).unwrap();
        trainer.advance(750).unwrap();
        trainer.advance(750).unwrap();
        trainer.policy().unwrap()
    };
    let first = trained(&base);
    let path = dir.path().join("first.safetensors");
    first.save(&path).unwrap();
    let reflow = ReflowSpec { policy: path, solver: "euler:20".into() };
    let second = trained(&RunConfig { reflow: Some(reflow.clone()), ..base.clone() });
    let sampled = |policy: &Policy, solver: &str| {
        let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
        let mut sampler = policy.sampler(&device, 1, 64, &options).unwrap();
        let mut actions = vec![0.0; 64 * policy.spec.chunk()];
        sampler.sample(&[0.0; 2], Noise::Seed { seed: 1, request: 0 }, &mut actions).unwrap();
        actions
    };
    let apart = |policy: &Policy| {
        let (few, many) = (sampled(policy, "euler:1"), sampled(policy, "euler:50"));
        few.iter().zip(&many).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / few.len() as f64
    };
    let (before, after) = (apart(&first), apart(&second));
    assert!(after < 0.25 * before, "one step is {before} from fifty before, {after} after");
    let other = RunConfig { reflow: Some(reflow), horizon: 2, ..base };
    let error = Trainer::new(&device, &two_ways(), &other).err().expect("another horizon").to_string();
    assert!(error.contains("reflow.policy") && error.contains("same data"), "{error}");
}
