//! Bad input to `advect train` and `advect sample`: each fault is one line on stderr that names the thing, a non-zero exit
//! code, and no file that was not there before.

use advect::data::{EpisodeArrays, Episodes, write_npy_f32};
use advect::device::{Cpu, Device};
use advect::nn::residual::Residual;
use advect::nn::{NetworkSpec, TimeInput};
use advect::train::{RunConfig, Trainer, resume};
use npyz::WriterBuilder;
use npyz::npz::NpzWriter;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const EPISODES: usize = 4;
const LENGTH: usize = 20;
const OBS: usize = 3;

/// A folder with demonstrations (demos.npz), settings (run.toml) and a place to write to (out).
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().expect("a folder") };
        Demos::default().write(&bench.path("demos.npz"));
        std::fs::write(bench.path("run.toml"), RUN).expect("written");
        std::fs::create_dir(bench.path("out")).expect("a folder");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Every file with its bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for folder in [self.folder.path().to_path_buf(), self.path("out")] {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                files.push((path.clone(), std::fs::read(path).unwrap_or_default()));
            }
        }
        files.sort();
        files
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
        for name in ["ADVECT_DEVICE", "ADVECT_THREADS", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.current_dir(&self.folder).args(args).env("ADVECT_CACHE_DIR", "off");
        command
    }

    /// Runs what must fail with one error line that holds all of `words`, and leave the folder as it was.
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let before = self.files();
        let output = self.command(args).output().expect("the command starts");
        error_of(args, &output, code, words);
        assert!(self.files() == before, "{args:?} left something, or changed a file");
    }

    pub(crate) fn train_fails(&self, more: &[&str], code: i32, words: &[&str]) {
        let given =
            ["--data", "demos.npz", "--config", "run.toml", "--out", "out/p.safetensors", "--device", "cpu"];
        self.fails(&with("train", &[], &given, more), code, words);
    }

    pub(crate) fn sample_fails(&self, more: &[&str], code: i32, words: &[&str]) {
        let given = ["--obs", "obs.npy", "--out", "out/a.npy", "--device", "cpu"];
        self.fails(&with("sample", &["p.safetensors"], &given, more), code, words);
    }

    /// Adds a policy and observations that can be sampled.
    pub(crate) fn with_policy(self) -> Bench {
        self.with_policy_of("")
    }

    /// The same, with these settings besides.
    pub(crate) fn with_policy_of(self, more: &str) -> Bench {
        let episodes = Demos::default().episodes();
        let config: RunConfig = toml::from_str(&format!("{RUN}{more}\n")).expect("settings");
        let device = Device::Cpu(Cpu::with_threads(1).expect("a thread"));
        let mut trainer = Trainer::new(&device, &episodes, &config).expect("a trainer");
        trainer.advance(2).expect("steps");
        trainer.save(&self.path("p.safetensors"), &resume::fingerprint(&episodes)).expect("saved");
        write_npy_f32(self.path("obs.npy"), &[2, OBS], &[0.25; 2 * OBS]).expect("written");
        self
    }
}

/// A command line; an option of `more` replaces the given one.
fn with<'a>(command: &'a str, first: &[&'a str], given: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let kept = given.chunks(2).filter(|pair| !more.contains(&pair[0])).flatten();
    [command].iter().chain(first).chain(kept).chain(more).copied().collect()
}

const RUN: &str = "
steps = 4
batch_size = 8
horizon = 4
history = 2
pad_after = 0
network = { kind = \"residual\", width = 8, blocks = 1, activation = \"silu\", time = { kind = \"raw\" }, conditioning = \"concat\" }
";

#[test]
fn the_settings_are_what_they_seem() {
    let config: RunConfig = toml::from_str(RUN).expect("settings");
    assert!(matches!(config.network, NetworkSpec::Residual(Residual { width: 8, time: TimeInput::Raw, .. })));
    let bench = Bench::new();
    let args = [
        "train",
        "--data",
        "demos.npz",
        "--config",
        "run.toml",
        "--out",
        "out/p.safetensors",
        "--device",
        "cpu",
        "--json",
    ];
    let output = bench.command(&args).output().expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&summary["steps"], &summary["stopped"]), (&4.into(), &false.into()));
    let mut files: Vec<_> = std::fs::read_dir(bench.path("out"))
        .expect("a folder")
        .map(|e| e.expect("one").file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["metrics.jsonl", "p.safetensors", "p.safetensors.train"]);
}

fn error_of(args: &[&str], output: &Output, code: i32, words: &[&str]) {
    let [out, err] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
    assert!(out.is_empty(), "{args:?}: {out}");
    assert!(!err.contains("panicked") && !err.contains("RUST_BACKTRACE"), "{args:?}: {err}");
    let errors: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: {err}");
    for word in words {
        assert!(errors[0].contains(word), "{args:?}: no {word:?} in {:?}", errors[0]);
    }
    println!("{}", errors[0]);
}

/// The arrays of a .npz; `None` leaves one out.
struct Demos {
    obs: Vec<f32>,
    obs_shape: Vec<u64>,
    action: Option<Vec<f32>>,
    lengths: Vec<i64>,
}

impl Default for Demos {
    fn default() -> Self {
        let rows = EPISODES * LENGTH;
        let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        Demos {
            obs: wave(rows * OBS),
            obs_shape: vec![rows as u64, OBS as u64],
            action: Some(wave(rows * 2)),
            lengths: vec![LENGTH as i64; EPISODES],
        }
    }
}

impl Demos {
    fn write(&self, path: &Path) {
        let mut npz = NpzWriter::create(path).expect("a file");
        macro_rules! add {
            ($name:literal, $shape:expr, $values:expr) => {
                let mut writer = npz
                    .array($name, Default::default())
                    .expect("an array")
                    .default_dtype()
                    .shape($shape)
                    .begin_nd()
                    .expect("a header");
                writer.extend($values.iter().copied()).expect("values");
                writer.finish().expect("an end");
            };
        }
        add!("obs", &self.obs_shape, self.obs);
        if let Some(action) = &self.action {
            add!("action", &[action.len() as u64 / 2, 2], action);
        }
        add!("episode_len", &[self.lengths.len() as u64], self.lengths);
        npz.zip_writer().finish().expect("a directory");
    }

    fn episodes(&self) -> Episodes {
        let arrays = EpisodeArrays {
            obs: self.obs.clone(),
            action: self.action.clone().expect("actions"),
            obs_dim: OBS,
            action_dim: 2,
            lengths: self.lengths.iter().map(|n| *n as usize).collect(),
            ..Default::default()
        };
        Episodes::from_arrays(arrays).expect("sound demonstrations")
    }
}

fn cut(path: &Path, from_end: usize) {
    let bytes = std::fs::read(path).expect("a file");
    std::fs::write(path, &bytes[..bytes.len() - from_end]).expect("written");
}

#[test]
fn demonstrations() {
    let bench = Bench::new();
    let data = ["--data", "bad.npz"];
    bench.train_fails(&data, 1, &["bad.npz", "no such file"]);
    let bad = bench.path("bad.npz");
    std::fs::write(&bad, b"").expect("written");
    bench.train_fails(&data, 1, &["bad.npz", "empty"]);
    std::fs::write(&bad, b"not an archive at all").expect("written");
    bench.train_fails(&data, 1, &["bad.npz", "not a readable .npz"]);
    std::fs::copy(bench.path("demos.npz"), &bad).expect("copied");
    cut(&bad, 100);
    bench.train_fails(&data, 1, &["bad.npz", "truncated"]);

    let rows = EPISODES * LENGTH;
    let mut demos = Demos::default();
    demos.obs[7] = f32::NAN;
    demos.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "obs", "NaN at row 2, column 1"]);
    let mut demos = Demos::default();
    demos.action.as_mut().expect("actions")[5] = f32::INFINITY;
    demos.write(&bad);
    bench.train_fails(&data, 1, &["action", "inf", "finite"]);
    Demos { action: None, ..Demos::default() }.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "no array 'action'", "present: episode_len, obs"]);
    Demos { obs_shape: vec![rows as u64 * OBS as u64], ..Demos::default() }.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "obs", "wrong shape", "[steps, values]"]);
    Demos { lengths: vec![40, 0, 40], ..Demos::default() }.write(&bad);
    // It is left out as any other that is too short.
    let args = [
        "train",
        "--config",
        "run.toml",
        "--device",
        "cpu",
        "--data",
        "bad.npz",
        "--out",
        "out/left-out.safetensors",
    ];
    let output = bench.command(&args).output().expect("the command starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("training leaves them out: episode 1 (0)"), "{said}");
    Demos { lengths: vec![20, 20], ..Demos::default() }.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "sum of episode_len", "found 40, needed 80"]);
    Demos { lengths: vec![], ..Demos::default() }.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "episode_len", "no episode"]);
    Demos { lengths: vec![-1, 81], ..Demos::default() }.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "episode_len of episode 0", "-1"]);
    Demos { lengths: [vec![3; 26], vec![2]].concat(), ..Demos::default() }.write(&bad);
    bench.train_fails(&data, 1, &["bad.npz", "all 27 episodes are too short", "at most 3 steps, needed 4"]);
    bench.train_fails(&["--successful-only"], 1, &["demos.npz", "episode_success"]);
    std::fs::create_dir(bench.path("nothing")).expect("a folder");
    bench.train_fails(&["--data", "nothing"], 1, &["directory"]);
    std::fs::remove_file(&bad).expect("removed");
}

#[test]
fn an_array_of_another_dtype() {
    let bench = Bench::new();
    let header = "{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }\n";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    let mut npz = NpzWriter::create(bench.path("bad.npz")).expect("a file");
    npz.zip_writer().start_file("obs.npy", Default::default()).expect("an entry");
    std::io::Write::write_all(&mut npz.zip_writer(), &npy).expect("written");
    npz.zip_writer().finish().expect("a directory");
    drop(npz);
    bench.train_fails(&["--data", "bad.npz"], 1, &["bad.npz", "obs", "wrong dtype", "<c8"]);
}

#[test]
fn settings() {
    let bench = Bench::new();
    let toml = bench.path("bad.toml");
    let config = ["--config", "bad.toml"];
    bench.train_fails(&config, 1, &["bad.toml", "No such file"]);
    for (text, words) in [
        ("steps = ", &["bad.toml"][..]),
        ("step = 4", &["bad.toml", "step", "unknown field"]),
        ("steps = 0", &["steps", "found 0"]),
        ("batch_size = 0", &["batch_size", "found 0"]),
        ("horizon = 0", &["horizon", "found 0"]),
        ("horizon = 21", &["demos.npz", "at most 20 steps", "needed 21"]),
        ("horizon = 4000000000", &["needed 4000000000"]),
        ("history = 4000000000", &["history"]),
        ("relative_to = [0]", &["relative"]),
        ("relative_to = [0, 9]", &["relative", "9"]),
        ("relative_to = [\"x\", \"y\"]", &["relative_to", "\"x\"", "obs_names"]),
        ("validation_fraction = 1.5", &["validation_fraction", "1.5"]),
        ("optimizer = { lr = -1.0 }", &["optimizer.lr", "-1"]),
        ("optimizer = { lr = nan }", &["optimizer.lr", "NaN"]),
        ("data = { obs = \"state\" }", &["demos.npz", "no array 'state'"]),
        ("data = { fps = 0.0 }", &["fps", "0"]),
        (
            "network = { kind = \"residual\", width = 0, blocks = 1, activation = \"silu\", time = { kind = \"raw\" }, conditioning = \"concat\" }",
            &["width", "0"],
        ),
        (
            "network = { kind = \"mlp\", hidden = [9000000000], activation = \"silu\", time = { kind = \"raw\" }, conditioning = \"concat\" }",
            &["network.hidden", "9000000000"],
        ),
        ("network = { kind = \"transformers\" }", &["bad.toml", "transformers"]),
    ] {
        std::fs::write(&toml, text).expect("written");
        bench.train_fails(&config, 1, words);
    }
}

#[test]
fn train_options() {
    let bench = Bench::new();
    for steps in ["0", "-3", "many", "99999999999999999999"] {
        bench.train_fails(&[&format!("--steps={steps}")], 2, &["--steps", "whole number from 1"]);
    }
    bench.train_fails(&["--batch-size", "0"], 2, &["--batch-size", "whole number from 1"]);
    bench.train_fails(&["--batch-size", "4000000000"], 2, &["--batch-size", "to 16777216"]);
    bench.train_fails(&["--device", "quantum"], 2, &["quantum", "this machine has: auto, cpu"]);
    bench.train_fails(&["--out", "none/p.safetensors"], 1, &["none/p.safetensors", "folder none"]);
    bench.train_fails(&["--out", "out"], 1, &["out"]);
    bench.train_fails(&["--metrics", "none/m.jsonl"], 1, &["none/m.jsonl", "folder none"]);
    bench.train_fails(&["--metrics", "out"], 1, &["metrics out", "directory"]);
    bench.fails(&["train", "--out", "p.safetensors"], 2, &["--data"]);
    bench.fails(&["train", "--data", "demos.npz"], 2, &["--out"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_batch_that_memory_does_not_hold() {
    let bench = Bench::new().with_policy();
    for (width, words) in [
        ("65536", ["parameters", "found 85"]),
        ("400", ["32-bit index", "smaller batch"]),
        ("200", ["out of memory", "bytes"]),
    ] {
        let text = RUN.replace("width = 8", &format!("width = {width}"));
        std::fs::write(bench.path("wide.toml"), text).expect("written");
        bench.train_fails(&["--config", "wide.toml", "--batch-size", "16777216"], 1, &words);
    }
    bench.sample_fails(&["--batch", "4000000000"], 1, &["out of memory", "--batch 4000000000"]);
    bench.sample_fails(
        &["--batch", "18446744073709551615"],
        1,
        &["out of memory", "--batch 18446744073709551615"],
    );
}

#[cfg(unix)]
#[test]
fn an_unwritable_folder() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new().with_policy();
    // A file where a folder should be refuses every user, root too.
    bench.train_fails(
        &["--out", "demos.npz/p.safetensors"],
        1,
        &["demos.npz/p.safetensors", "not a directory"],
    );
    bench.sample_fails(&["--out", "demos.npz/a.npy"], 1, &["demos.npz/a.npy", "not a directory"]);
    let mode = |mode| {
        std::fs::set_permissions(bench.path("out"), std::fs::Permissions::from_mode(mode)).expect("a mode")
    };
    mode(0o555);
    if std::fs::write(bench.path("out/probe"), b"").is_ok() {
        std::fs::remove_file(bench.path("out/probe")).expect("removed");
        println!("SKIPPED: this user may write to any folder");
    } else {
        bench.train_fails(&[], 1, &["out/p.safetensors", "permission denied"]);
        bench.sample_fails(&[], 1, &["out/a.npy", "permission denied"]);
    }
    mode(0o755);
}

#[test]
fn observations_and_noise() {
    let bench = Bench::new().with_policy();
    bench.sample_fails(&["--obs", "no.npy"], 1, &["no.npy", "no such file"]);
    let put = |shape: &[usize], value: f32| {
        let mut data = vec![0.5; shape.iter().product()];
        if let Some(last) = data.last_mut() {
            *last = value;
        }
        write_npy_f32(bench.path("bad.npy"), shape, &data).expect("written");
    };
    let needed = "needed [M, 2, 3] or [M, 3]";
    for shape in [&[][..], &[3], &[2, 4], &[2, 3, 3], &[2, 1, 3], &[0, 3], &[0, 2, 3], &[2, 2, 3, 1]] {
        put(shape, 0.5);
        bench.sample_fails(&["--obs", "bad.npy"], 1, &["bad.npy", "wrong shape", needed]);
    }
    put(&[2, 2, 3], f32::NAN);
    bench.sample_fails(&["--obs", "bad.npy"], 1, &["bad.npy", "NaN at [1, 1, 2]"]);
    put(&[2, 3], f32::NEG_INFINITY);
    bench.sample_fails(&["--obs", "bad.npy"], 1, &["bad.npy", "-inf at [1, 2]"]);
    cut(&bench.path("bad.npy"), 4);
    bench.sample_fails(&["--obs", "bad.npy"], 1, &["bad.npy", "truncated", "20 bytes", "needed 24"]);
    std::fs::write(bench.path("bad.npy"), b"PK").expect("written");
    bench.sample_fails(&["--obs", "bad.npy"], 1, &["bad.npy", "not a readable .npy"]);
    put(&[2, 1, 4, 3], 0.5);
    bench.sample_fails(&["--noise", "bad.npy"], 1, &["bad.npy", "wrong shape", "needed [2, 1, 4, 2]"]);
    put(&[2, 1, 4, 2], f32::NAN);
    bench.sample_fails(&["--noise", "bad.npy"], 1, &["bad.npy", "NaN"]);
}

#[test]
fn sample_options() {
    let bench = Bench::new().with_policy();
    for solver in ["", "euler", "euler:0", "euler:x", "runge:4", "dopri5:0"] {
        bench.sample_fails(&["--solver", solver], 2, &["--solver", "needed euler:N"]);
    }
    for batch in ["0", "-1", "many"] {
        bench.sample_fails(&[&format!("--batch={batch}")], 2, &["--batch", "whole number from 1"]);
    }
    for times in ["0", "0.1,1", "0,0.5", "0,0.6,0.5,1", "0,nan,1"] {
        bench.sample_fails(&["--times", times], 2, &["--times", "rising times from 0 to 1"]);
    }
    bench.sample_fails(&["--times", "0,x,1"], 2, &["--times", "x"]);
    bench.sample_fails(
        &["--solver", "dopri5:1e-4", "--trajectory", "t.npy"],
        2,
        &["--trajectory", "fixed steps"],
    );
    bench.sample_fails(&["--trajectory", "out/a.npy"], 2, &["out/a.npy", "are one file"]);
    bench.sample_fails(
        &["--log-prob", "lp.npy", "--log-prob-divergence", "hutchinson:0"],
        2,
        &["divergence", "from 1"],
    );
    bench.sample_fails(&["--model-space-log-prob"], 2, &["--log-prob"]);
    bench.sample_fails(&["--device", "quantum"], 2, &["quantum", "this machine has: auto, cpu"]);
    bench.sample_fails(&["--weights", "best"], 2, &["best"]);
    bench.sample_fails(&["--out", "none/a.npy"], 1, &["none/a.npy", "folder none"]);
    bench.sample_fails(&["--out", "out"], 1, &["out", "folder"]);
    // The other files are not written either.
    bench.sample_fails(&["--trajectory", "none/t.npy"], 1, &["none/t.npy", "folder none"]);
}

/// Rewrites a safetensors file: `metadata` and tensors may be changed at will.
type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;

fn rewrite(path: &Path, to: &Path, change: impl FnOnce(&mut HashMap<String, String>, &mut Tensors)) {
    let bytes = std::fs::read(path).expect("a file");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut metadata = header.metadata().clone().expect("metadata");
    let mut tensors: Tensors =
        file.tensors().into_iter().map(|(n, t)| (n, t.shape().to_vec(), t.data().to_vec())).collect();
    change(&mut metadata, &mut tensors);
    let views = tensors.iter().map(|(n, s, d)| {
        let dtype = if s.iter().product::<usize>() * 4 == d.len() {
            safetensors::Dtype::F32
        } else {
            safetensors::Dtype::I16
        };
        (n.as_str(), TensorView::new(dtype, s.clone(), d).expect("a tensor"))
    });
    std::fs::write(to, safetensors::serialize(views, Some(metadata)).expect("bytes")).expect("written");
}

#[test]
fn checkpoints() {
    let bench = Bench::new().with_policy();
    let good = bench.path("good.safetensors");
    let path = bench.path("p.safetensors");
    std::fs::rename(&path, &good).expect("renamed");
    bench.sample_fails(&[], 1, &["p.safetensors", "No such file"]);
    std::fs::write(&path, b"").expect("written");
    bench.sample_fails(&[], 1, &["p.safetensors", "not a whole safetensors file"]);
    std::fs::copy(&good, &path).expect("copied");
    cut(&path, 40);
    bench.sample_fails(&[], 1, &["p.safetensors", "not a whole safetensors file"]);

    let name = "blocks.0.up.weight";
    rewrite(&good, &path, |m, _| drop(m.insert("advect.format".into(), "1".into())));
    bench.sample_fails(&[], 1, &["p.safetensors", "version 1, needed 2"]);
    rewrite(&good, &path, |m, _| drop(m.remove("advect.format")));
    bench.sample_fails(&[], 1, &["p.safetensors", "advect.format"]);
    rewrite(&good, &path, |m, _| drop(m.remove("advect.spec")));
    bench.sample_fails(&[], 1, &["p.safetensors", "advect.spec"]);
    rewrite(&good, &path, |_, t| t.retain(|(n, ..)| n != name));
    bench.sample_fails(&[], 1, &["p.safetensors", name, "missing"]);
    rewrite(&good, &path, |_, t| t.retain(|(n, ..)| n != "ema.output.bias"));
    bench.sample_fails(&[], 1, &["p.safetensors", "ema.output.bias", "missing"]);
    rewrite(&good, &path, |_, t| t.push(("extra.weight".into(), vec![1], vec![0; 4])));
    bench.sample_fails(&[], 1, &["p.safetensors", "unknown", "extra.weight"]);
    let at = |t: &mut Tensors| t.iter().position(|(n, ..)| n == name).expect("the tensor");
    rewrite(&good, &path, |_, t| {
        let i = at(t);
        t[i].1.insert(0, 1);
    });
    bench.sample_fails(&[], 1, &["p.safetensors", name, "found shape [1, ", "needed ["]);
    rewrite(&good, &path, |_, t| {
        let i = at(t);
        let half = t[i].2.len() / 2;
        t[i].2.truncate(half);
    });
    bench.sample_fails(&[], 1, &["p.safetensors", name, "I16", "needed F32"]);
    rewrite(&good, &path, |_, t| {
        let i = at(t);
        t[i].2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    bench.sample_fails(&[], 1, &["p.safetensors", name, "NaN"]);
}

#[test]
fn every_key_of_a_checkpoint_is_needed() {
    let bench = Bench::new().with_policy();
    let (good, path) = (bench.path("good.safetensors"), bench.path("p.safetensors"));
    std::fs::rename(&path, &good).expect("renamed");
    let mut keys = Vec::new();
    let spec =
        |m: &HashMap<String, String>| -> Value { serde_json::from_str(&m["advect.spec"]).expect("JSON") };
    rewrite(&good, &path, |m, _| keys = spec(m).as_object().expect("an object").keys().cloned().collect());
    assert!(keys.len() > 15, "{keys:?}");
    let with = |change: &dyn Fn(&mut Value)| {
        rewrite(&good, &path, |m, _| {
            let mut value = spec(m);
            change(&mut value);
            m.insert("advect.spec".into(), value.to_string());
        });
    };
    for key in &keys {
        with(&|v| drop(v.as_object_mut().expect("an object").remove(key)));
        bench.sample_fails(&[], 1, &["p.safetensors", "missing field", key]);
    }
    with(&|v| v["colour"] = "red".into());
    bench.sample_fails(&[], 1, &["p.safetensors", "unknown field", "colour"]);
    with(&|v| v["time"] = "action_to_noise".into());
    bench.sample_fails(&[], 1, &["p.safetensors", "action_to_noise"]);
    with(&|v| v["horizon"] = 0.into());
    bench.sample_fails(&[], 1, &["p.safetensors", "horizon", "found 0"]);
    with(&|v| v["horizon"] = 3.into());
    bench.sample_fails(&[], 1, &["p.safetensors"]);
    for (key, inner) in [("network", "width"), ("network", "blocks")] {
        with(&|v| v[key][inner] = 1_000_000_000_000u64.into());
        bench.sample_fails(&[], 1, &["p.safetensors", inner, "1000000000000"]);
    }
    with(&|v| v["obs_dim"] = u64::MAX.into());
    bench.sample_fails(&[], 1, &["p.safetensors", "obs_dim"]);
    with(&|v| v["obs_inputs"][0]["dim"] = 2.into());
    bench.sample_fails(&[], 1, &["p.safetensors", "observation inputs", "found 2, needed 3"]);
    with(&|v| v["obs_inputs"][0]["name"] = "".into());
    bench.sample_fails(&[], 1, &["p.safetensors", "observation input 0", "needed a name"]);
    with(&|v| v["relative_to"] = serde_json::json!([0, 7]));
    bench.sample_fails(&[], 1, &["p.safetensors", "relative"]);
}

#[test]
fn runs_that_cannot_be_resumed() {
    let bench = Bench::new().with_policy();
    let train = bench.path("p.safetensors.train");
    let out = ["--out", "p.safetensors", "--resume"];
    bench.train_fails(
        &[&out[..], &["--batch-size", "16"]].concat(),
        1,
        &["p.safetensors.train", "batch_size: 8 in the stopped run, 16 now"],
    );
    bench.train_fails(
        &[&out[..], &["--steps", "1"]].concat(),
        1,
        &["p.safetensors.train", "steps: found 1, needed at least 2"],
    );
    let mut demos = Demos::default();
    demos.obs[0] += 1.0;
    demos.write(&bench.path("other.npz"));
    bench.train_fails(
        &[&out[..], &["--data", "other.npz"]].concat(),
        1,
        &["p.safetensors.train", "demonstrations"],
    );
    let good = bench.path("good");
    std::fs::copy(&train, &good).expect("copied");
    cut(&train, 10);
    bench.train_fails(&out, 1, &["p.safetensors.train", "not a whole safetensors file"]);
    rewrite(&good, &train, |m, _| drop(m.remove("advect.step")));
    bench.train_fails(&out, 1, &["p.safetensors.train", "advect.step"]);
    rewrite(&good, &train, |_, t| t.retain(|(n, ..)| n != "second.output.bias"));
    bench.train_fails(&out, 1, &["p.safetensors.train", "second.output.bias"]);
    // A damaged number is another one of the same kind: of the moments, of the state, of the settings.
    rewrite(&good, &train, |_, t| {
        let at = t.iter().position(|(n, ..)| n == "second.output.bias").expect("the tensor");
        t[at].2[0] ^= 1;
    });
    bench.train_fails(&out, 1, &["p.safetensors.train", "damaged", "second.output.bias"]);
    rewrite(&good, &train, |m, _| drop(m.insert("advect.step".into(), "3".into())));
    bench.train_fails(&out, 1, &["p.safetensors.train", "metadata are damaged"]);
    rewrite(&good, &train, |m, _| {
        let config = m["advect.config"].replace("\"seed\":0", "\"seed\":1");
        assert_ne!(config, m["advect.config"]);
        m.insert("advect.config".into(), config);
    });
    let given = ["train", "--data", "demos.npz", "--device", "cpu"];
    bench.fails(&[&given[..], &out].concat(), 1, &["p.safetensors.train", "metadata are damaged"]);
    std::fs::remove_file(&train).expect("removed");
    bench.train_fails(&out, 1, &["p.safetensors.train", "no such file"]);
    bench.train_fails(&["--resume"], 1, &["p.safetensors.train", "no such file"]);
}

#[test]
fn a_learning_rate_that_explodes() {
    let bench = Bench::new();
    std::fs::write(bench.path("wild.toml"), format!("{RUN}optimizer = {{ lr = 1e30, warmup = 0 }}\n"))
        .expect("written");
    bench.train_fails(
        &["--config", "wild.toml"],
        1,
        &["the loss is not finite at step", "before the first checkpoint"],
    );
}

#[test]
fn no_adapter() {
    let bench = Bench::new().with_policy();
    let args = ["sample", "p.safetensors", "--obs", "obs.npy", "--out", "out/a.npy", "--device", "gpu"];
    let before = bench.files();
    let mut command = bench.command(&args);
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env(name, bench.path("no such driver.json"));
    }
    let output = command.output().expect("the command starts");
    if output.status.success() {
        println!("SKIPPED: this machine has an adapter that these variables do not hide");
        return;
    }
    error_of(&args, &output, 1, &["no GPU adapter"]);
    assert!(bench.files() == before);
}

/// Ctrl-C saves and says how to go on; the run then ends as one that was never stopped.
#[cfg(unix)]
#[test]
fn interrupted_training() {
    let bench = Bench::new();
    std::fs::write(bench.path("long.toml"), RUN.replace("steps = 4", "steps = 20000\nlog_every = 10"))
        .expect("written");
    let start = |out: &str, more: &[&str]| {
        let args = ["train", "--data", "demos.npz", "--out", out, "--device", "cpu", "--threads", "1"];
        let mut command = bench.command(&args);
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    };
    std::fs::create_dir(bench.path("whole")).expect("a folder");
    let child = start("out/p.safetensors", &["--config", "long.toml"]);
    // Wait for the first metrics, then press Ctrl-C.
    for _ in 0..3000 {
        if bench.path("out/metrics.jsonl").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    crate::signal::signal(&child, "INT");
    let output = child.wait_with_output().expect("an end");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("stopped at step") && err.contains("--resume"), "{err}");
    assert_eq!(err.lines().filter(|l| l.starts_with("error: ")).collect::<Vec<_>>(), ["error: interrupted"]);
    let mut files: Vec<_> = std::fs::read_dir(bench.path("out"))
        .expect("a folder")
        .map(|e| e.expect("one").file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["metrics.jsonl", "p.safetensors", "p.safetensors.train"]);

    // The settings come from the stopped run.
    let resumed = start("out/p.safetensors", &["--resume"]).wait_with_output().expect("an end");
    assert!(resumed.status.success(), "{resumed:?}");
    let whole = start("whole/p.safetensors", &["--config", "long.toml"]).wait_with_output().expect("an end");
    assert!(whole.status.success(), "{whole:?}");
    for file in ["p.safetensors", "p.safetensors.train"] {
        // The order of a header's keys may differ; the tensors may not.
        let read = |folder: &str| {
            let bytes = std::fs::read(bench.path(folder).join(file)).expect("a file");
            let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
            let mut tensors: Tensors = tensors
                .tensors()
                .into_iter()
                .map(|(n, t)| (n, t.shape().to_vec(), t.data().to_vec()))
                .collect();
            tensors.sort();
            tensors
        };
        assert!(read("out") == read("whole"), "{file} differs from the run that was never stopped");
    }
    let losses = |folder: &str| -> Vec<(Value, Value)> {
        let text = std::fs::read_to_string(bench.path(folder).join("metrics.jsonl")).expect("metrics");
        let line = |l: &str| -> Value { serde_json::from_str(l).expect("JSON") };
        text.lines().map(line).map(|v| (v["step"].clone(), v["loss"].clone())).collect()
    };
    assert_eq!(losses("out"), losses("whole"));
    let again = start("out/p.safetensors", &["--resume"]).wait_with_output().expect("an end");
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stdout).contains("is complete: 20,000 steps"), "{again:?}");
}
