//! LeRobot diffusion checkpoints: what they compute after the import, and what is wrong with broken ones. The fixture is
//! written by `make_checkpoints.py` with the real lerobot.

use advect::device::{Cpu, Device};
use advect::graph::lower::lower;
use advect::graph::{Graph, Program, Session, Shape};
use advect::kernel::{Target, View};
use advect::nn::Builder;
use advect::objective::Query;
use advect::objective::denoising::{BetaSchedule, DenoisingSampler, Prediction};
use advect::policy::{Noise, NoiseLaw, Objective, Policy, SamplerOptions, TimeConvention};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lerobot/checkpoints").join(name)
}

fn tensor(bytes: &[u8], name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let (words, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
    words.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |f: &dyn Fn(usize) -> f64| (0..want.len()).map(|i| f(i).powi(2)).sum::<f64>();
    (square(&|i| f64::from(got[i] - want[i])) / square(&|i| f64::from(want[i]))).sqrt()
}

/// The policy's network at times t [rows, 1] for normalised observations.
fn network(policy: &Policy, x: &[f32], t: &[f32], obs: &[f32]) -> Vec<f32> {
    let (spec, rows) = (&policy.spec, t.len());
    let device = Device::Cpu(Cpu::with_threads(1).unwrap());
    let mut g = Graph::new();
    let shapes = [("a", spec.chunk()), ("t", 1), ("o", spec.request())];
    let [a, time, o] = shapes.map(|(name, cols)| g.input(name, Shape::matrix(rows, cols)).unwrap());
    let v = spec.velocity(&mut Builder::new(&mut g), Query { a, t: time, interval: None, obs: o }).unwrap();
    let mut program = Program::new(Target::of(&device));
    let params = program.resident("params", policy.ema.layout.len()).unwrap();
    let inputs = shapes.map(|(name, cols)| (name, program.resident(name, rows * cols).unwrap()));
    let out = program.resident("out", x.len()).unwrap();
    let place = (v, (out, View::dense(0, spec.chunk())));
    lower(&mut program, &g, (&policy.ema.layout, params), &inputs, &[place]).unwrap();
    let mut session = Session::new(&device, program.finish().unwrap()).unwrap();
    for (name, data) in [("params", &policy.ema.values[..]), ("a", x), ("t", t), ("o", obs)] {
        let id = session.plan().buffer(name).unwrap();
        session.write(id, data).unwrap();
    }
    session.run(&[0]).unwrap();
    let mut got = vec![0.0; x.len()];
    let id = session.plan().buffer("out").unwrap();
    session.read(id, &mut got).unwrap();
    got
}

#[test]
fn an_imported_policy_computes_what_lerobot_does() {
    for name in ["diffusion", "shift"] {
        let policy = Policy::import_lerobot(fixture(name)).unwrap();
        // What is imported survives its own file.
        let policy = Policy::from_bytes(&policy.to_bytes().unwrap(), Path::new("round trip")).unwrap();
        let bytes = std::fs::read(fixture(name).join("reference.safetensors")).unwrap();
        let mut obs = tensor(&bytes, "obs");
        policy.spec.obs_normalizer.normalize(&mut obs).unwrap();
        let away = distance(&obs, &tensor(&bytes, "normal"));
        assert!(away < 1e-6, "{name}: normalised observations {away:.1e} away");
        let t: Vec<f32> = tensor(&bytes, "step").iter().map(|s| s / 99.0).collect();
        let away = distance(&network(&policy, &tensor(&bytes, "x"), &t, &obs), &tensor(&bytes, "out"));
        println!("{name}: the U-Net is {away:.1e} away");
        assert!(away < 1e-5, "{name}: the U-Net is {away:.1e} away");
        let mut chunk = tensor(&bytes, "chunk");
        policy.spec.action_normalizer.denormalize(&mut chunk).unwrap();
        let away = distance(&chunk, &tensor(&bytes, "physical"));
        assert!(away < 1e-6, "{name}: actions in physical units {away:.1e} away");
    }
}

#[test]
fn the_spec_says_what_the_checkpoint_means() {
    let spec = Policy::import_lerobot(fixture("diffusion")).unwrap().spec;
    assert_eq!([spec.history, spec.obs_dim, spec.horizon, spec.action_dim], [2, 5, 8, 2]);
    // The chunk's first action belongs to the oldest of n_obs_steps observations: row n_obs_steps - 1 is for the newest.
    assert_eq!(spec.action_offset, -1);
    let names: Vec<_> = spec.obs_inputs.iter().map(|i| (i.name.as_str(), i.dim)).collect();
    assert_eq!(names, [("observation/state", 3), ("observation/environment_state", 2)]);
    assert_eq!((spec.time, spec.noise), (TimeConvention::ActionToNoise, NoiseLaw::StandardNormal));
    let Objective::Denoising(d) = spec.objective else { panic!("found {:?}", spec.objective) };
    assert_eq!((d.train_steps, d.inference_steps, d.clip), (100, 100, Some(1.0)));
    assert_eq!((d.prediction, d.sampler), (Prediction::Epsilon, DenoisingSampler::Ddpm));
    assert_eq!(d.betas, BetaSchedule::SquaredCosine);
    let other = Policy::import_lerobot(fixture("shift")).unwrap().spec;
    assert_eq!((other.history, other.action_offset), (1, 0));
    let Objective::Denoising(d) = other.objective else { panic!("found {:?}", other.objective) };
    assert_eq!(
        (d.prediction, d.sampler, d.inference_steps),
        (Prediction::Sample, DenoisingSampler::Ddim, 10)
    );
}

/// A flow solver would integrate a noise prediction as if it were a velocity: it is refused, and the denoising samplers are not.
#[test]
fn it_denoises_and_flows_are_refused() {
    let policy = Policy::import_lerobot(fixture("diffusion")).unwrap();
    let device = Device::Cpu(Cpu::with_threads(1).unwrap());
    let sampler = |solver: &str| {
        let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
        policy.sampler(&device, 1, 2, &options)
    };
    let refused = sampler("rk4:10").err().expect("no flow to follow").to_string();
    assert_eq!(refused, "denoising is not sampled by rk4:10: needed ddim:N or ddpm:N");
    let mut before = Vec::new();
    for solver in ["ddim:10", "ddpm:20", "euler:5"] {
        let mut sampler = sampler(solver).unwrap();
        let mut chunks = vec![0.0; 2 * policy.spec.chunk()];
        let obs = vec![0.1; policy.spec.request()];
        let noise = Noise::Seed { seed: 3, request: 0 };
        sampler.sample(&obs, noise, &mut chunks).unwrap();
        assert!(chunks.iter().all(|v| v.is_finite()) && chunks != before, "{solver}");
        let mut again = vec![0.0; chunks.len()];
        sampler.sample(&obs, noise, &mut again).unwrap();
        assert_eq!(chunks, again, "{solver}");
        before = chunks;
    }
}

/// A copy of a fixture to break.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(name: &str) -> Copy {
        let dir = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(fixture(name)).unwrap().flatten() {
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        Copy(dir)
    }

    fn edit(&self, file: &str, from: &str, to: &str) -> &Copy {
        let path = self.0.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} lacks {from:?}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
        self
    }

    /// Rewrites a safetensors file's tensors: name, shape, data.
    fn tensors(&self, file: &str, change: impl Fn(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) -> &Copy {
        let path = self.0.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        let mut all: Vec<_> = SafeTensors::deserialize(&bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(n, t)| (n, t.shape().to_vec(), t.data().to_vec()))
            .collect();
        change(&mut all);
        let views =
            all.iter().map(|(n, s, d)| (n.clone(), TensorView::new(Dtype::F32, s.clone(), d).unwrap()));
        std::fs::write(path, serialize(views, None).unwrap()).unwrap();
        self
    }

    fn error(&self) -> String {
        Policy::import_lerobot(self.0.path()).map(|p| p.spec).unwrap_err().to_string()
    }
}

#[test]
fn what_is_missing_extra_or_of_another_shape_is_named() {
    const MODEL: &str = "model.safetensors";
    const WEIGHT: &str = "diffusion.unet.mid_modules.1.conv2.block.0.weight";
    let check = |copy: &Copy, words: &[&str]| {
        let said = copy.error();
        assert!(words.iter().all(|w| said.contains(w)), "found {said:?}, needed {words:?} in it");
    };
    let c = || Copy::of("diffusion");
    check(c().tensors(MODEL, |all| all.retain(|t| t.0 != WEIGHT)), &[WEIGHT, "missing"]);
    let extra = |all: &mut Vec<_>| all.push(("diffusion.unet.more".to_string(), vec![1], vec![0; 4]));
    check(c().tensors(MODEL, extra), &["diffusion.unet.more", "unknown"]);
    let stray =
        |all: &mut Vec<_>| all.push(("diffusion.rgb_encoder.out.bias".to_string(), vec![1], vec![0; 4]));
    check(c().tensors(MODEL, stray), &["diffusion.rgb_encoder.out.bias", "unknown"]);
    let turned = |all: &mut Vec<(String, Vec<usize>, Vec<u8>)>| {
        all.iter_mut().filter(|t| t.0 == WEIGHT).for_each(|t| t.1 = vec![16, 5, 16]);
    };
    check(c().tensors(MODEL, turned), &[WEIGHT, "[16, 5, 16]", "[16, 16, 5]"]);
    let wrong = |all: &mut Vec<(String, Vec<usize>, Vec<u8>)>| {
        all.iter_mut()
            .filter(|t| t.0 == WEIGHT)
            .for_each(|t| t.2[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    };
    check(c().tensors(MODEL, wrong), &[WEIGHT, "NaN"]);

    let state = "policy_preprocessor_step_3_normalizer_processor.safetensors";
    let lost = |all: &mut Vec<(String, _, _)>| all.retain(|t| t.0 != "observation.state.max");
    check(c().tensors(state, lost), &["observation.state.max", "missing", state]);
    let config = "config.json";
    check(c().edit(config, "\"down_dims\"", "\"dims\""), &[config, "down_dims"]);
    check(
        c().edit(config, "\"type\": \"ENV\"", "\"type\": \"VISUAL\""),
        &["observation.environment_state", "image"],
    );
    check(c().edit(config, "\"observation.state\"", "\"observation.joints\""), &["observation.joints"]);
    check(c().edit(config, "\"squaredcos_cap_v2\"", "\"sigmoid\""), &["beta_schedule", "sigmoid"]);
    check(c().edit(config, "\"horizon\": 8", "\"horizon\": 7"), &["horizon 7", "multiple of 2"]);
    check(c().edit(config, "\"type\": \"diffusion\"", "\"type\": \"act\""), &["\"act\"", "diffusion"]);
    check(
        c().edit("policy_preprocessor.json", "policy_preprocessor_step_3", "../step_3"),
        &["policy_preprocessor.json", "../step_3"],
    );
    let lacking = c();
    std::fs::remove_file(lacking.0.path().join(state)).unwrap();
    check(&lacking, &[state]);
    let older = c();
    std::fs::remove_file(older.0.path().join("policy_preprocessor.json")).unwrap();
    check(&older, &["no normaliser statistics", "normalize_inputs"]);
    let nothing = tempfile::tempdir().unwrap();
    let said = Policy::import_lerobot(nothing.path()).map(|p| p.spec).unwrap_err().to_string();
    assert!(said.contains("config.json"), "{said}");
}

/// Before 0.4 the statistics were in the model's own file.
#[test]
fn the_older_layout_is_read_too() {
    let new = Policy::import_lerobot(fixture("diffusion")).unwrap();
    let copy = Copy::of("diffusion");
    let state =
        std::fs::read(copy.0.path().join("policy_preprocessor_step_3_normalizer_processor.safetensors"))
            .unwrap();
    let statistics: Vec<(String, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&state)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(n, t)| (n, t.shape().to_vec(), t.data().to_vec()))
        .collect();
    copy.tensors("model.safetensors", |all| {
        for (name, shape, data) in &statistics {
            let (feature, statistic) = name.rsplit_once('.').unwrap();
            let name = format!("buffer_{}.{statistic}", feature.replace('.', "_"));
            let places: &[&str] = match feature {
                "action" => &["normalize_targets", "unnormalize_outputs"],
                _ => &["normalize_inputs"],
            };
            all.extend(places.iter().map(|p| (format!("{p}.{name}"), shape.clone(), data.clone())));
        }
    });
    std::fs::remove_file(copy.0.path().join("policy_preprocessor.json")).unwrap();
    let old = Policy::import_lerobot(copy.0.path()).unwrap();
    assert_eq!(old, new);
}
