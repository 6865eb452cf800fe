//! `advect compare` as a whole: a small comparison end to end, stopped and gone on with to the same results, and what it refuses.

use advect::compare::tasks::TaskOptions;
use advect::compare::{
    Comparison, Event, METHODS, Method, Network, Outcome, Report, Settings, Status, Task, compare,
};
use advect::device::{Cpu, Device};
use advect::policy::Noise;
use advect::train::{RunConfig, Trainer};
use npyz::WriterBuilder as _;
use serde_json::Value;
use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Output};

fn device() -> Device {
    Device::Cpu(Cpu::with_threads(2).expect("two threads"))
}

/// Runs a comparison of two methods until it is complete or `until` says stop.
fn run(folder: &Path, steps: u64, until: impl Fn(&Event<'_>) -> bool) -> advect::compare::Result<Outcome> {
    let (device, task) = (device(), Task::open("two-moons", &TaskOptions::default())?);
    let stop = Cell::new(false);
    let comparison = Comparison {
        device: &device,
        task: &task,
        methods: &Method::parse("cfm,bc")?,
        seeds: 1,
        steps,
        network: Network::Mlp,
        folder,
        command: "advect compare",
        stop: &|| stop.get(),
    };
    compare(&comparison, &mut |event| stop.set(stop.get() || until(&event)))
}

fn complete(outcome: advect::compare::Result<Outcome>) -> Report {
    match outcome.expect("the comparison runs") {
        Outcome::Complete(report) => *report,
        Outcome::Stopped { finished, of } => panic!("stopped with {finished} of {of}"),
    }
}

/// compare.json without what differs from run to run: times.
fn without_times(folder: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for key in ["latency_ms", "samples_per_s", "train_s"] {
                    map.remove(key);
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(folder.join("compare.json")).expect("compare.json is there");
    let mut value = serde_json::from_str(&text).expect("it is JSON");
    strip(&mut value);
    value
}

/// Where two values differ first.
fn difference(a: &Value, b: &Value, at: &str) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) if x.len() == y.len() => {
            x.iter().find_map(|(k, v)| difference(v, y.get(k)?, &format!("{at}.{k}")))
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let mut pairs = x.iter().zip(y).enumerate();
            pairs.find_map(|(i, (v, w))| difference(v, w, &format!("{at}[{i}]")))
        }
        _ => (a != b).then(|| format!("{at}: {a} and {b}")),
    }
}

/// Checks that two comparisons found the same.
fn same(a: &Path, b: &Path) {
    let (a, b) = (without_times(a), without_times(b));
    assert!(a == b, "{:?}", difference(&a, &b, "compare.json"));
}

#[test]
fn a_stopped_comparison_goes_on_to_the_same_results() {
    let (whole, parts) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let report = complete(run(whole.path(), 30, |_| false));
    assert_eq!((report.task.as_str(), report.steps, report.results.len()), ("two-moons", 30, 12));

    // Stopped in the middle of a training, then between two numbers of evaluations, then while the second method trains.
    let outcome = run(parts.path(), 30, |e| matches!(e, Event::Steps { step: 5.., .. }));
    assert!(matches!(outcome, Ok(Outcome::Stopped { finished: 0, of: 2 })));
    let outcome = run(parts.path(), 30, |e| matches!(e, Event::Measuring));
    assert!(matches!(outcome, Ok(Outcome::Stopped { finished: 0, of: 2 })));
    let outcome = run(parts.path(), 30, |e| matches!(e, Event::Run { method: "bc", .. }));
    assert!(matches!(outcome, Ok(Outcome::Stopped { finished: 1, of: 2 })));
    let kept = Cell::new(0);
    complete(run(parts.path(), 30, |e| {
        kept.set(kept.get() + usize::from(matches!(e, Event::Finished { kept: true, .. })));
        false
    }));
    assert_eq!(kept.get(), 1);
    same(whole.path(), parts.path());

    let page = std::fs::read_to_string(whole.path().join("report.html")).expect("the page is there");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("cfm, t = 0.5") && !page.contains("http"), "self-contained");

    // Every row is measured or says why not.
    for row in &report.results {
        match row.status {
            Status::Ok => {
                let shares = [row.mode_coverage, row.mode_balance, row.mode_least, row.validity];
                assert!(shares.iter().all(|s| s.is_some_and(|s| (0.0..=1.0).contains(&s))), "{row:?}");
                let positive = [row.energy_distance, row.sliced_wasserstein, row.latency_ms, row.train_s];
                assert!(positive.iter().all(|v| v.is_some_and(|v| v > 0.0)), "{row:?}");
                // The draws of the noise differ, and a regression reads none.
                let spread = row.energy_distance_sd.expect("it is of several draws");
                assert!(if row.method == "bc" { spread == 0.0 } else { spread > 0.0 }, "{row:?}");
            }
            _ => assert!(row.method == "bc" && row.nfe > 1 && row.reason.is_some(), "{row:?}"),
        }
    }
    assert!(report.training[0].log_likelihood.is_some() && report.training[0].straightness.is_some());
    assert!(report.training[1].absent.contains_key("log_likelihood"));
    assert!(report.absent.contains_key("energy_distance_joint"));

    // Other settings in the same folder are refused by name, and what is there stays.
    let error = run(parts.path(), 31, |_| false).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("steps was 30, found 31"), "{error}");
    same(whole.path(), parts.path());
    // A damaged record is named.
    std::fs::write(parts.path().join("runs/cfm-0.json"), "{").expect("it can be written");
    let error = run(parts.path(), 30, |_| false).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("cfm-0.json"), "{error}");
}

#[test]
fn every_method_trains_and_samples_with_its_evaluations() {
    let device = device();
    let folder = tempfile::tempdir().expect("a folder");
    let lasa = folder.path().join("Line.npz");
    line(&lasa);
    let options = TaskOptions { data: Some(lasa) };
    for (name, options) in [("two-moons", TaskOptions::default()), ("lasa", options)] {
        let task = Task::open(name, &options).expect("the task opens");
        let settings = Settings::new(&task, Network::Mlp, 3, &device).expect("the network fits");
        for method in METHODS {
            let mut config = RunConfig { batch_size: 32, ..settings.config.clone() };
            (method.configure)(&mut config);
            if let Some(reason) = (method.refuses)(&task, &config.network) {
                let without = ["streaming", "cfg", "condition-ot"]; // positions, observations
                assert!(without.contains(&method.id) && name == "two-moons", "{}: {reason}", method.id);
                continue;
            }
            let mut trainer = Trainer::new(&device, &task.train, &config).expect(method.id);
            trainer.advance(config.steps).expect(method.id);
            let policy = trainer.policy().expect(method.id);
            for (nfe, _) in method.rows().into_iter().filter(|(_, reason)| reason.is_none()) {
                let mut sampler = policy.sampler(&device, 1, 4, &(method.options)(nfe)).expect(method.id);
                let mut chunks = vec![0.0; 4 * task.chunk()];
                let noise = Noise::Seed { seed: 0, request: 0 };
                sampler.sample(task.held_out.observation(0), noise, &mut chunks).expect(method.id);
                assert_eq!(sampler.evaluations(), Some(nfe), "{}", method.id);
            }
        }
    }
}

/// Three demonstrations of a line to the origin, as LASA's files have them.
fn line(path: &Path) {
    let mut archive = npyz::npz::NpzWriter::new(std::fs::File::create(path).expect("a file"));
    let array = archive.array("pos", Default::default()).expect("an array");
    let mut writer = array.default_dtype().shape(&[3, 50, 2]).begin_nd().expect("an array");
    for (demo, step) in (0..3).flat_map(|d| (0..50).map(move |s| (d, s))) {
        let left = 1.0 - f64::from(step) / 49.0;
        writer.extend([40.0 * left, (20.0 + f64::from(demo)) * left]).expect("values");
    }
    writer.finish().expect("an array");
}

fn advect(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
    for name in ["ADVECT_DEVICE", "ADVECT_THREADS", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(args).env("ADVECT_CACHE_DIR", "off").output().expect("the command starts")
}

#[test]
fn what_does_not_exist_is_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let to = out.to_str().expect("a path of text");
    for (args, said) in [
        (["--task", "three-moons", "--methods", "all"], "unknown task \"three-moons\": needed"),
        (["--task", "two-moons", "--methods", "cfm,warp"], "unknown method \"warp\": needed"),
        (["--task", "two-moons", "--network", "cnn"], "needed one of mlp, unet1d, transformer"),
        (["--task", "two-moons", "--data", "x.npz"], "it takes no --data"),
        (["--task", "two-moons", "--network", "unet1d"], "actions of a chunk: found 1 of two-moons"),
        (["--task", "two-moons", "--seeds", "0"], "needed a whole number from 1"),
    ] {
        let ran = advect(&[&["compare", "--device", "cpu", "--out", to][..], &args].concat());
        let err = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {err}");
        let line = err.lines().last().unwrap_or_default();
        assert!(line.starts_with("error: ") && line.contains(said), "{args:?}: {err}");
        assert!(!out.exists(), "{args:?} wrote something");
    }
    let ran = advect(&["compare", "--task", "missing.npz", "--device", "cpu", "--out", to]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("missing.npz"));
}

#[test]
fn the_list_names_tasks_and_methods() {
    let ran = advect(&["compare", "--list", "--json"]);
    let value: Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    let ids = |key: &str| -> Vec<&str> {
        value[key].as_array().expect(key).iter().filter_map(|e| e["id"].as_str()).collect()
    };
    assert!(ids("tasks").contains(&"two-moons") && ids("methods").contains(&"cfm"));
    assert!(String::from_utf8_lossy(&advect(&["compare", "--list"]).stdout).contains("two-moons"));
}
