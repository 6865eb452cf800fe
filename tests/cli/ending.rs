//! How the command ends when it is stopped or its files cannot be written: one of the exit codes that it promises, one line that
//! says why, and never half a file.
#![cfg(target_os = "linux")]

use crate::bad_input::Bench;
use crate::signal::signal;
use advect::data::{EpisodeArrays, Episodes, write_npz};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Demonstrations whose reading and writing takes a while.
fn long_demonstrations(bench: &Bench) {
    let rows = 40_000;
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
    let arrays = EpisodeArrays {
        obs: wave(rows * 3),
        action: wave(rows * 2),
        obs_dim: 3,
        action_dim: 2,
        lengths: vec![20; rows / 20],
        fps: Some(10.0),
        ..Default::default()
    };
    write_npz(bench.path("long.npz"), &Episodes::from_arrays(arrays).expect("sound")).expect("written");
}

/// Waits until the process itself has a handler of both signals: before that it has not come to its first line.
fn handles_signals(child: &Child) {
    let (interrupt, terminate) = (1u64 << 1, 1u64 << 14);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it is there");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        if caught & interrupt != 0 && caught & terminate != 0 {
            return;
        }
        std::thread::yield_now();
    }
}

/// From the first moment on in which a process can have a handler at all, SIGINT and SIGTERM end every command with 130, or let it end
/// as it does without them where it is already done; no command is ever killed by the signal.
#[test]
fn a_signal_at_once_after_the_start_exits_with_130() {
    let bench = Bench::new().with_policy();
    long_demonstrations(&bench);
    let commands = [
        "train --data demos.npz --config run.toml --steps 1000000 --out out/p.safetensors --device cpu",
        "data convert long.npz out/converted.npz",
        "data convert long.npz out/set",
        "sample p.safetensors --obs obs.npy --batch 200 --solver rk4:200 --out out/a.npy --device cpu",
        "demo --steps 1000000 --device cpu --out out/demo",
        "serve p.safetensors --port 0 --device cpu",
    ];
    for line in commands {
        let mut interrupted = 0;
        for (n, after) in [0, 1, 3, 6, 12, 20].into_iter().enumerate() {
            let mut command = bench.command(&line.split_whitespace().collect::<Vec<_>>());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            handles_signals(&child);
            std::thread::sleep(Duration::from_millis(after));
            if child.try_wait().expect("a child").is_none() {
                signal(&child, ["INT", "TERM"][n % 2]);
            }
            let Output { status, stdout, stderr } = child.wait_with_output().expect("an end");
            let [out, err] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            let told = format!("{line}, {after} ms: {status}: {out}{err}");
            assert!(!err.contains("panicked"), "{told}");
            match status.code() {
                Some(130) => interrupted += 1,
                // It was done already, or serves robots, whom it leaves in good order.
                Some(0) if line.starts_with("serve") => assert!(out.contains("serving"), "{told}"),
                Some(0) if line.starts_with("data") || line.starts_with("sample") => {
                    assert!(out.contains("wrote"), "{told}");
                }
                _ => panic!("{told}"),
            }
            let _ = std::fs::remove_dir_all(bench.path("out"));
            std::fs::create_dir(bench.path("out")).expect("a folder");
        }
        assert!(interrupted > 0, "{line}: it was always done before");
    }
}

/// Runs a command line that may write so many blocks (of 512 or 1,024 bytes) into a file: what a full disk does to it.
fn limited(bench: &Bench, blocks: usize, line: &str) -> (Output, String) {
    let mut shell = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_advect");
    shell.current_dir(bench.path(".")).env("ADVECT_CACHE_DIR", "off").env_remove("RUST_LOG");
    shell.args(["-c", &format!("ulimit -f {blocks}; exec {program} {line}")]);
    let output = shell.output().expect("a shell");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, err)
}

fn names(bench: &Bench, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(bench.path(folder)).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_no_half_file() {
    let bench = Bench::new().with_policy();
    long_demonstrations(&bench);
    std::fs::write(bench.path("out/a.npy"), b"as it was").expect("written");
    let out = "--out out/p.safetensors --device cpu";
    let lines = "log_every = 1\nvalidate_every = 1000\nsave_every = 1000\n";
    let text = std::fs::read_to_string(bench.path("run.toml")).expect("settings");
    std::fs::write(bench.path("lines.toml"), text.replace("steps = 4", "steps = 1000") + lines)
        .expect("written");
    for (line, file, left) in [
        (
            format!("train --data demos.npz --config run.toml {out}"),
            "out/p.safetensors",
            &["a.npy", "metrics.jsonl"][..],
        ),
        (
            format!("train --data demos.npz --config lines.toml {out}"),
            "out/metrics.jsonl",
            &["a.npy", "metrics.jsonl"],
        ),
        ("data convert long.npz out/b.npz".into(), "out/b.npz", &["a.npy"]),
        ("data convert long.npz out/set".into(), "out/set", &["a.npy"]),
        (
            "sample p.safetensors --obs obs.npy --batch 100 --out out/a.npy --device cpu".into(),
            "out/a.npy",
            &["a.npy"],
        ),
        (
            "sample p.safetensors --obs obs.npy --trajectory out/t.npy --batch 9 --out out/b.npy --device cpu".into(),
            "out/t.npy",
            &["a.npy"],
        ),
        (
            "bench --roofline --batch 1 --seconds 0.01 --device cpu --threads 1 --plot out/r.html".into(),
            "out/r.html",
            &["a.npy"],
        ),
    ] {
        let (output, err) = limited(&bench, 2, &line);
        assert_eq!(output.status.code(), Some(1), "{line}: {}: {err}", output.status);
        let errors: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!((errors.len(), err.lines().last()), (1, errors.first().copied()), "{line}: {err}");
        for words in [file, "File too large"] {
            assert!(errors[0].contains(words), "{line}: no {words:?} in {}", errors[0]);
        }
        assert!(!errors[0].contains(".tmp/") && !errors[0].contains(".tmp\""), "a name that is gone: {}", errors[0]);
        assert_eq!(names(&bench, "out"), left, "{line}");
        assert_eq!(std::fs::read(bench.path("out/a.npy")).expect("a file"), b"as it was", "{line}");
        if left.contains(&"metrics.jsonl") {
            let text = std::fs::read_to_string(bench.path("out/metrics.jsonl")).expect("metrics");
            let whole = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
            assert!(text.ends_with('\n') && text.lines().all(whole), "{line}: {text}");
            std::fs::remove_file(bench.path("out/metrics.jsonl")).expect("removed");
        }
    }
}

/// What is printed may not be lost in silence either.
#[test]
fn a_report_that_cannot_be_printed_is_a_failure() {
    let bench = Bench::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let mut command = bench.command(&["devices", "--json"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: cannot write to stdout: No space left"), "{err}");
}
