//! LeRobot diffusion checkpoints: what they compute after the import, and what is wrong with broken ones. The fixture is
//! written by `make_checkpoints.py` with the real lerobot.

use advect::device::{Cpu, Device};
use advect::graph::lower::lower;
use advect::graph::{Graph, Program, Session, Shape};
use advect::kernel::{Target, View};
use advect::nn::Builder;
use advect::objective::Query;
use advect::objective::denoising::{BetaSchedule, DenoisingSampler, Prediction};
use advect::policy::{Imported, Noise, NoiseLaw, Objective, Policy, SamplerOptions, TimeConvention};
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PRE: &str = "policy_preprocessor.json";
const POST: &str = "policy_postprocessor.json";
const ACTION_FILE: &str = "policy_postprocessor_step_0_unnormalizer_processor.safetensors";
const STATE_FILE: &str = "policy_preprocessor_step_3_normalizer_processor.safetensors";

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

    /// Changes a JSON file.
    fn json(&self, file: &str, change: impl FnOnce(&mut Value)) -> &Copy {
        let path = self.0.path().join(file);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
        self
    }

    /// Puts a step into a processor's list.
    fn step(&self, file: &str, at: usize, step: Value) -> &Copy {
        self.json(file, |list| list["steps"].as_array_mut().unwrap().insert(at, step))
    }

    /// The steps of relative actions: `before` the normaliser's place 3 and `after` the unnormaliser's place 0.
    fn relative(&self, [before, after]: [usize; 2], config: Value) -> &Copy {
        let enabled = config["enabled"].clone();
        self.step(PRE, before, json!({ "registry_name": "relative_actions_processor", "config": config }));
        let absolute =
            json!({ "registry_name": "absolute_actions_processor", "config": { "enabled": enabled } });
        self.step(POST, after, absolute)
    }

    /// Rewrites a safetensors file in another type of number.
    fn retype(&self, file: &str, dtype: Dtype, number: impl Fn(f32) -> Vec<u8>) -> &Copy {
        let path = self.0.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        let all: Vec<(String, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&bytes)
            .unwrap()
            .tensors()
            .into_iter()
            .map(|(n, t)| {
                let (words, _) = t.data().as_chunks::<4>();
                let data = words.iter().flat_map(|b| number(f32::from_le_bytes(*b))).collect();
                (n, t.shape().to_vec(), data)
            })
            .collect();
        let views = all.iter().map(|(n, s, d)| (n.clone(), TensorView::new(dtype, s.clone(), d).unwrap()));
        std::fs::write(path, serialize(views, None).unwrap()).unwrap();
        self
    }

    fn load(&self) -> Policy {
        Policy::import_lerobot(self.0.path()).unwrap()
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

/// A chunk of this policy for an observation, by the noise of one seed.
fn sampled(policy: &Policy, obs: &[f32]) -> Vec<f32> {
    let device = Device::Cpu(Cpu::with_threads(1).unwrap());
    let options = SamplerOptions { solver: "ddim:10".parse().unwrap(), ..SamplerOptions::default() };
    let mut chunk = vec![0.0; policy.spec.chunk()];
    let mut sampler = policy.sampler(&device, 1, 1, &options).unwrap();
    sampler.sample(obs, Noise::Seed { seed: 1, request: 0 }, &mut chunk).unwrap();
    chunk
}

#[test]
fn relative_actions_are_made_absolute_by_the_newest_state() {
    let plain = Copy::of("diffusion").load();
    let copy = Copy::of("diffusion");
    copy.relative([2, 1], json!({ "enabled": true, "exclude_joints": [], "action_names": null }));
    let relative = copy.load();
    assert_eq!(relative.spec.relative_to.as_ref().unwrap().0, [Some(0), Some(1)]);
    // Two observations of three states and two values of the environment; the second is the newest.
    let obs = [7.0, 0.1, 0.2, 0.3, 0.4, 100.0, -50.0, 0.2, 0.3, 0.4];
    let (without, with) = (sampled(&plain, &obs), sampled(&relative, &obs));
    for (i, (a, b)) in without.iter().zip(&with).enumerate() {
        let state = [100.0, -50.0][i % 2];
        assert!((b - a - state).abs() < 1e-4, "value {i}: {b} is not {a} + {state}");
    }
    let off = Copy::of("diffusion");
    assert_eq!(
        off.relative([2, 1], json!({ "enabled": false, "exclude_joints": [], "action_names": null })).load(),
        plain
    );
    // A renamed state is the same state.
    let renamed = Copy::of("diffusion");
    renamed.relative([2, 1], json!({ "enabled": true }));
    renamed.json(PRE, |l| l["steps"][0]["config"]["rename_map"] = json!({ "joints": "observation.state" }));
    let spec = renamed.load().spec;
    assert_eq!(spec.relative_to, relative.spec.relative_to);
    assert_eq!(spec.obs_inputs[0].name, "observation/joints");
}

/// As LeRobot's `_build_mask`: an excluded name is looked for within the names of actions, in whatever letters.
#[test]
fn excluded_joints_stay_absolute() {
    for (exclude, names, needed) in [
        (json!(["GRIPPER"]), json!(["elbow.pos", "Gripper.pos"]), [Some(0), None]),
        (json!(["elbow.pos"]), json!(["elbow.pos", "gripper.pos"]), [None, Some(1)]),
        (json!(["gripper"]), json!(null), [Some(0), Some(1)]),
        (json!([""]), json!(["a", "b"]), [Some(0), Some(1)]),
        (json!(["a", "b"]), json!(["a"]), [None, Some(1)]),
    ] {
        let copy = Copy::of("diffusion");
        copy.relative([2, 1], json!({ "enabled": true, "exclude_joints": exclude, "action_names": names }));
        assert_eq!(copy.load().spec.relative_to.unwrap().0, needed, "{exclude} {names}");
    }
    let none = Copy::of("diffusion");
    none.relative([2, 1], json!({ "enabled": true, "exclude_joints": ["a"], "action_names": ["a", "ab"] }));
    assert_eq!(none.load(), Copy::of("diffusion").load());
}

/// The state is added in raw units only if both steps lie outside of normalisation, or the sizes happen to be the same.
#[test]
fn the_order_of_relative_actions_and_normalisation_counts() {
    let on = || json!({ "enabled": true, "exclude_joints": [], "action_names": null });
    for (places, times) in [([4, 1], ""), ([2, 0], ""), ([4, 0], "")] {
        let said = Copy::of("diffusion").relative(places, on()).error();
        assert!(said.contains("absolute_actions_processor adds") && said.contains(times), "{said}");
    }
    // Actions and states normalised alike: the reverse order is the same arithmetic but for an offset.
    let same = |name: &str| {
        let copy = Copy::of("diffusion");
        let low = |d: usize| {
            move |all: &mut Vec<(String, Vec<usize>, Vec<u8>)>| {
                for (name, shape, data) in all.iter_mut() {
                    let n = shape[0];
                    let v: Vec<f32> = match name.rsplit_once('.').unwrap().1 {
                        "min" => vec![-1.0 - d as f32; n],
                        "max" => vec![3.0 - d as f32; n],
                        _ => continue,
                    };
                    *data = v.iter().flat_map(|v| v.to_le_bytes()).collect();
                }
            }
        };
        copy.tensors(STATE_FILE, low(0))
            .tensors("policy_postprocessor_step_0_unnormalizer_processor.safetensors", low(2));
        match name {
            "plain" => copy.load(),
            _ => copy.relative([4, 0], on()).load(),
        }
    };
    let (plain, reverse) = (same("plain"), same("reverse"));
    assert_eq!(reverse.spec.relative_to.as_ref().unwrap().0, [Some(0), Some(1)]);
    let obs = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
    let (without, with) = (sampled(&plain, &obs), sampled(&reverse, &obs));
    for (i, (a, b)) in without.iter().zip(&with).enumerate() {
        // unnormalise(n + (x - 1) / 2) = unnormalise(n) + x - 1.
        let state = obs[5 + i % 2] - 1.0;
        assert!((b - a - state).abs() < 1e-5, "value {i}: {b} is not {a} + {state}");
    }
}

#[test]
fn steps_that_do_not_belong_together_or_are_not_known_are_refused_by_name() {
    let relative =
        |on: bool| json!({ "registry_name": "relative_actions_processor", "config": { "enabled": on } });
    let absolute =
        |on: bool| json!({ "registry_name": "absolute_actions_processor", "config": { "enabled": on } });
    let check = |copy: &Copy, words: &[&str]| {
        let said = copy.error();
        assert!(words.iter().all(|w| said.contains(w)), "found {said:?}, needed {words:?} in it");
    };
    let c = || Copy::of("diffusion");
    check(c().step(PRE, 2, relative(true)), &[PRE, "relative_actions_processor", "needed one pair"]);
    check(c().step(POST, 1, absolute(true)), &[POST, "absolute_actions_processor", "needed one pair"]);
    check(c().step(PRE, 2, relative(false)).step(POST, 1, absolute(true)), &["needed one pair"]);
    check(c().step(PRE, 2, absolute(true)), &[PRE, "absolute_actions_processor", "belongs into", POST]);
    check(c().step(POST, 1, relative(true)), &[POST, "relative_actions_processor", "belongs into", PRE]);
    let two = c();
    two.step(PRE, 2, relative(true)).step(PRE, 2, relative(false)).step(POST, 1, absolute(true));
    check(&two, &["needed one pair"]);
    let on = json!({ "enabled": true, "exclude": ["a"] });
    check(c().relative([2, 1], on), &["step 2 (relative_actions_processor)", "\"exclude\" is not known"]);
    for (file, step) in [
        (POST, json!({ "registry_name": "halve_action", "config": {} })),
        (PRE, json!({ "class": "my.robot.HalveState", "config": {} })),
        (POST, json!({ "class": "my.robot.AbsoluteActionsProcessorStep", "config": { "enabled": false } })),
        (PRE, json!({ "registry_name": "observation_processor", "config": {} })),
    ] {
        let name = step["registry_name"].as_str().or(step["class"].as_str()).unwrap().to_string();
        check(c().step(file, 1, step), &[file, &name, "may change values"]);
    }
    check(c().step(PRE, 1, json!({ "config": {} })), &["step 1", "neither \"registry_name\" nor \"class\""]);
    for (dtype, fine) in [("float16", false), ("bfloat16", false), ("float32", true), ("float64", true)] {
        let copy = c();
        copy.json(PRE, |l| l["steps"][2]["config"]["float_dtype"] = json!(dtype));
        match fine {
            true => assert_eq!(copy.load(), c().load()),
            false => check(&copy, &["device_processor", "float_dtype", dtype]),
        }
    }
    check(c().json(PRE, |l| l["hooks"] = json!([])), &[PRE, "\"hooks\" is not known"]);
    check(
        c().json(PRE, |l| l["steps"][3]["config"]["clip"] = json!(1)),
        &["normalizer_processor", "\"clip\""],
    );
    check(
        c().json(PRE, |l| l["steps"][3]["config"]["stats"] = json!({})),
        &["normalizer_processor", "\"stats\""],
    );
    check(c().json(PRE, |l| l["steps"][3]["overrides"] = json!({})), &["\"overrides\" is not known"]);
    check(
        c().json(POST, |l| l["steps"][0]["config"]["norm_map"]["ACTION"] = json!("MEAN_STD")),
        &[POST, "MEAN_STD", "MIN_MAX", "do not belong together"],
    );
    check(c().json(POST, |l| drop(l["steps"].as_array_mut().unwrap().remove(0))), &["IDENTITY", "MIN_MAX"]);
    check(
        c().json(PRE, |l| l["steps"][3]["config"]["norm_map"]["STATE"] = json!("LOG")),
        &["\"LOG\"", "STATE"],
    );
    check(c().json(PRE, |l| l["steps"][3]["config"]["eps"] = json!(-1.0)), &["eps", "-1"]);
    let lost = c();
    std::fs::remove_file(lost.0.path().join(POST)).unwrap();
    check(&lost, &[POST, "missing"]);
    check(c().json("config.json", |j| j["ema_decay"] = json!(0.9)), &["config.json", "\"ema_decay\""]);
    check(c().json("config.json", |j| j["use_peft"] = json!(true)), &["use_peft", "adapter"]);
    for key in ["horizon", "clip_sample", "use_film_scale_modulation", "num_train_timesteps"] {
        let gone = |j: &mut Value| drop(j.as_object_mut().unwrap().remove(key));
        check(c().json("config.json", gone), &[key, "missing", "versions"]);
    }
}

/// LeRobot's own step without a registered name, and its registered ones by class.
#[test]
fn steps_of_lerobot_may_be_named_by_class() {
    let copy = Copy::of("diffusion");
    copy.step(PRE, 0, json!({ "class": "lerobot.processor.pipeline.IdentityProcessorStep", "config": {} }));
    copy.json(POST, |l| {
        let step = l["steps"][0].as_object_mut().unwrap();
        step.remove("registry_name");
        let class = "lerobot.processor.normalize_processor.UnnormalizerProcessorStep";
        step.insert("class".into(), json!(class));
    });
    assert_eq!(copy.load(), Copy::of("diffusion").load());
}

#[test]
fn normalisers_do_what_their_settings_say() {
    let plain = Copy::of("shift").load().spec;
    assert!(plain.obs_normalizer.offset[3..].iter().all(|v| *v != 0.0));
    // The environment's state is left as it is: not among the keys, not among the features, or of another type there.
    type Change = fn(&mut Value);
    let keys: Change = |n| n["normalize_observation_keys"] = json!(["observation.state"]);
    let features: Change =
        |n| drop(n["features"].as_object_mut().unwrap().remove("observation.environment_state"));
    let kind: Change = |n| {
        n["features"]["observation.environment_state"]["type"] = json!("VISUAL");
        n["norm_map"]["VISUAL"] = json!("IDENTITY");
    };
    for change in [keys, features, kind] {
        let copy = Copy::of("shift");
        copy.json(PRE, |l| change(&mut l["steps"][3]["config"]));
        let n = copy.load().spec.obs_normalizer;
        assert_eq!(
            (&n.offset[..3], &n.scale[..3]),
            (&plain.obs_normalizer.offset[..3], &plain.obs_normalizer.scale[..3])
        );
        assert_eq!((&n.offset[3..], &n.scale[3..]), (&[0.0; 2][..], &[1.0; 2][..]));
    }
    // Another eps counts: 1 / (std + eps), and only on the way in.
    let copy = Copy::of("shift");
    for file in [PRE, POST] {
        let at = if file == PRE { 3 } else { 0 };
        copy.json(file, |l| l["steps"][at]["config"]["eps"] = json!(0.5));
    }
    let spec = copy.load().spec;
    for (a, b) in plain.obs_normalizer.scale.iter().zip(&spec.obs_normalizer.scale) {
        assert!((1.0 / b - 1.0 / a - 0.5).abs() < 1e-5);
    }
    assert_eq!(spec.action_normalizer, plain.action_normalizer);
    // An action that never changed stays what it was, whatever the network says.
    for name in ["diffusion", "shift"] {
        let copy = Copy::of(name);
        copy.tensors(ACTION_FILE, |all| {
            let of = |all: &[(String, Vec<usize>, Vec<u8>)], n: &str| {
                all.iter().position(|t| t.0 == format!("action.{n}")).unwrap()
            };
            let (low, high, mean, std) = (of(all, "min"), of(all, "max"), of(all, "mean"), of(all, "std"));
            for (i, v) in [(low, 0.04f32), (high, 0.04), (mean, 0.04), (std, 0.0)] {
                all[i].2[4..8].copy_from_slice(&v.to_le_bytes());
            }
        });
        let mut action = [0.3, -0.7, 0.2, 5.0];
        copy.load().spec.action_normalizer.denormalize(&mut action).unwrap();
        assert_eq!([action[1], action[3]], [0.04; 2], "{name}");
    }
    // A dimension that never changed is divided by eps: 2 (x - min) / eps - 1.
    let copy = Copy::of("diffusion");
    copy.json(PRE, |l| l["steps"][3]["config"]["eps"] = json!(0.25));
    let n = copy.load().spec.obs_normalizer;
    let bytes = std::fs::read(fixture("diffusion").join(STATE_FILE)).unwrap();
    let low = tensor(&bytes, "observation.state.min")[1];
    let mut x = [0.0, low + 0.5, 0.0, 0.0, 0.0];
    n.normalize(&mut x).unwrap();
    assert!((x[1] - 3.0).abs() < 1e-4, "{}", x[1]);
}

#[test]
fn weights_and_statistics_in_other_types_are_read() {
    let plain = Copy::of("diffusion").load();
    let double = |v: f32| f64::from(v).to_le_bytes().to_vec();
    let copy = Copy::of("diffusion");
    for file in ["model.safetensors", STATE_FILE, ACTION_FILE] {
        copy.retype(file, Dtype::F64, double);
    }
    assert_eq!(copy.load(), plain);
    let half = Copy::of("diffusion");
    half.retype("model.safetensors", Dtype::F16, |v| f16::from_f32(v).to_le_bytes().to_vec());
    let brain = Copy::of("diffusion");
    brain.retype("model.safetensors", Dtype::BF16, |v| bf16::from_f32(v).to_le_bytes().to_vec());
    let (half, brain) = (half.load().ema.values, brain.load().ema.values);
    for (i, v) in plain.ema.values.iter().enumerate() {
        assert_eq!((half[i], brain[i]), (f16::from_f32(*v).to_f32(), bf16::from_f32(*v).to_f32()));
    }
    let eighth = Copy::of("diffusion");
    let said = eighth.retype("model.safetensors", Dtype::F8_E5M2, |_| vec![0]).error();
    assert!(said.contains("found F8_E5M2, needed F32, F16, BF16 or F64"), "{said}");
    // As `compile_model` has LeRobot name them.
    let compiled = Copy::of("diffusion");
    compiled.tensors("model.safetensors", |all| {
        all.iter_mut().for_each(|t| t.0 = t.0.replace("diffusion.unet.", "diffusion.unet._orig_mod."));
    });
    assert_eq!(compiled.load(), plain);
}

#[test]
fn how_many_actions_are_executed_is_told() {
    let executed = |change: fn(&mut Value)| {
        let copy = Copy::of("diffusion");
        copy.json("config.json", change);
        Imported::lerobot(copy.0.path()).map(|imported| imported.execute).map_err(|e| e.to_string())
    };
    assert_eq!(executed(|_| ()), Ok(Some(4)));
    assert_eq!(executed(|j| j["n_action_steps"] = json!(7)), Ok(Some(7)));
    assert_eq!(executed(|j| drop(j.as_object_mut().unwrap().remove("n_action_steps"))), Ok(None));
    // A chunk of 8 begins at the older of two observations: 7 of its actions are for now and later.
    for (steps, words) in [
        (json!(0), "n_action_steps: found 0, needed 1 to 7"),
        (json!(8), "n_action_steps: found 8, needed 1 to 7"),
        (json!("4"), "n_action_steps"),
    ] {
        let copy = Copy::of("diffusion");
        copy.json("config.json", |j| j["n_action_steps"] = steps.clone());
        let said = copy.error();
        assert!(said.contains("config.json") && said.contains(words), "{said}");
    }
}

#[test]
fn the_largest_sizes_of_a_configuration_are_errors() {
    for key in ["horizon", "n_obs_steps", "kernel_size", "n_groups", "diffusion_step_embed_dim"] {
        let copy = Copy::of("diffusion");
        copy.json("config.json", |j| j[key] = json!(usize::MAX));
        let said = copy.error();
        assert!(said.contains("config.json") || said.contains("model.safetensors"), "{key}: {said}");
    }
    let copy = Copy::of("diffusion");
    copy.json("config.json", |j| {
        let inputs = j["input_features"].as_object_mut().unwrap();
        inputs.values_mut().for_each(|feature| feature["shape"] = json!([usize::MAX]));
    });
    let said = copy.error();
    assert!(
        said.contains("found shape [18446744073709551615], needed one length of at most 1048576"),
        "{said}"
    );
}

#[test]
fn other_policies_and_the_folders_around_one_are_named() {
    for kind in ["act", "vqbet", "smolvla", "pi0"] {
        let copy = Copy::of("diffusion");
        copy.json("config.json", |j| {
            *j = json!({ "type": kind, "n_obs_steps": 1, "chunk_size": 100, "input_features": j["input_features"] });
        });
        let said = copy.error();
        let needed = format!("a policy of type \"{kind}\"; diffusion policies are imported");
        assert!(said.contains(&needed), "{said}");
    }
    let plain = Copy::of("diffusion").load();
    let run = tempfile::tempdir().unwrap();
    let step = |n: &str| {
        let inner = run.path().join("checkpoints").join(n).join("pretrained_model");
        std::fs::create_dir_all(&inner).unwrap();
        for file in std::fs::read_dir(fixture("diffusion")).unwrap().flatten() {
            std::fs::copy(file.path(), inner.join(file.file_name())).unwrap();
        }
        inner
    };
    step("000200");
    let newest = step("001000");
    for below in ["", "checkpoints", "checkpoints/001000", "checkpoints/001000/pretrained_model"] {
        let dir = run.path().join(below);
        assert_eq!(advect::policy::find_checkpoint(&dir).unwrap(), newest, "{below}");
        assert_eq!(Policy::import_lerobot(&dir).unwrap(), plain);
        let said = Policy::load(&dir).unwrap_err().to_string();
        let needed = format!("it holds a LeRobot checkpoint: advect import {} ", newest.display());
        assert!(said.contains("is a folder, needed a policy file") && said.contains(&needed), "{said}");
    }
    // `last` is the one that LeRobot would go on from.
    let last = step("last");
    assert_eq!(advect::policy::find_checkpoint(run.path()).unwrap(), last);
    let said = Policy::load(newest.join("model.safetensors")).unwrap_err().to_string();
    assert!(said.contains("part of a LeRobot checkpoint: advect import"), "{said}");
    let said = Policy::import_lerobot(newest.join("model.safetensors")).unwrap_err().to_string();
    assert!(said.contains("this is a file"), "{said}");
}
