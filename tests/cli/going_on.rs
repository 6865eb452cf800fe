//! Going on with what is there: a finished run for longer, on more demonstrations, or a new run from a policy's weights; and what is said
//! where a run cannot go on.

use crate::bad_input::Bench;
use advect::data::{EpisodeArrays, Episodes, WriteLock, write_npz};
use advect::policy::Policy;
use serde_json::Value;

const TRAIN: &str = "train --config run.toml --device cpu --json";

/// Runs a command line of words: the summary, and what was said on stderr.
fn trained(bench: &Bench, more: &str) -> (Value, String) {
    let line = format!("{TRAIN} {more}");
    let output = bench.command(&line.split_whitespace().collect::<Vec<_>>()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), said)
}

fn refused(bench: &Bench, more: &str, code: i32, words: &[&str]) {
    let line = format!("{TRAIN} {more}");
    bench.fails(&line.split_whitespace().collect::<Vec<_>>(), code, words);
}

/// Other demonstrations of the same kind, on another scale.
fn more_demonstrations(bench: &Bench) {
    let wave = |n: usize| (0..n).map(|i| 5.0 * (i as f32 * 0.21).cos()).collect::<Vec<_>>();
    let arrays = EpisodeArrays {
        obs: wave(60 * 3),
        action: wave(60 * 2),
        obs_dim: 3,
        action_dim: 2,
        lengths: vec![20; 3],
        ..Default::default()
    };
    write_npz(bench.path("more.npz"), &Episodes::from_arrays(arrays).expect("sound")).expect("written");
}

fn policy(bench: &Bench, name: &str) -> Policy {
    Policy::load(bench.path(name)).expect("a policy")
}

#[test]
fn a_finished_run_goes_on_with_more_steps_and_more_demonstrations() {
    let bench = Bench::new();
    more_demonstrations(&bench);
    let run = "--data demos.npz --out out/p.safetensors";
    trained(&bench, run);
    let first = policy(&bench, "out/p.safetensors");
    let (summary, said) = trained(&bench, &format!("{run} --steps 8 --resume"));
    assert_eq!((&summary["steps"], &summary["resumed_at"]), (&8.into(), &4.into()));
    assert!(
        said.contains("8 steps in place of 4; the cosine schedule is stretched over all of them"),
        "{said}"
    );
    refused(&bench, &format!("{run} --steps 6 --resume"), 1, &["steps: found 6, needed at least 8"]);

    let both = "--data demos.npz --data more.npz --out out/p.safetensors --resume";
    let (summary, said) = trained(&bench, &format!("{both} --steps 10"));
    assert_eq!((&summary["steps"], &summary["resumed_at"]), (&10.into(), &8.into()));
    assert!(said.contains("3 more demonstrations than the 4 of the stopped run"), "{said}");
    let (_, said) = trained(&bench, &format!("{both} --steps 12"));
    assert!(!said.contains("more demonstrations"), "they are the run's own now: {said}");
    let last = policy(&bench, "out/p.safetensors");
    assert_eq!(first.spec.obs_normalizer, last.spec.obs_normalizer);
    assert_eq!(first.spec.action_normalizer, last.spec.action_normalizer);
    let held = |p: &Policy| p.spec.provenance.validation_episodes.clone();
    assert!(held(&first).iter().all(|e| held(&last).contains(e)), "what was held out stays held out");
    assert_eq!(held(&last).len(), held(&first).len() + 1);

    refused(&bench, &format!("{run} --steps 12 --resume"), 1, &["demonstrations are not those", "--init"]);
    let text = std::fs::read_to_string(bench.path("run.toml")).expect("settings");
    std::fs::write(bench.path("run.toml"), text + "optimizer = { lr = 2e-3 }\n").expect("written");
    let words = ["p.safetensors.train", "optimizer.lr: 0.001 in the stopped run, 0.002 now"];
    refused(&bench, &format!("{both} --steps 12"), 1, &words);
    std::fs::remove_file(bench.path("out/p.safetensors.train")).expect("removed");
    refused(&bench, &format!("{both} --steps 12"), 1, &["no such file", "p.safetensors is there", "--init"]);
}

#[test]
fn a_run_starts_from_a_policy() {
    let bench = Bench::new().with_policy();
    more_demonstrations(&bench);
    let start = "--data more.npz --init p.safetensors --out out/q.safetensors";
    let (_, said) = trained(&bench, start);
    assert!(said.contains("starts from the weights of p.safetensors, its normalisers kept"), "{said}");
    let (from, kept) = (policy(&bench, "p.safetensors"), policy(&bench, "out/q.safetensors"));
    assert_eq!(from.spec.obs_normalizer, kept.spec.obs_normalizer);
    // Four steps of warm-up move weights by little.
    let far =
        from.ema.values.iter().zip(&kept.weights.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far > 0.0 && far < 0.01, "{far}");
    let (_, said) = trained(&bench, &format!("{start} --init-normalizer fit"));
    assert!(said.contains("fitted to these demonstrations"), "{said}");
    assert_ne!(from.spec.obs_normalizer, policy(&bench, "out/q.safetensors").spec.obs_normalizer);
    // What the policy fixes need not be said again, and goes on with --resume.
    std::fs::write(bench.path("run.toml"), "steps = 4\nbatch_size = 8\npad_after = 0\n").expect("written");
    trained(&bench, start);
    assert_eq!(policy(&bench, "out/q.safetensors").spec.network, from.spec.network);
    let line = "train --data more.npz --out out/q.safetensors --resume --steps 6 --device cpu";
    let output = bench.command(&line.split_whitespace().collect::<Vec<_>>()).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(policy(&bench, "out/q.safetensors").spec.obs_normalizer, from.spec.obs_normalizer);

    std::fs::write(bench.path("run.toml"), "steps = 4\nbatch_size = 8\npad_after = 0\nhorizon = 8\n")
        .expect("written");
    refused(&bench, start, 1, &["horizon: 4 in the policy, 8 in this run"]);
    refused(&bench, &format!("{start} --resume"), 2, &["--init", "--resume"]);
    refused(&bench, "--data more.npz --init p.safetensors --out p.safetensors", 2, &["--out", "--init"]);
}

#[test]
fn a_run_goes_on_until_its_loss_is_flat() {
    let bench = Bench::new();
    let text = std::fs::read_to_string(bench.path("run.toml")).expect("settings");
    let text = text.replace("steps = 4", "steps = 40")
        + "validate_every = 5\noptimizer = { lr = 1e-2, warmup = 5, ema = { kind = \"constant\", decay = 0.5 } }\n";
    std::fs::write(bench.path("run.toml"), text).expect("written");
    // Points on a circle, which are to be copied: there is something to learn.
    let circle = |width: usize| {
        (0..240).flat_map(move |t| {
            [0.0, 0.25, 0.0]
                .map(|part: f32| (0.1 * t as f32 + part * std::f32::consts::TAU).sin())
                .into_iter()
                .take(width)
        })
    };
    let (obs, action) = (circle(3).collect(), circle(2).collect());
    let arrays =
        EpisodeArrays { obs, action, obs_dim: 3, action_dim: 2, lengths: vec![20; 12], ..Default::default() };
    write_npz(bench.path("circle.npz"), &Episodes::from_arrays(arrays).expect("sound")).expect("written");
    let run = "--data circle.npz --objective behaviour_cloning --out out/p.safetensors";
    let (summary, _) = trained(&bench, run);
    assert!(summary["fall_per_doubling"].as_f64().is_some_and(|fall| fall > 0.1), "{summary}");
    let (summary, said) = trained(&bench, &format!("{run} --until-flat --max-steps 100"));
    assert!(summary["steps"].as_u64().is_some_and(|steps| steps > 40 && steps <= 100), "{summary}");
    assert!(said.contains("80 steps in place of 40"), "{said}");
}

/// The metrics of a policy stay its own, whatever else is trained into its folder.
#[test]
fn policies_of_one_folder_have_metrics_of_their_own() {
    let bench = Bench::new();
    let metrics = |summary: &Value| summary["metrics"].as_str().expect("a path").to_owned();
    let steps = |name: &str| {
        let lines = advect::train::metrics::read(&bench.path(name)).expect("metrics");
        lines.last().expect("a line").step
    };
    let run = "--data demos.npz --out out/p.safetensors";
    // As a run leaves it that was killed before its first checkpoint.
    std::fs::write(bench.path("out/metrics.jsonl"), "").expect("written");
    assert_eq!(metrics(&trained(&bench, run).0), "out/metrics.jsonl");
    let second = "--data demos.npz --out out/q.safetensors --steps 6";
    assert_eq!(metrics(&trained(&bench, second).0), "out/q.metrics.jsonl");
    // Both go on, and begin anew, with their own; the first one's without its state, too.
    let resumed = trained(&bench, "--data demos.npz --out out/q.safetensors --steps 9 --resume").0;
    assert_eq!(metrics(&resumed), "out/q.metrics.jsonl");
    assert_eq!(metrics(&trained(&bench, second).0), "out/q.metrics.jsonl");
    assert_eq!([steps("out/metrics.jsonl"), steps("out/q.metrics.jsonl")], [4, 6]);
    assert_eq!(metrics(&trained(&bench, &format!("{run} --steps 5 --resume")).0), "out/metrics.jsonl");
    std::fs::remove_file(bench.path("out/p.safetensors.train")).expect("removed");
    assert_eq!(metrics(&trained(&bench, run).0), "out/metrics.jsonl");
    assert_eq!([steps("out/metrics.jsonl"), steps("out/q.metrics.jsonl")], [4, 6]);
    let elsewhere = trained(&bench, "--data demos.npz --out out/r.safetensors --metrics out/mine.jsonl").0;
    assert_eq!(metrics(&elsewhere), "out/mine.jsonl");
}

#[test]
fn two_runs_do_not_share_a_file() {
    let bench = Bench::new();
    let lock = WriteLock::take(&bench.path("out/p.safetensors")).expect("a folder").expect("free");
    refused(
        &bench,
        "--data demos.npz --out out/p.safetensors",
        1,
        &["another run is writing out/p.safetensors"],
    );
    drop(lock);
    let lock = WriteLock::take(&bench.path("out/metrics.jsonl")).expect("a folder").expect("free");
    refused(
        &bench,
        "--data demos.npz --out out/p.safetensors",
        1,
        &["another run is writing out/metrics.jsonl"],
    );
    drop(lock);
    trained(&bench, "--data demos.npz --out out/p.safetensors");
}
