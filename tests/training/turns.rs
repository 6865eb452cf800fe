//! Angles through everything that makes or takes chunks: a number of whole turns more or less, or a chunk that jumps where its numbers
//! are cut, changes nothing; and what cannot be is refused in a line.

use std::f32::consts::{PI, TAU};
use std::time::Duration;

use crate::angles::{HORIZON, STEP, config, places, trained, turning, wrap};
use crate::common::{cpu, devices};
use advect::control::{ControlSpec, Controller, FitOptions, Hold, Mode, SafetySpec, StreamController};
use advect::data::{EpisodeArrays, Episodes};
use advect::flow::log_prob::Divergence;
use advect::nn::residual::Residual;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::objective::Objective;
use advect::policy::{
    ChunkSource, GuidedOptions, LogProbOptions, Noise, NoiseKey, Policy, PrefixSpec, Previous,
    SamplerOptions, Weights,
};
use advect::train::resume::{Stopped, fingerprint};
use advect::train::{DimRef, ReflowSpec, RunConfig, Start, Trainer};

/// A policy of a flow or of another objective, hardly trained: what is asked of it here does not depend on that.
fn policy(objective: &str, prefix: bool) -> Policy {
    trained(&cpu(), &flow(objective, prefix))
}

fn flow(objective: &str, prefix: bool) -> RunConfig {
    RunConfig {
        objective: objective.parse().unwrap(),
        prefix: prefix.then_some(PrefixSpec { max_delay: 2 }),
        network: NetworkSpec::Residual(Residual {
            width: 16,
            blocks: 1,
            activation: advect::kernel::math::Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
            conditioning: Conditioning::Concat,
        }),
        ..config(true, true, 16)
    }
}

/// The largest difference modulo a turn.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| wrap(a - b).abs()).fold(0.0, f32::max)
}

/// What each robot executes: on from where it is at its speed, in numbers that jump at the cut, and in numbers that do not and lie
/// some turns away.
fn running(obs: &[f32]) -> [Vec<f32>; 2] {
    let on = |o: &[f32]| (1..=HORIZON).map(|i| o[0] + o[1] * STEP * i as f32).collect::<Vec<_>>();
    let far: Vec<f32> = obs.chunks_exact(2).flat_map(on).map(|x| x - 2.0 * TAU).collect();
    [far.iter().map(|x| wrap(*x)).collect(), far]
}

fn continued(mut source: impl ChunkSource, obs: &[f32], chunk: &[f32]) -> Vec<f32> {
    let robots = obs.len() / 2;
    let keys: Vec<_> = (0..robots as u64).map(|request| NoiseKey { seed: 4, request }).collect();
    let told = Previous { chunk, delay: &vec![2; robots], left: &vec![HORIZON - 1; robots] };
    let mut chunks = vec![0.0; robots * HORIZON];
    source.sample(obs, &keys, Some(&told), &mut chunks).unwrap();
    chunks
}

#[test]
fn a_chunk_is_continued_over_the_cut() {
    let obs = places();
    let robots = obs.len() / 2;
    let [cut, whole] = running(&obs);
    assert!(cut.chunks(HORIZON).any(|c| c.windows(2).any(|w| (w[1] - w[0]).abs() > PI)), "one jumps");
    let (guided, prefixed) = (policy("flow_matching", false), policy("flow_matching", true));
    let options = SamplerOptions { solver: "euler:4".parse().unwrap(), ..SamplerOptions::default() };
    for device in devices() {
        let by_prefix = |chunk: &[f32]| {
            continued(prefixed.prefix_sampler(&device, robots, &options).unwrap(), &obs, chunk)
        };
        let chunks = by_prefix(&cut);
        assert!(apart(&chunks, &by_prefix(&whole)) < 1e-4);
        for (mine, held) in chunks.chunks(HORIZON).zip(cut.chunks(HORIZON)) {
            assert!(apart(&mine[..2], &held[..2]) < 1e-5, "the prefix is held: {mine:?} {held:?}");
        }
        let how = GuidedOptions { sampler: options.clone(), ..GuidedOptions::new(1) };
        let by_guidance =
            |chunk: &[f32]| continued(guided.guided_sampler(&device, robots, &how).unwrap(), &obs, chunk);
        let chunks = by_guidance(&cut);
        assert!(apart(&chunks, &by_guidance(&whole)) < 1e-3);
        assert!(chunks.iter().all(|x| x.abs() <= PI));
    }
}

#[test]
fn a_likelihood_and_a_score_see_the_same_place() {
    let (policy, obs) = (policy("flow_matching", false), places());
    let [cut, whole] = running(&obs);
    let options = LogProbOptions {
        solver: "euler:4".parse().unwrap(),
        divergence: Divergence::Exact,
        physical: true,
        weights: Weights::Ema,
    };
    let [a, b] = [&cut, &whole].map(|chunks| policy.log_prob(&cpu(), &obs, chunks, &options).unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-2 * (1.0 + a.abs())), "{a:?} {b:?}");

    let observations = obs.len() / 2;
    let mut best = policy.best_of(&cpu(), observations, 4, &SamplerOptions::default()).unwrap();
    let mut likelihood = policy.likelihood(&cpu(), &options).unwrap();
    let mut chunks = vec![0.0; observations * HORIZON];
    let noise = Noise::Seed { seed: 2, request: 0 };
    let choices = best.by_log_prob(&obs, noise, &mut likelihood, &mut chunks).unwrap();
    let turned: Vec<f32> = obs.chunks_exact(2).flat_map(|o| [o[0] + TAU, o[1]]).collect();
    let mut again = vec![0.0; chunks.len()];
    let others = best.by_log_prob(&turned, noise, &mut likelihood, &mut again).unwrap();
    assert!(choices.iter().zip(&others).all(|(a, b)| a.candidate == b.candidate));
    assert!(apart(&chunks, &again) < 1e-3);
    let seen = |_: usize, chunk: &[f32]| {
        assert!(chunk.iter().all(|x| x.abs() <= PI), "{chunk:?}");
        -f64::from(chunk[0])
    };
    best.by_score(&turned, noise, seen, &mut chunks).unwrap();
}

/// The same demonstrations as motions whose way the first value tells; a streaming policy's state is where the joint is.
#[test]
fn a_stream_goes_over_the_cut() {
    let policy = policy("streaming", false);
    let (device, obs) = (cpu(), places());
    let robots = obs.len() / 2;
    let keys: Vec<_> = (0..robots as u64).map(|request| NoiseKey { seed: 9, request }).collect();
    let whole = |obs: &[f32]| {
        let mut sampler = policy.sampler(&device, robots, 1, &SamplerOptions::default()).unwrap();
        let mut chunks = vec![0.0; robots * HORIZON];
        sampler.sample(obs, Noise::PerObservation(&keys), &mut chunks).unwrap();
        chunks
    };
    let turned: Vec<f32> = obs.chunks_exact(2).flat_map(|o| [o[0] - 3.0 * TAU, o[1]]).collect();
    let mut stream = policy.stream(&device, robots, Weights::Ema).unwrap();
    let mut streamed = vec![0.0; robots * HORIZON];
    (0..robots).for_each(|r| stream.begin(r, &turned[2 * r..][..2], keys[r]).unwrap());
    for _ in 0..HORIZON {
        let emit = |robot: usize, row: usize, action: &[f32]| streamed[robot * HORIZON + row] = action[0];
        stream.next(&vec![true; robots], emit).unwrap();
    }
    assert!(streamed.iter().all(|x| x.abs() <= PI), "{streamed:?}");
    assert!(apart(&whole(&obs), &streamed) < 1e-3 && apart(&whole(&obs), &whole(&turned)) < 1e-3);
    let spec = ControlSpec::new(Mode::Receding, HORIZON, Hold::Last { from: vec![0] });
    let mut control = StreamController::new(policy.stream(&device, 1, Weights::Ema).unwrap(), &spec).unwrap();
    for step in 0..6 {
        let action = control.act(&[PI + 0.1 * step as f32, 1.0], Duration::from_millis(step)).unwrap();
        assert!(action.values[0].abs() <= PI);
    }
}

#[test]
fn the_gate_lets_a_joint_turn_on_and_ensembling_is_refused() {
    let policy = trained(&cpu(), &config(true, true, 600));
    let options = FitOptions { quantile: 1.0, margin: 1.0 };
    let angles = policy.spec.angles.as_ref();
    let safety = SafetySpec::fit_angles(&turning(), angles, 10.0, &options).unwrap();
    assert!((safety.velocity[0] - 2.0 * STEP * 10.0).abs() < 0.1, "{safety:?}");
    let limits = SafetySpec { acceleration: vec![60.0], jerk: vec![2000.0], ..safety };
    let hold = Hold::Last { from: vec![0] };
    let spec = ControlSpec { safety: Some(limits), ..ControlSpec::new(Mode::Receding, 2, hold.clone()) };
    let source = policy.sampler(&cpu(), 1, 1, &SamplerOptions::default()).unwrap();
    let mut controller = Controller::new(source, &spec).unwrap();
    let (mut at, mut way, mut crossed) = (0.0f32, 0.0, 0);
    for step in 0..50 {
        let action = controller.act(&[at, 1.0], Duration::from_millis(100 * step)).unwrap();
        let next = action.values[0];
        crossed += usize::from((next - at).abs() > PI);
        let by = wrap(next - at);
        assert!(by.abs() <= 2.0 * STEP + 1e-3, "step {step}: {at} to {next}");
        (at, way) = (next, way + by);
    }
    assert!(way > 2.0 * TAU && crossed >= 2, "{way}, {crossed} times over the cut");
    let source = policy.sampler(&cpu(), 1, 1, &SamplerOptions::default()).unwrap();
    let said = Controller::new(source, &ControlSpec::ensemble(hold)).err().expect("refused").to_string();
    assert!(said.contains("action 0 an angle") && said.contains("receding"), "{said}");
}

/// A teacher of an earlier version: other statistics, no clip. Its pairs are of its own numbers, and so is the run.
#[test]
fn reflow_takes_its_teachers_numbers_over() {
    let (device, folder) = (cpu(), tempfile::tempdir().unwrap());
    let mut teacher = policy("flow_matching", false);
    let path = folder.path().join("teacher.safetensors");
    let spec = &mut teacher.spec;
    spec.obs_normalizer.clip.clear();
    (spec.obs_normalizer.offset[1], spec.obs_normalizer.scale[1]) = (0.5, 0.7);
    spec.action_normalizer.scale.iter_mut().for_each(|s| *s *= 0.7);
    spec.angles.as_mut().unwrap().action[0].centre = Some(PI);
    teacher.save(&path).unwrap();
    let reflow = ReflowSpec { policy: path.clone(), solver: "euler:4".into() };
    let run = RunConfig { reflow: Some(reflow), ..flow("flow_matching", false) };
    let mut trainer = Trainer::new(&device, &turning(), &run).unwrap();
    let before = trainer.policy().unwrap();
    assert_eq!(before.spec.obs_normalizer, teacher.spec.obs_normalizer);
    assert_eq!(before.spec.action_normalizer, teacher.spec.action_normalizer);
    assert_eq!(before.spec.angles, teacher.spec.angles);
    assert_eq!(before.ema.values, teacher.ema.values);
    let loss = trainer.advance(4).unwrap().loss;
    assert!(loss < 10.0 && trainer.validate().unwrap().is_some_and(|loss| loss < 10.0), "{loss}");
    // It goes on as any other.
    let out = folder.path().join("p.safetensors");
    let data = fingerprint(&turning());
    trainer.save(&out, &data).unwrap();
    let start = Start::from_stopped(&Stopped::read(&out).unwrap(), &data, &run).unwrap();
    let mut again = Trainer::start(&device, &turning(), &run, &start).unwrap();
    assert!(again.resume(&out, &data).unwrap().is_empty());
    assert_eq!(again.spec().obs_normalizer, teacher.spec.obs_normalizer);
    // What the run asks for otherwise is named.
    let other = RunConfig { obs_normalizer: advect::policy::NormKind::MeanStd, ..run };
    let said = Trainer::new(&device, &turning(), &other).err().expect("refused").to_string();
    assert!(said.contains("obs_normalizer: min_max in the teacher, mean_std in this run"), "{said}");
}

/// Episodes of -pi to pi, and then others of 0 to 2 pi as well: what comes out stays what the stopped run's policy says.
#[test]
fn a_run_with_more_demonstrations_keeps_its_turn() {
    let (device, folder, run) = (cpu(), tempfile::tempdir().unwrap(), config(true, true, 8));
    let out = folder.path().join("p.safetensors");
    let first = turning();
    let mut trainer = Trainer::new(&device, &first, &run).unwrap();
    trainer.advance(4).unwrap();
    trainer.save(&out, &fingerprint(&first)).unwrap();
    let mut arrays = first.clone().into_arrays();
    let (obs, action) = (arrays.obs.clone(), arrays.action.clone());
    // Other values too, so that they are no copies.
    let full = |x: f32| (x + 0.01).rem_euclid(TAU);
    arrays.obs.extend(obs.chunks_exact(2).flat_map(|o| [full(o[0]), o[1]]));
    arrays.action.extend(action.iter().map(|x| full(*x)));
    arrays.lengths.extend(first.lengths().to_vec());
    let all = Episodes::from_arrays(arrays).unwrap();
    let data = fingerprint(&all);
    let start = Start::from_stopped(&Stopped::read(&out).unwrap(), &data, &run).unwrap();
    let mut again = Trainer::start(&device, &all, &run, &start).unwrap();
    again.resume(&out, &data).unwrap();
    assert_eq!(again.spec().angles, trainer.spec().angles);
    assert_eq!(again.spec().angles.as_ref().unwrap().action[0].centre, Some(0.0));
}

/// The state of a run that an earlier version stopped does not say what its policy was: the policy beside it does.
#[test]
fn an_earlier_versions_run_keeps_its_statistics() {
    let (device, folder, run) = (cpu(), tempfile::tempdir().unwrap(), flow("flow_matching", false));
    let (out, data) = (folder.path().join("p.safetensors"), fingerprint(&turning()));
    let mut trainer = Trainer::new(&device, &turning(), &run).unwrap();
    trainer.advance(4).unwrap();
    trainer.save(&out, &data).unwrap();
    let mut before = Policy::load(&out).unwrap();
    before.spec.obs_normalizer.clip.clear();
    before.spec.action_normalizer.scale.iter_mut().for_each(|s| *s *= 0.9);
    before.save(&out).unwrap();
    let state = advect::train::resume::train_path(&out);
    let bytes = std::fs::read(&state).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    // A program that changes a file on purpose leaves out its checksum too.
    for key in ["advect.spec", "advect.checksum"] {
        header["__metadata__"].as_object_mut().unwrap().remove(key).unwrap();
    }
    let mut text = header.to_string();
    text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
    let whole = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &bytes[8 + length..]].concat();
    std::fs::write(&state, whole).unwrap();
    let start = Start::from_stopped(&Stopped::read(&out).unwrap(), &data, &run).unwrap();
    let mut again = Trainer::start(&device, &turning(), &run, &start).unwrap();
    again.resume(&out, &data).unwrap();
    assert_eq!(again.spec().obs_normalizer, before.spec.obs_normalizer);
    assert_eq!(again.spec().action_normalizer, before.spec.action_normalizer);
}

/// A joint as cosine and sine is a manifold's; its number beside it as an angle of the observation is fine, of the action not.
#[test]
fn directions_and_angles() {
    let mut arrays = turning().into_arrays();
    let action = std::mem::take(&mut arrays.action);
    arrays.action = action.iter().flat_map(|x| [x.cos(), x.sin()]).collect();
    (arrays.action_dim, arrays.action_names) = (2, None);
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let text = r#"{"riemannian":{"manifolds":[{"kind":"s1","at":0}]}}"#;
    let objective: Objective = serde_json::from_str(text).unwrap();
    let joint = vec![DimRef::Name("joint".into())];
    let angles = |action| advect::train::AnglesSpec { obs: joint.clone(), action, ..Default::default() };
    let run = |relative_to, action| RunConfig {
        objective: objective.clone(),
        relative_to,
        angles: Some(angles(action)),
        ..flow("flow_matching", false)
    };
    let mut trainer = Trainer::new(&cpu(), &episodes, &run(vec![], vec![])).unwrap();
    trainer.advance(8).unwrap();
    let policy = trainer.policy().unwrap();
    let sampled = |obs: [f32; 2]| {
        let mut chunk = vec![0.0; 2 * HORIZON];
        let mut sampler = policy.sampler(&cpu(), 1, 1, &SamplerOptions::default()).unwrap();
        sampler.sample(&obs, Noise::Seed { seed: 1, request: 0 }, &mut chunk).unwrap();
        chunk
    };
    let (a, b) = (sampled([1.0, 1.0]), sampled([1.0 - TAU, 1.0]));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{a:?} {b:?}");
    let relative = vec![DimRef::Index(0), DimRef::Name("none".into())];
    let refused = Trainer::new(&cpu(), &episodes, &run(relative, vec![DimRef::Index(0)]));
    let said = refused.err().expect("refused").to_string();
    assert!(said.contains("manifold") && said.contains("column 0"), "{said}");
}

/// Actions that count turns follow an observation that does too; beside one that is cut they would be a turn off.
#[test]
fn actions_that_count_turns_need_a_state_that_does() {
    let episodes = |cut: bool| {
        let mut arrays = EpisodeArrays {
            obs_dim: 2,
            action_dim: 1,
            lengths: vec![60; 4],
            obs_names: Some(vec!["joint".into(), "way".into()]),
            action_names: Some(vec!["joint".into()]),
            ..EpisodeArrays::default()
        };
        for t in (0..240).map(|row| (row % 60) as f32) {
            let at = 0.3 * t;
            arrays.obs.extend([if cut { wrap(at) } else { at }, 1.0]);
            arrays.action.push(at + 0.3);
        }
        Episodes::from_arrays(arrays).unwrap()
    };
    let run = config(true, true, 8);
    let policy = Trainer::new(&cpu(), &episodes(false), &run).unwrap().policy().unwrap();
    assert_eq!(policy.spec.angles.unwrap().action[0].centre, None);
    let said = Trainer::new(&cpu(), &episodes(true), &run).err().expect("refused").to_string();
    assert!(said.contains("action 0 counts turns") && said.contains("observation 0"), "{said}");
}
