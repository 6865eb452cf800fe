//! `advect demo` as a newcomer runs it: from any folder, a few steps.
//!
//! The test of the GPU says NOT RUN where no adapter is found; with ADVECT_REQUIRE_GPU=1 it fails instead.

use advect::Policy;
use advect::data::read_npy_f32;
use advect::train::MetricsLine;
use std::path::Path;
use std::process::{Command, Output};

const FILES: [&str; 4] = ["actions.npy", "metrics.jsonl", "policy.safetensors", "report.html"];

fn demo(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
    command
        .current_dir(folder)
        .arg("demo")
        .args(args)
        .env_remove("ADVECT_DEVICE")
        .env("ADVECT_CACHE_DIR", "off");
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `steps` steps on `device` and looks at everything that is written; returns the shape of the actions.
fn check(device: &str, steps: u64) -> Vec<usize> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("new").join("out");
    let steps_text = steps.to_string();
    let run =
        demo(folder.path(), &["--steps", &steps_text, "--device", device, "--out", &out.to_string_lossy()]);
    let (printed, said) = (text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{said}\n{printed}");
    for word in ["trained", "chunks/s", "energy distance", "floor", "report.html"] {
        assert!(printed.contains(word), "no '{word}' in:\n{printed}");
    }
    let mut names: Vec<String> = out
        .read_dir()
        .expect("the folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, FILES, "exactly these files, and no partial one");

    let html = std::fs::read_to_string(out.join("report.html")).expect("the report");
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    for outside in ["http", "src=", "url(", "@import", "<script", "<link", "NaN"] {
        assert!(!html.contains(outside), "the report must stand alone: found {outside}");
    }
    assert!(html.matches("<svg").count() > 8, "a curve, six scenes and two pictures of the flow");
    let warned = "17 of 480 episodes did not succeed";
    assert!(
        html.contains("Warnings</h2>") && html.contains(warned),
        "what is said of the data stands in the report"
    );
    assert!(html.len() < 3_000_000, "{} bytes", html.len());

    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).expect("the metrics");
    let lines: Vec<MetricsLine> =
        metrics.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|l| l.loss.is_finite() && l.grad_norm.is_finite() && l.steps_per_s > 0.0));
    assert!(lines.windows(2).all(|pair| pair[0].step < pair[1].step));
    let last = lines.last().expect("a line");
    assert!(last.step == steps && last.val_loss.is_some_and(f64::is_finite), "{last:?}");

    let policy = Policy::load(out.join("policy.safetensors")).expect("a policy");
    assert_eq!(policy.spec.provenance.steps, steps);
    assert_eq!(policy.spec.provenance.validation_episodes.len(), 48);
    let actions = read_npy_f32(out.join("actions.npy")).expect("the actions");
    assert_eq!(actions.data.len(), actions.shape.iter().product::<usize>());
    assert!(actions.data.iter().all(|v| v.is_finite()));
    actions.shape
}

#[test]
fn thirty_steps_on_the_cpu() {
    // A build that is not optimised is a slow device, which takes fewer samples.
    let samples = if cfg!(debug_assertions) { 1..=64 } else { 64..=64 };
    let shape = check("cpu", 30);
    assert!(shape[0] == 64 && samples.contains(&shape[1]) && shape[2..] == [16, 2], "{shape:?}");
}

#[test]
fn two_steps_on_the_gpu() {
    let adapters = advect::device::enumerate();
    if !adapters.iter().any(|a| a.compute) {
        println!("NOT RUN: two_steps_on_the_gpu: no adapter is found");
        assert!(
            std::env::var_os("ADVECT_REQUIRE_GPU").is_none_or(|v| v != "1"),
            "ADVECT_REQUIRE_GPU=1, and no adapter"
        );
        return;
    }
    // A software adapter takes fewer samples.
    let shape = check("gpu", 2);
    assert!(shape[0] == 64 && (1..=64).contains(&shape[1]) && shape[2..] == [16, 2], "{shape:?}");
}

#[test]
fn what_cannot_work_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"not a folder").expect("a file");
    let file = file.to_string_lossy().into_owned();
    let fails = |from: &Path, args: &[&str], code: i32, words: &[&str]| {
        let run = demo(from, args);
        let said = text(&run.stderr);
        let errors: Vec<&str> =
            said.lines().filter(|l| l.starts_with("error: ") && !l.contains("XDG_RUNTIME_DIR")).collect();
        assert_eq!((run.status.code(), errors.len()), (Some(code), 1), "{args:?}: {said}");
        words.iter().for_each(|word| assert!(errors[0].contains(word), "no '{word}' in: {said}"));
    };
    let elsewhere = folder.path();
    fails(elsewhere, &["--device", "cpu", "--data", "none.npz"], 1, &["none.npz"]);
    fails(elsewhere, &["--device", "cpu", "--data", &file], 1, &["file"]);
    fails(elsewhere, &["--device", "cpu", "--out", &file], 1, &[&file]);
    fails(elsewhere, &["--steps", "0"], 2, &["--steps"]);
    fails(elsewhere, &["--device", "no such adapter"], 2, &["no such adapter"]);
    assert_eq!(elsewhere.read_dir().expect("the folder").count(), 1, "no leftovers");
}
