//! The command as a person or a script meets it: help, exit codes, errors in one line, JSON with the right keys.

use serde_json::Value;
use std::process::{Command, Output};

/// What a run of the command gave.
struct Ran {
    args: String,
    code: i32,
    out: String,
    err: String,
}

/// A command without the caller's own settings.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
    for name in ["ADVECT_DEVICE", "ADVECT_THREADS", "ADVECT_GOLDEN_DIR", "RUST_LOG"] {
        command.env_remove(name);
    }
    // Nor the caller's own files: plans are those of an untuned device.
    command.args(args).env("ADVECT_CACHE_DIR", "off");
    command
}

fn ran(args: &[&str], output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command prints UTF-8");
    let ran = Ran {
        args: args.join(" "),
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    };
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{}: {text}", ran.args);
        assert!(!text.contains('\x1b'), "{}: colour without a terminal: {text:?}", ran.args);
    }
    ran
}

fn advect(args: &[&str]) -> Ran {
    ran(args, command(args).output().expect("the command starts"))
}

/// Runs what must fail with this code and one error line that holds all of `words`.
fn fails(args: &[&str], code: i32, words: &[&str]) {
    error_of(&advect(args), code, words);
}

fn error_of(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{}: {}", ran.args, ran.err);
    assert!(ran.out.is_empty(), "{}: {}", ran.args, ran.out);
    let errors: Vec<&str> = ran.err.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}: {}", ran.args, ran.err);
    assert_eq!(ran.err.lines().last(), Some(errors[0]), "{}: {}", ran.args, ran.err);
    for word in words {
        assert!(errors[0].contains(word), "{}: no {word:?} in {:?}", ran.args, errors[0]);
    }
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}: {}", ran.args, ran.err);
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{}: {e}: {}", ran.args, ran.out))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn an_import_tells_how_many_actions_are_executed() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lerobot/checkpoints/diffusion");
    let out = folder.path().join("p.safetensors");
    let ran = advect(&["import", &checkpoint.to_string_lossy(), "--out", &out.to_string_lossy()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let words = "made to execute 4 actions of each chunk (n_action_steps): execute = 4";
    assert!(ran.out.contains(words) && out.is_file(), "{}", ran.out);
}

#[test]
fn help_has_examples() {
    for args in [
        &["--help"][..],
        &["devices", "--help"],
        &["bench", "--help"],
        &["selftest", "--help"],
        &["train", "--help"],
        &["sample", "--help"],
        &["data", "--help"],
        &["data", "inspect", "--help"],
        &["data", "convert", "--help"],
        &["serve", "--help"],
    ] {
        let help = advect(args);
        assert_eq!(help.code, 0, "{}", help.args);
        for word in ["Usage: advect", "Examples:", "--device", "--threads"] {
            assert!(help.out.contains(word), "{}: no {word:?} in {}", help.args, help.out);
        }
    }
    for (help, flag) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "train"], &["train", "--help"]),
        (&["help", "data", "inspect"], &["data", "inspect", "--help"]),
    ] {
        let (help, flag) = (advect(help), advect(flag));
        assert_eq!((help.code, &help.out), (0, &flag.out), "{}", help.args);
    }
    fails(&["help", "fly"], 2, &["fly"]);
    let version = advect(&["--version"]);
    assert_eq!((version.code, version.out.trim()), (0, concat!("advect ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn no_command_shows_the_help_and_is_a_usage_error() {
    let bare = advect(&[]);
    assert_eq!(bare.code, 2);
    assert!(bare.err.contains("Usage: advect"), "{}", bare.err);
}

#[test]
fn usage_errors_are_one_line() {
    fails(&["fly"], 2, &["fly"]);
    fails(&["benhc"], 2, &["benhc", "did you mean 'bench'?"]);
    fails(&["bench", "--bach", "1"], 2, &["--bach", "did you mean '--batch'?"]);
    for batch in ["0", "", "many", "-1", "1,0", "1.5", "99999999999999999999"] {
        fails(&["bench", &format!("--batch={batch}")], 2, &["--batch", "whole number from 1"]);
    }
    for solver in ["", "euler", "euler:0", "euler:x", "runge:4", "dopri5:0"] {
        fails(&["bench", "--solver", solver], 2, &["--solver", "needed euler:N"]);
    }
    fails(&["bench", "--workload", "resnet"], 2, &["resnet", "mlp256 or mlp512 or unet1d or transformer"]);
    for seconds in ["0", "-1", "nan", "soon"] {
        fails(&["bench", &format!("--seconds={seconds}")], 2, &["--seconds", "needed a number of seconds"]);
    }
    for threads in ["0", "two", "1000000"] {
        fails(&["bench", "--threads", threads], 2, &["--threads", "from 1 to 1024"]);
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    fails(&["serve", "no-such.safetensors"], 1, &["no-such.safetensors"]);
    for (option, value, needed) in [
        ("--port", "70000", "--port"),
        ("--max-batch", "0", "whole number from 1"),
        ("--max-connections", "many", "whole number from 1"),
        ("--max-message-mb", "0", "whole number from 1"),
        ("--deadline-ms", "-1", "number of milliseconds"),
        ("--batch-wait-ms", "nan", "number of milliseconds"),
        ("--idle-timeout-s", "0", "number of seconds"),
        ("--solver", "euler", "needed euler:N"),
    ] {
        fails(&["serve", "policy.safetensors", &format!("{option}={value}")], 2, &[option, needed]);
    }
    fails(&["serve", "p.safetensors", "--key-env", "ADVECT_NO_SUCH_KEY"], 2, &["ADVECT_NO_SUCH_KEY"]);
    fails(&["serve", "p.safetensors", "--key-file", "no/such/key"], 1, &["no/such/key"]);
    fails(&["serve", "p.safetensors", "--key-env", "A", "--key-file", "b"], 2, &["--key-file"]);
}

#[test]
fn an_unknown_device_lists_what_there_is() {
    for device in ["no such device", "4000000"] {
        fails(&["bench", "--device", device], 2, &[device, "this machine has: auto, cpu"]);
    }
    let args = ["selftest"];
    let output = command(&args).env("ADVECT_DEVICE", "quantum").output().expect("the command starts");
    error_of(&ran(&args, output), 2, &["quantum", "this machine has: auto, cpu"]);
    let output = command(&args).env("ADVECT_THREADS", "none").output().expect("the command starts");
    error_of(&ran(&args, output), 2, &["--threads", "from 1 to 1024"]);
}

#[test]
fn a_golden_folder_that_is_not_there() {
    fails(&["selftest", "--device", "cpu", "--golden", "no/such/folder"], 1, &["no/such/folder"]);
}

#[test]
fn devices_say_what_auto_takes() {
    let listing = json(&advect(&["devices", "--json", "--threads", "3"]));
    assert_eq!(keys(&listing), ["auto", "cpu", "adapters"]);
    assert_eq!(listing["cpu"]["threads"], 3);
    let adapters = listing["adapters"].as_array().unwrap();
    let taken = adapters.iter().chain([&listing["cpu"]]).filter(|d| d["auto"]["taken"] == true);
    assert_eq!(taken.count(), 1, "{listing}");
    let wanted = [
        "name",
        "backend",
        "driver",
        "device_type",
        "limits",
        "subgroups",
        "shader_f16",
        "cooperative_matrix",
    ];
    for adapter in adapters {
        assert!(wanted.iter().all(|k| keys(adapter).contains(k)), "{adapter}");
        assert!(!adapter["auto"]["reason"].as_str().unwrap().is_empty());
    }
    let text = advect(&["devices"]);
    assert_eq!(text.code, 0);
    assert_eq!(text.out.matches("takes it: ").count(), 1, "{}", text.out);
}

#[test]
fn bench_prints_what_it_promises() {
    let args =
        ["bench", "--device", "cpu", "--threads", "1", "--batch", "1,3", "--seconds", "0.01", "--json"];
    let report = json(&advect(&[&args[..], &["--train"]].concat()));
    assert_eq!(keys(&report), ["device", "workload", "solver", "threads", "results"]);
    let timed = json(&advect(&[&args[..], &["--solver", "euler:1", "--latency"]].concat()));
    let latency = &timed["latency"];
    let wanted = ["calls", "p50_ms", "p99_ms", "p999_ms", "max_ms", "jitter_ms", "dispatches", "submits"];
    assert_eq!((keys(latency), latency["calls"].as_u64()), (wanted.to_vec(), Some(10_000)));
    assert_eq!(report["workload"], "mlp256");
    assert_eq!(report["solver"], "euler:10");
    assert_eq!(report["threads"], 1);
    let rows = report["results"].as_array().unwrap();
    let what: Vec<_> =
        rows.iter().map(|r| (r["what"].as_str().unwrap(), r["batch"].as_u64().unwrap())).collect();
    assert_eq!(what, [("sample", 1), ("sample", 3), ("train", 256)]);
    for row in rows {
        let mut wanted = vec![
            "what",
            "batch",
            "p50_ms",
            "p99_ms",
            "min_ms",
            "chunks_per_s",
            "evals_per_s",
            "gflops",
            "dispatches",
            "submits",
        ];
        if row["what"] == "train" {
            wanted.push("step");
            assert_eq!(row["step"]["way"], "layers", "the CPU fuses no step by itself");
            assert!(row["step"]["calls"].as_u64() > Some(10), "{row}");
        }
        assert_eq!(keys(row), wanted);
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(0.0 < number("min_ms") && number("min_ms") <= number("p50_ms"), "{row}");
        assert!(number("p50_ms") <= number("p99_ms"), "{row}");
        let rate = number("batch") * 1e3 / number("p50_ms");
        assert!((number("chunks_per_s") / rate - 1.0).abs() < 1e-9, "{row}");
    }
    let ratio = rows[1]["evals_per_s"].as_f64().unwrap() / rows[1]["chunks_per_s"].as_f64().unwrap();
    assert!((ratio - 10.0).abs() < 1e-9, "ten evaluations a chunk");
    let mut adaptive = args.to_vec();
    adaptive.extend(["--solver", "bosh3:1e-2", "--workload", "mlp512"]);
    let report = json(&advect(&adaptive));
    assert!(report["results"][0]["gflops"].is_null(), "an adaptive solver chooses how often it evaluates");
}

#[test]
fn bench_prints_a_table() {
    let table = advect(&["bench", "--device", "cpu", "--batch", "2", "--seconds", "0.01"]);
    assert_eq!(table.code, 0, "{}", table.err);
    assert!(table.err.contains("device: cpu"), "{}", table.err);
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", table.out);
    assert!(lines[1].contains("chunks/s") && lines[2].starts_with("sample"), "{}", table.out);
}

/// Whether an adapter is there; `ADVECT_REQUIRE_GPU` makes a missing one a failure.
fn has_adapter() -> bool {
    let found = !json(&advect(&["devices", "--json"]))["adapters"].as_array().unwrap().is_empty();
    assert!(found || std::env::var_os("ADVECT_REQUIRE_GPU").is_none(), "no adapter");
    if !found {
        eprintln!("NOT RUN: no adapter");
    }
    found
}

#[test]
fn the_cpu_has_nothing_to_tune() {
    let ran = advect(&["tune", "--device", "cpu", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.is_empty() && ran.err.contains("nothing to tune"), "{}", ran.err);
    let report = json(&advect(&["tune", "--device", "cpu", "--dry-run", "--json"]));
    assert_eq!(keys(&report), ["device", "results", "skipped", "file"]);
    fails(&["tune", "--device", "cpu"], 2, &["ADVECT_CACHE_DIR", "--dry-run"]);
    for seconds in ["0", "soon"] {
        fails(&["tune", &format!("--seconds={seconds}")], 2, &["--seconds", "needed a number of seconds"]);
    }
    fails(
        &["tune", "--policy", "none.safetensors", "--device", "gpu", "--dry-run"],
        if has_adapter() { 1 } else { 2 },
        &[],
    );
}

#[test]
fn tuning_is_kept_shown_and_used() {
    if !has_adapter() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let with = |args: &[&str]| {
        let mut command = command(args);
        command.env("ADVECT_CACHE_DIR", folder.path());
        ran(args, command.output().expect("the command starts"))
    };
    let tuning = |listing: &Value| -> Vec<Value> {
        let adapters = listing["adapters"].as_array().unwrap();
        adapters.iter().map(|a| a["tuning"].clone()).filter(|t| !t.is_null()).collect()
    };
    let args = ["tune", "--device", "gpu", "--batch", "2", "--solver", "euler:1", "--seconds", "0.001"];
    let dry = json(&with(&[&args[..], &["--dry-run", "--json"]].concat()));
    assert!(dry["file"].is_null() && !dry["results"].as_array().unwrap().is_empty());
    let listing = json(&with(&["devices", "--json"]));
    assert_eq!(tuning(&listing), Vec::<Value>::new(), "a dry run keeps nothing");

    let kept = with(&args);
    assert_eq!(kept.code, 0, "{}", kept.err);
    assert!(kept.out.contains("matmul N") && kept.out.contains("mlp256, batch 2"), "{}", kept.out);
    let listing = json(&with(&["devices", "--json"]));
    let [tuning] = &tuning(&listing)[..] else { panic!("{listing}") };
    assert_eq!(tuning["measured"].as_u64().unwrap() as usize, dry["results"].as_array().unwrap().len());
    assert!(tuning["problem"].is_null() && kept.out.contains(tuning["file"].as_str().unwrap()));
    assert!(with(&["devices"]).out.contains("guesses changed"));

    let bench = ["bench", "--device", "gpu", "--batch", "2", "--seconds", "0.001", "--solver", "euler:1"];
    assert!(with(&bench).err.contains("(tuned: "));
    let mut off = command(&bench);
    off.env("ADVECT_CACHE_DIR", folder.path()).env("ADVECT_TUNING", "off");
    assert!(!ran(&bench, off.output().unwrap()).err.contains("tuned"));
}

#[test]
fn bench_compares_with_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let [svg, html] = ["r.svg", "r.html"].map(|name| folder.path().join(name));
    let args = ["bench", "--roofline", "--device", "cpu", "--threads", "1", "--seconds", "0.01"];
    let plotted = |path: &std::path::Path, more: &[&str]| {
        advect(&[&args[..], &["--plot", path.to_str().unwrap()], more].concat())
    };
    let report = json(&plotted(&svg, &["--workload", "mlp256,mlp512", "--batch", "1,3", "--json"]));
    assert_eq!(keys(&report), ["device", "threads", "solver", "peaks", "results"]);
    let rows = report["results"].as_array().unwrap();
    let what: Vec<_> =
        rows.iter().map(|r| (r["workload"].as_str().unwrap(), r["batch"].as_u64().unwrap())).collect();
    assert_eq!(what, [("mlp256", 1), ("mlp256", 3), ("mlp512", 1), ("mlp512", 3)]);
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert!(number("ratio") > 0.0 && number("floor_ms") > 0.0, "{row}");
        assert!((number("p50_ms") / number("floor_ms") / number("ratio") - 1.0).abs() < 1e-9, "{row}");
        assert!(["arithmetic", "bandwidth"].contains(&row["bound"].as_str().unwrap()), "{row}");
        assert_eq!(row["clock"], "host");
        let gaps = row["gaps"].as_array().unwrap();
        assert!(gaps.iter().any(|gap| gap["kernel"] == "matmul_packed"), "{row}");
    }
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("mlp512, 3"), "{picture}");

    let table = plotted(&html, &["--batch", "2", "--train"]);
    assert_eq!(table.code, 0, "{}", table.err);
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines.len(), 6, "{}", table.out);
    let words = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert!(lines[1].starts_with("at best "), "{}", table.out);
    assert_eq!([words(lines[3]), words(lines[4])], ["sample mlp256 2", "train mlp256 256"], "{}", table.out);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("mlp256, 2"), "{page}");

    fails(&["bench", "--workload", "mlp256,mlp512"], 2, &["--workload", "--roofline"]);
    fails(&["bench", "--plot", "r.svg"], 2, &["--roofline"]);
    fails(&["bench", "--roofline", "--plot", "r.png"], 2, &["--plot", ".svg or .html"]);
    fails(&["bench", "--roofline", "--latency"], 2, &["--latency"]);
    fails(&["bench", "--roofline", "--solver", "bosh3:1e-2"], 2, &["bosh3", "fixed steps"]);
}

#[test]
fn selftest_on_the_cpu_passes() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let args = ["selftest", "--device", "cpu", "--threads", "2", "--golden", golden, "--json"];
    let report = json(&advect(&args));
    for key in
        ["version", "device", "system", "kernels", "skipped", "never_exercised", "checks", "golden", "passed"]
    {
        assert!(keys(&report).contains(&key), "no {key}");
    }
    assert_eq!(report["passed"], true);
    assert!(report["kernels"].as_array().unwrap().len() > 20);
    assert!(!report["golden"]["passed"].as_array().unwrap().is_empty());
}

/// Every variant on the adapter there is, against the oracle and against the twin.
#[test]
fn selftest_on_the_adapter_passes() {
    if !has_adapter() {
        return;
    }
    // Where there are no golden cases: those run on the adapter in a test of their own.
    let folder = tempfile::tempdir().unwrap();
    let args = ["selftest", "--device", "gpu"];
    let tested = ran(&args, command(&args).current_dir(folder.path()).output().unwrap());
    println!("{}", tested.out);
    assert_eq!(tested.code, 0, "{}{}", tested.out, tested.err);
    assert!(tested.out.contains("PASSED: "), "{}", tested.out);
    for kernel in advect::kernel::KERNELS {
        let tried = tested.out.lines().any(|line| line.split_whitespace().next() == Some(kernel.name));
        // Only some GPUs have matrix units.
        let excused = kernel.name == "matmul_coop" && tested.out.contains("not run: matmul_coop_m16 ");
        assert!(tried || excused, "{}: {}", kernel.name, tested.out);
    }
}

#[test]
fn a_failed_selftest_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.safetensors"), b"not a golden case").unwrap();
    let args = ["selftest", "--device", "cpu", "--threads", "1", "--golden", folder.path().to_str().unwrap()];
    let failed = advect(&args);
    assert_eq!(failed.code, 1, "{}", failed.err);
    assert!(
        failed.out.contains("broken") && failed.out.contains("FAILED: do not trust cpu"),
        "{}",
        failed.out
    );
}

/// `advect devices | head -0` must not panic.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_failure() {
    for args in [&["devices"][..], &["devices", "--json"], &["--help"]] {
        let mut child = command(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the command starts");
        drop(child.stdout.take());
        let closed = ran(args, child.wait_with_output().unwrap());
        assert_eq!(closed.code, 0, "{}: {}", closed.args, closed.err);
    }
}

/// Ctrl-C in the middle of a measurement ends it with 130 and one line.
#[cfg(unix)]
#[test]
fn an_interrupt_exits_with_130() {
    let args = ["bench", "--device", "cpu", "--batch", "1", "--seconds", "600"];
    let child = command(&args)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    crate::signal::signal(&child, "INT");
    error_of(&ran(&args, child.wait_with_output().unwrap()), 130, &["interrupted"]);
}

#[test]
fn data_sets_are_inspected() {
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lerobot/v3");
    let text = advect(&["data", "inspect", set]);
    assert_eq!(text.code, 0, "{}", text.err);
    for word in [
        "LeRobot data set, v3",
        "4 episodes, 94 steps",
        "block_x",
        "observation.images.top (image 8x8x3)",
        "warning",
    ] {
        assert!(text.out.contains(word), "{word}: {}", text.out);
    }
    let report = json(&advect(&["data", "inspect", set, "--json", "--horizon", "30"]));
    assert_eq!((&report["kind"], &report["episodes"]), (&Value::from("lerobot-v3.0"), &Value::from(4)));
    let short = report["warnings"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|w| w["kind"] == "short" && w["fatal"] == false);
    assert!(short, "one of the four is long enough: {report}");
    let both = json(&advect(&["data", "inspect", set, set, "--json"]));
    assert_eq!(both["sets"].as_array().map(Vec::len), Some(2));
    let copies =
        |w: &Value| w["kind"] == "copies" && w["text"].as_str().is_some_and(|t| t.starts_with("4 of 8"));
    assert!(both["warnings"].as_array().expect("a list").iter().any(copies), "{both}");
    fails(&["data", "inspect", "/none"], 2, &["/none", "no such file"]);
    fails(
        &["data", "inspect", concat!(env!("CARGO_MANIFEST_DIR"), "/src")],
        2,
        &["src", "without meta/info.json"],
    );
}

#[test]
fn data_sets_are_converted() {
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lerobot/v3");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_string();
    let report = json(&advect(&["data", "convert", set, &at("a.npz"), "--json"]));
    assert_eq!((&report["kind"], &report["steps"]), (&Value::from("npz"), &Value::from(94)));
    let ran =
        advect(&["data", "convert", &at("a.npz"), &at("b"), "--to", "lerobot-v2.1", "--successful-only"]);
    assert!(
        ran.code == 0 && ran.out.contains("lerobot-v2.1): 3 episodes, 61 steps"),
        "{}{}",
        ran.out,
        ran.err
    );
    fails(&["data", "convert", &at("a.npz"), &at("b")], 2, &["found a folder"]);
    fails(&["data", "convert", &at("a.npz"), &at("c"), "--to", "zarr"], 2, &["lerobot-v2.1"]);
    fails(&["data", "convert", &at("none.npz"), &at("c")], 1, &["none.npz", "no such file"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
    // Both kinds train, alone and together.
    let out = at("p.safetensors");
    let run = [
        "train",
        "--data",
        set,
        "--data",
        &at("a.npz"),
        "--out",
        &out,
        "--steps",
        "2",
        "--batch-size",
        "8",
        "--device",
        "cpu",
    ];
    let ran = advect(&run);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for words in ["skipped image columns: observation.images.top", "8 episodes of 188 steps"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
}
