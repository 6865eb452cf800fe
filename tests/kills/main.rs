//! `kill -9` at random instants of training, converting and sampling: no half file, no stray file after the next start, and a run that is
//! gone on with, by any number of threads, ends in the same bits. ADVECT_KILLS says at how many instants each (5 by
//! default): `ADVECT_KILLS=200 cargo test --release --test kills -- --nocapture`.

use advect::data::{DataSpec, EpisodeArrays, Episodes, write_npy_f32, write_npz};
use advect::policy::Policy;
use advect::train::{MetricsLine, resume};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RUN: &str = "
steps = 240
batch_size = 16
horizon = 4
history = 1
pad_after = 0
log_every = 10
validate_every = 40
save_every = 20
network = { kind = \"mlp\", hidden = [32, 32], activation = \"silu\", time = { kind = \"raw\" }, conditioning = \"concat\" }
";

fn kills() -> usize {
    std::env::var("ADVECT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// As RUN says.
const STEPS: u64 = 240;

/// Instants by a linear congruential generator: the same in every run of the test.
struct Instants(u64);

impl Instants {
    fn part(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 1 to 4.
    fn threads(&mut self) -> usize {
        1 + (4.0 * self.part()) as usize
    }
}

struct Bench {
    folder: TempDir,
    /// Of the commands to come.
    threads: Cell<usize>,
}

impl Bench {
    fn new(episodes: usize) -> Bench {
        let bench = Bench { folder: tempfile::tempdir().expect("a folder"), threads: Cell::new(1) };
        let rows = episodes * 20;
        let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        let arrays = EpisodeArrays {
            obs: wave(rows * 3),
            action: wave(rows * 2),
            obs_dim: 3,
            action_dim: 2,
            lengths: vec![20; episodes],
            fps: Some(10.0),
            ..Default::default()
        };
        write_npz(bench.path("demos.npz"), &Episodes::from_arrays(arrays).expect("sound")).expect("written");
        std::fs::write(bench.path("run.toml"), RUN).expect("written");
        std::fs::create_dir(bench.path("out")).expect("a folder");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
        command.current_dir(&self.folder).args(line.split_whitespace()).env("ADVECT_CACHE_DIR", "off");
        command
            .env("ADVECT_DEVICE", "cpu")
            .env("ADVECT_THREADS", self.threads.get().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end, and says how long that took.
    fn whole(&self, line: &str) -> Duration {
        let start = Instant::now();
        let output = self.command(line).output().expect("it starts");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        start.elapsed()
    }

    /// Kills after a while; whether it was still running.
    fn killed(&self, line: &str, after: Duration) -> bool {
        let mut child = self.command(line).spawn().expect("it starts");
        std::thread::sleep(after);
        let running = child.try_wait().expect("a child").is_none();
        child.kill().expect("killed");
        child.wait().expect("gone");
        running
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("one").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// The losses of metrics.jsonl by step; nothing but whole lines.
fn losses(path: &Path) -> Vec<(u64, u64)> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    assert_eq!(whole, text, "half a line in {}", path.display());
    let line = |l| serde_json::from_str::<MetricsLine>(l).expect("a line of metrics");
    whole.lines().map(line).map(|m| (m.step, m.loss.to_bits())).collect()
}

fn bits(policy: &Policy) -> Vec<u32> {
    policy.weights.values.iter().chain(&policy.ema.values).map(|v| v.to_bits()).collect()
}

#[test]
fn training() {
    let bench = Bench::new(6);
    let mut instants = Instants(1);
    let line = |seed: u64, out: &str| {
        format!("train --data demos.npz --config run.toml --seed {seed} --out {out}/p.safetensors")
    };
    let mut references = Vec::new();
    let mut took = Duration::ZERO;
    for seed in 0..2 {
        let folder = format!("whole{seed}");
        std::fs::create_dir(bench.path(&folder)).expect("a folder");
        took = bench.whole(&line(seed, &folder));
        let policy = Policy::load(bench.path(&folder).join("p.safetensors")).expect("a policy");
        references.push((bits(&policy), losses(&bench.path(&folder).join("metrics.jsonl"))));
    }
    let (policy, metrics) = (bench.path("out/p.safetensors"), bench.path("out/metrics.jsonl"));
    let state = resume::train_path(&policy);
    let (mut running, mut resumed, mut stray, mut anew, mut last) = (0, 0, 0, 0, 0);
    for _ in 0..kills() {
        let seed = match state.exists() && instants.part() < 0.7 {
            true => resume::stored_config(&policy).expect("a whole state").seed,
            false => 1 - last,
        };
        let resume = state.exists() && resume::stored_config(&policy).expect("whole").seed == seed;
        last = seed;
        let more = if resume { " --resume" } else { "" };
        // What is left of the run, and what every start takes.
        let done = losses(&metrics).last().map_or(0, |line| line.0) as f64 / STEPS as f64;
        let left = if resume { 0.1 + 0.9 * (1.0 - done).max(0.0) } else { 1.0 };
        bench.threads.set(instants.threads());
        running +=
            usize::from(bench.killed(&(line(seed, "out") + more), took.mul_f64(left * instants.part())));
        *(if resume { &mut resumed } else { &mut anew }) += 1;
        stray += bench.names("out").iter().filter(|n| n.starts_with('.')).count();
        // What lies there is whole, and of one run.
        if policy.exists() {
            let policy_seed = Policy::load(&policy).expect("a whole policy").spec.provenance.seed;
            if state.exists() {
                assert_eq!(resume::stored_config(&policy).expect("a whole state").seed, policy_seed);
            }
            let reference = &references[policy_seed as usize].1;
            for line in losses(&metrics) {
                assert!(reference.contains(&line), "metrics of another run: {line:?}");
            }
        }
    }
    let seed = if state.exists() { resume::stored_config(&policy).expect("whole").seed } else { 0 };
    let more = if state.exists() { " --resume" } else { "" };
    bench.threads.set(3);
    bench.whole(&(line(seed, "out") + more));
    assert_eq!(bench.names("out"), ["metrics.jsonl", "p.safetensors", "p.safetensors.train"]);
    let end = (bits(&Policy::load(&policy).expect("a policy")), losses(&metrics));
    assert!(end == references[seed as usize], "another end than that of the run that was never killed");
    println!(
        "train: {} kills, {running} while it ran ({resumed} of them resumed, {anew} new over an old run), {stray} temporary files seen \
         and swept; a run takes {took:.2?}",
        kills()
    );
}

#[test]
fn converting() {
    let bench = Bench::new(400);
    let mut instants = Instants(2);
    let same = |path: &Path| {
        let load =
            |path: &Path| Episodes::load(path, &DataSpec::default()).expect("a whole data set").episodes;
        let (a, b) = (load(&bench.path("demos.npz")), load(path));
        a.obs() == b.obs() && a.action() == b.action() && a.lengths() == b.lengths()
    };
    let [to_npz, to_set] = ["data convert demos.npz out/a.npz", "data convert demos.npz out/set"];
    let took = [bench.whole(to_npz), bench.whole(to_set)];
    let (mut running, mut stray) = (0, 0);
    for n in 0..kills() {
        let (line, path) = [(to_npz, "out/a.npz"), (to_set, "out/set")][n % 2];
        let path = bench.path(path);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).expect("removed");
        } else if instants.part() < 0.5 {
            let _ = std::fs::remove_file(&path);
        }
        bench.threads.set(instants.threads());
        running += usize::from(bench.killed(line, took[n % 2].mul_f64(1.05 * instants.part())));
        assert!(!path.exists() || same(&path), "{} is not whole", path.display());
        stray += bench.names("out").iter().filter(|n| n.starts_with('.')).count();
    }
    for (line, path) in [(to_npz, "out/a.npz"), (to_set, "out/set")] {
        if bench.path(path).is_dir() {
            std::fs::remove_dir_all(bench.path(path)).expect("removed");
        }
        bench.whole(line);
        assert!(same(&bench.path(path)));
    }
    assert_eq!(bench.names("out"), ["a.npz", "set"]);
    println!(
        "convert: {} kills, {running} while it ran, {stray} temporary files seen and swept; {took:.2?}",
        kills()
    );
}

#[test]
fn sampling() {
    let bench = Bench::new(6);
    let mut instants = Instants(3);
    std::fs::write(bench.path("run.toml"), RUN.replace("steps = 240", "steps = 20")).expect("written");
    bench.whole("train --data demos.npz --config run.toml --out p.safetensors");
    write_npy_f32(bench.path("obs.npy"), &[20, 3], &[0.25; 60]).expect("written");
    let line = "sample p.safetensors --obs obs.npy --batch 200 --out out/a.npy --trajectory out/t.npy";
    let took = bench.whole(line);
    let read = |name: &str| std::fs::read(bench.path(name)).ok();
    let reference = [read("out/a.npy"), read("out/t.npy")];
    let (mut running, mut stray) = (0, 0);
    for _ in 0..kills() {
        for name in ["out/a.npy", "out/t.npy"] {
            let _ = std::fs::remove_file(bench.path(name));
        }
        bench.threads.set(instants.threads());
        running += usize::from(bench.killed(line, took.mul_f64(1.05 * instants.part())));
        for (name, reference) in ["out/a.npy", "out/t.npy"].iter().zip(&reference) {
            assert!(read(name).is_none() || read(name) == *reference, "{name} is not whole");
        }
        stray += bench.names("out").iter().filter(|n| n.starts_with('.')).count();
    }
    bench.whole(line);
    assert_eq!(bench.names("out"), ["a.npy", "t.npy"]);
    println!(
        "sample: {} kills, {running} while it ran, {stray} temporary files seen and swept; {took:.2?}",
        kills()
    );
}
