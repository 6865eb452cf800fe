//! What a device remembers between starts: compiled kernels and tuned choices, in a folder of the test's own.

mod common;

use advect::bench::{self, Subject, TuneOptions, Workload, demonstrations, run_config};
use advect::device::{Cpu, Device, DeviceChoice, Gpu, GpuOptions, Tuned, Tuning, TuningError};
use advect::flow::integrator::Start;
use advect::flow::{Batch, IntegrateOptions, Integrator, Solver};
use advect::graph::{Fusion, Plan, Precision, Program, Session};
use advect::kernel::{Target, View, copy, matmul};
use advect::nn::NetworkSpec;
use advect::policy::SamplerOptions;
use advect::train::Trainer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A GPU (a software one too) opened anew with a cache folder.
fn open(folder: &Path) -> Option<Gpu> {
    let mut options = GpuOptions::default();
    options.cache = Some(folder.to_owned());
    common::found(Device::open_with(&DeviceChoice::Gpu, &options))?.gpu().cloned()
}

fn integrator(gpu: &Gpu, batch: usize, fusion: Fusion) -> Integrator {
    let (device, solver) = (Device::Gpu(gpu.clone()), Solver::euler(2));
    let store = Workload::Mlp256.parameters(3).unwrap();
    let options = IntegrateOptions { fusion, ..IntegrateOptions::default() };
    let batch = Batch { requests: batch, samples: 1 };
    let mut integrator =
        Integrator::new(&device, &Workload::Mlp256, &store.layout, solver, batch, &options).unwrap();
    integrator.set_params(&store.values).unwrap();
    integrator
}

fn sample(integrator: &mut Integrator) -> Vec<f32> {
    let rows = integrator.batch().rows();
    let obs: Vec<f32> = (0..rows * bench::OBS_DIM).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut out = vec![f32::NAN; rows * bench::STATE_DIM];
    integrator.run(Start::Noise { seed: 5, request: 1 }, &[&obs], &mut out, None).unwrap();
    out
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let size: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (apart / size).sqrt()
}

fn tuned(gpu: &Gpu, tuning: Tuning) -> Gpu {
    gpu.with_tuning(Some(Arc::new(tuning)))
}

fn answer(guess: &str, best: &str) -> Tuned {
    Tuned { guess: guess.into(), guess_ms: 2.0, best: best.into(), best_ms: 1.0 }
}

fn variants(plan: &Plan) -> Vec<&'static str> {
    plan.commands.iter().map(|c| c.variant.name).collect()
}

/// The file of a purpose in the folder.
fn kept(folder: &Path, purpose: &str) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(purpose))
}

/// Bytes of the file after a single kernel.
fn one_kernel() -> usize {
    let folder = tempfile::tempdir().unwrap();
    let gpu = open(folder.path()).unwrap();
    let source = "@compute @workgroup_size(1) fn main() {}";
    // SAFETY: it touches no memory.
    unsafe { gpu.pipeline("nothing", source, &[]) }.unwrap();
    gpu.keep_pipelines();
    std::fs::read(kept(folder.path(), "pipelines-").unwrap()).unwrap().len()
}

#[test]
fn a_second_start_takes_its_kernels_from_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let gpu = open(folder.path())?;
        let chunks = sample(&mut integrator(&gpu, 3, Fusion::Layers));
        let counters = gpu.counters();
        eprintln!("{} kernels compiled in {} us", counters.pipelines_created, counters.compile_us);
        Some((gpu, chunks, counters))
    };
    let Some((gpu, chunks, first)) = start() else { return };
    // SAFETY: only asked what it can do.
    if !unsafe { gpu.raw_device() }.features().contains(wgpu::Features::PIPELINE_CACHE) {
        eprintln!("NOT RUN: {} gives no compiled kernels out", gpu.describe());
        assert_eq!(kept(folder.path(), "pipelines-"), None);
        return;
    }
    assert_eq!(first.pipeline_bytes_loaded, 0);
    let file = kept(folder.path(), "pipelines-").expect("the first start keeps its kernels");
    let whole = std::fs::read(&file).unwrap();
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();

    let (_, again, second) = start().unwrap();
    assert_eq!(again, chunks, "the same bits");
    assert!(second.pipeline_bytes_loaded > 0);
    assert_eq!(second.pipelines_created, first.pipelines_created);
    // The driver had nothing to add: it compiled nothing, if it keeps kernels at all. Mesa 22's llvmpipe gives out a header alone.
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), written);
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    if whole.len() <= one_kernel() {
        eprintln!("NOT SHOWN: {} keeps no kernels in its cache", gpu.describe());
    }

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() - 1], &flipped, b"", b"something else\nentirely"] {
        std::fs::write(&file, damaged).unwrap();
        let (_, again, counters) = start().unwrap();
        assert_eq!((again == chunks, counters.pipeline_bytes_loaded), (true, 0));
        assert_eq!(std::fs::read(&file).unwrap().len(), whole.len(), "written anew");
    }
    // A folder that cannot be: nothing is kept, and nothing fails.
    let gpu = open(&file.join("below a file")).unwrap();
    assert_eq!(sample(&mut integrator(&gpu, 3, Fusion::Layers)), chunks);
}

#[test]
fn a_plan_takes_the_tuned_variants_of_its_products() {
    let Some(gpu) = open(tempfile::tempdir().unwrap().path()) else { return };
    let target = Target::from(gpu.caps());
    for batch in [1, 33] {
        let mut plain = integrator(&gpu, batch, Fusion::Layers);
        let (mut tuning, mut wanted) = (Tuning::default(), Vec::new());
        for command in &plain.plan().commands {
            let Some(call) = matmul::Call::of(command) else {
                wanted.push(command.variant.name);
                continue;
            };
            let views = [&call.a.1, &call.b.1, &call.c.1];
            let choices = matmul::choices(call.form, call.size, views, &target);
            let (guess, other) = (choices[0].variant.name, choices[choices.len() - 1].variant.name);
            tuning.insert(matmul::question(call.form, call.size, views), answer(guess, other));
            wanted.push(other);
        }
        assert!(tuning.changed() > 1, "{tuning:?}");
        let mut other = integrator(&tuned(&gpu, tuning.clone()), batch, Fusion::Layers);
        assert_eq!(variants(other.plan()), wanted);
        let apart = distance(&sample(&mut other), &sample(&mut plain));
        assert!(apart < 1e-5, "batch {batch}: {apart:e}");
        // The device itself is as it was.
        assert_eq!(variants(integrator(&gpu, batch, Fusion::Layers).plan()), variants(plain.plan()));

        let mut unknown = Tuning::default();
        for (question, tuned) in tuning.iter() {
            unknown.insert(question.to_owned(), answer(&tuned.guess, "a_variant_of_the_past"));
        }
        let same = integrator(&tuned(&gpu, unknown), batch, Fusion::Layers);
        assert_eq!(variants(same.plan()), variants(plain.plan()));
    }
}

#[test]
fn a_plan_takes_the_tuned_schedule() {
    let Some(gpu) = open(tempfile::tempdir().unwrap().path()) else { return };
    for batch in [1, 5] {
        let want = sample(&mut integrator(&gpu, batch, Fusion::Layers));
        let schedule = integrator(&gpu, batch, Fusion::Auto).plan().schedule.clone().unwrap();
        assert_eq!(schedule.taken, schedule.ways[0], "the guess without a measurement");
        assert!(schedule.ways.contains(&"layers") && schedule.ways.len() > 2, "{schedule:?}");
        let with = |best: &str| {
            let mut tuning = Tuning::default();
            tuning.insert(schedule.question.clone(), answer(schedule.ways[0], best));
            integrator(&tuned(&gpu, tuning), batch, Fusion::Auto)
        };
        for way in &schedule.ways {
            let mut sampler = with(way);
            assert_eq!(sampler.plan().schedule.as_ref().unwrap().taken, *way);
            assert_eq!(variants(sampler.plan()).contains(way), *way != "layers");
            let apart = distance(&sample(&mut sampler), &want);
            assert!(apart < 1e-5, "{way}, batch {batch}: {apart:e}");
        }
        assert_eq!(with("ode_rows_of_the_past").plan().schedule.as_ref().unwrap().taken, schedule.ways[0]);
    }
}

#[test]
fn a_file_counts_for_its_driver_and_shaders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(gpu) = open(folder.path()) else { return };
    assert!(gpu.tuning().is_none());
    let mut tuning = Tuning::default();
    tuning.insert("matmul NT 8x8x8 vec4".into(), answer("a", "b"));
    tuning.insert("matmul NT 8x8x16 vec4".into(), answer("a", "a"));
    assert_eq!((tuning.measured(), tuning.changed()), (2, 1));
    assert_eq!(tuning.choice("matmul NT 8x8x8 vec4"), Some("b"));
    assert_eq!(tuning.choice("matmul NT 8x8x16 vec4"), None, "where the guess won, it may guess");

    let file = tuning.save(folder.path(), gpu.report()).unwrap();
    assert_eq!(open(folder.path()).unwrap().tuning().map(|t| &**t), Some(&tuning));
    let mut untuned = GpuOptions::default();
    (untuned.cache, untuned.untuned) = (Some(folder.path().to_owned()), true);
    let device = Device::open_with(&DeviceChoice::Gpu, &untuned).unwrap();
    assert!(device.gpu().unwrap().tuning().is_none());

    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("shaders ", "shaders f");
    assert_ne!(text, other);
    let cases = [(other.as_str(), true), ("{}", false), ("", false), (&text[..text.len() / 2], false)];
    for (text, outdated) in cases {
        std::fs::write(&file, text).unwrap();
        let error = Tuning::load(folder.path(), gpu.report()).unwrap_err();
        assert_eq!(matches!(error, TuningError::Outdated { .. }), outdated, "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        assert!(open(folder.path()).unwrap().tuning().is_none(), "a warning, and guesses");
    }
}

#[test]
fn tuning_answers_every_question_of_the_plans() {
    let Some(gpu) = open(tempfile::tempdir().unwrap().path()) else { return };
    let subjects = [Subject::Workload(Workload::Mlp256)];
    // More than the host can hold.
    let large = 1 << 44;
    let options = TuneOptions {
        batches: vec![1, 9, large],
        solver: Solver::euler(2),
        precision: Precision::F32,
        train: false,
        seconds: 1e-3,
    };
    let mut last = 0.0;
    let found = bench::tune(&gpu, &subjects, &options, &mut |_, done| {
        assert!(done >= last && done <= 1.0, "{done} after {last}");
        last = done;
        true
    })
    .unwrap();
    assert_eq!(found.skipped.len(), 1, "{:?}", found.skipped);
    assert_eq!(found.skipped[0].what, format!("mlp256, batch {large}"));
    assert_eq!(found.tuning.measured(), found.rows.len());
    for row in &found.rows {
        let best = row.ways.iter().find(|w| w.way == row.best).unwrap();
        assert!(row.ways.len() > 1 && row.ways.iter().all(|w| w.ms > 0.0 && w.ms.is_finite()), "{row:?}");
        assert!(row.best == row.ways[0].way || best.ms < 0.95 * row.ways[0].ms, "{row:?}");
    }
    assert_eq!(found.rows.iter().filter(|r| r.question.starts_with("steps ")).count(), 2);
    // A plan of the tuned device follows the answers, all of them.
    let gpu = tuned(&gpu, found.tuning.clone());
    for (batch, row) in
        options.batches.iter().zip(found.rows.iter().filter(|r| r.question.starts_with("steps ")))
    {
        let plan = integrator(&gpu, *batch, Fusion::Auto);
        assert_eq!(plan.plan().schedule.as_ref().unwrap().taken, row.best);
    }
    for call in integrator(&gpu, 9, Fusion::Layers).plan().commands.iter() {
        let Some(product) = matmul::Call::of(call) else { continue };
        let question =
            matmul::question(product.form, product.size, [&product.a.1, &product.b.1, &product.c.1]);
        let row = found.rows.iter().find(|r| r.question == question);
        assert_eq!(row.unwrap_or_else(|| panic!("no answer to {question}")).best, call.variant.name);
    }
    let stopped = bench::tune(&gpu, &subjects, &options, &mut |_, _| false);
    assert!(matches!(stopped, Err(bench::BenchError::Stopped)));
}

#[test]
fn attention_is_tuned() {
    let Some(gpu) = open(tempfile::tempdir().unwrap().path()) else { return };
    let mut config = run_config(Workload::Transformer, 4, 1);
    if let NetworkSpec::Transformer(net) = &mut config.network {
        (net.width, net.layers, net.heads) = (32, 1, 2);
    }
    let cpu = Device::Cpu(Cpu::with_threads(1).unwrap());
    let mut trainer = Trainer::new(&cpu, &demonstrations(2, 32, 1).unwrap(), &config).unwrap();
    let policy = Box::new(trainer.policy().unwrap());
    let options = TuneOptions {
        batches: vec![2],
        solver: Solver::euler(1),
        precision: Precision::F32,
        train: false,
        seconds: 1e-3,
    };
    let subjects = [Subject::Policy { name: "small".into(), policy: policy.clone() }];
    let found = bench::tune(&gpu, &subjects, &options, &mut |_, _| true).unwrap();
    let rows: Vec<_> = found.rows.iter().filter(|r| r.question.starts_with("attention ")).collect();
    let [row] = rows[..] else { panic!("{:?}", found.rows) };
    assert_eq!(row.ways.len(), 3, "{row:?}");
    // A plan follows the answer, whichever it is.
    for way in &row.ways {
        let mut tuning = Tuning::default();
        tuning.insert(row.question.clone(), answer("another", way.way));
        let device = Device::Gpu(tuned(&gpu, tuning));
        let sampler = policy.sampler(&device, 2, 1, &SamplerOptions::default()).unwrap();
        let calls = sampler.integrator().plan().commands.iter();
        let taken: Vec<_> = calls.filter(|c| c.kernel.name == "attention").map(|c| c.variant.name).collect();
        assert!(!taken.is_empty() && taken.iter().all(|name| *name == way.way), "{taken:?}");
    }
}

/// A product of few rows and great depth between two copies, each in a phase of its own; and what it gives.
fn deep_product(gpu: &Gpu) -> (Plan, Vec<f32>) {
    let device = Device::Gpu(gpu.clone());
    let (form, shape @ [m, n, k]) = (matmul::Form::NT, [9, 36, 2048]);
    let mut p = Program::new(Target::of(&device));
    let [a, b, bias] =
        [("a", m * k), ("b", n * k), ("bias", n)].map(|(name, len)| p.resident(name, len).unwrap());
    let [c, d] = ["c", "d"].map(|name| p.resident(name, m * n).unwrap());
    let empty = p.empty();
    let (rows, out) = (View::dense(0, k), View::dense(0, n));
    p.phase("before");
    p.push(copy::command([m, n], 0, n, (a, rows), (c, out))).unwrap();
    p.phase("product");
    p.split_here();
    p.count_flops(2.0 * (m * n * k) as f64);
    let epilogue =
        matmul::Epilogue { bias: Some((bias, 0)), residual: Some((d, out)), beta: 0.5, ..Default::default() };
    let target = Target::of(&device);
    p.push(matmul::command(form, shape, (a, rows), (b, rows), (c, out), &epilogue, empty, &target)).unwrap();
    p.phase("after");
    p.push(copy::command([m, n], 0, n, (c, out), (d, out))).unwrap();
    let plan = p.finish().unwrap();
    let mut session = Session::new(&device, plan.clone()).unwrap();
    for (name, len) in [("a", m * k), ("b", n * k), ("bias", n), ("d", m * n)] {
        let values: Vec<f32> = (0..len).map(|i| ((i * i % 1009) as f32 * 0.37).sin()).collect();
        session.write(plan.buffer(name).unwrap(), &values).unwrap();
    }
    let mut out = vec![f32::NAN; m * n];
    session.run(&[0, 1, 2]).unwrap();
    session.read(plan.buffer("d").unwrap(), &mut out).unwrap();
    (plan, out)
}

#[test]
fn a_split_product_is_two_commands_of_its_phase() {
    let Some(gpu) = open(tempfile::tempdir().unwrap().path()) else { return };
    let (plain, want) = deep_product(&gpu.with_tuning(None));
    let call = (0..plain.commands.len()).find_map(|at| matmul::Call::at(&plain.commands, at)).unwrap();
    let mut tuning = Tuning::default();
    let question = matmul::question(call.form, call.size, [&call.a.1, &call.b.1, &call.c.1]);
    tuning.insert(question, answer("another", "matmul_split_nt_flat_vec4"));
    let (plan, out) = deep_product(&tuned(&gpu, tuning.clone()));
    assert_eq!(variants(&plan)[1..3], ["matmul_split_nt_flat_vec4", "matmul_join"]);
    assert_eq!(plan.phases.iter().map(|p| p.range.clone()).collect::<Vec<_>>(), [0..1, 1..3, 3..4]);
    assert_eq!((plan.splits.as_slice(), plan.costs[0].0), ([1].as_slice(), 1));
    // The product is read back as it was asked for.
    let again = matmul::Call::at(&plan.commands, 1).unwrap();
    assert_eq!((again.form, again.size, again.a.1, again.b.1), (call.form, call.size, call.a.1, call.b.1));
    assert_eq!((again.c.1, again.epilogue.beta, again.epilogue.bias.is_some()), (call.c.1, 0.5, true));
    assert!(matmul::Call::at(&plan.commands, 2).is_none());
    let apart = distance(&out, &want);
    assert!(apart < 1e-5, "{apart:e}");
    assert_eq!(deep_product(&tuned(&gpu, tuning)).1, out, "the same bits twice");
}
