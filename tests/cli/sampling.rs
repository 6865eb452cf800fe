//! `advect sample` where the solver chooses its steps, and where noise is given to samplers that draw some at every step.

use crate::bad_input::Bench;
use advect::data::{read_npy_f32, write_npy_f32};
use advect::flow::integrator::NOISE_STREAM;
use advect::kernel::philox;
use serde_json::Value;

const GIVEN: &str = "sample p.safetensors --obs obs.npy --device cpu";

/// Runs a command line of words: what it prints, and what it says on stderr.
fn ran(bench: &Bench, line: &str) -> (String, String) {
    let output = bench.command(&line.split_whitespace().collect::<Vec<_>>()).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{line}: {err}");
    (out, err)
}

fn sampled(bench: &Bench, more: &str) -> (Value, String) {
    let (out, err) = ran(bench, &format!("{GIVEN} {more} --json"));
    (serde_json::from_str(&out).expect("JSON"), err)
}

fn actions(bench: &Bench) -> Vec<f32> {
    read_npy_f32(bench.path("out/a.npy")).expect("actions").data
}

#[test]
fn steps_of_an_adaptive_solver_are_told_and_bounded() {
    let bench = Bench::new().with_policy();
    write_npy_f32(bench.path("obs.npy"), &[3, 3], &[0.2, -0.5, 0.9, 1.5, -2.0, 0.1, 0.0, 0.0, 3.0])
        .expect("written");
    let run = "--batch 16 --solver bosh3:1e-5 --out out/a.npy";
    let (report, _) = sampled(&bench, run);
    let whole = actions(&bench);
    let adaptive = &report["adaptive"];
    let number = |key: &str| adaptive[key].as_u64().unwrap_or_else(|| panic!("no {key}: {report}"));
    let (least, most) = (number("least_steps"), number("most_steps"));
    let mean = adaptive["mean_steps"].as_f64().expect("a mean");
    assert!(1 < least && least < most && mean > least as f64 && mean < most as f64, "{report}");
    assert_eq!((report["evaluations"].is_null(), number("rejected")), (true, 0), "{report}");
    // Three stages, of which the last is the next step's first.
    assert_eq!((number("most_evaluations"), &report["failed"]), (1 + 3 * most, &Value::Array(vec![])));
    let (text, _) = ran(&bench, &format!("{GIVEN} {run}"));
    assert!(text.contains(&format!("{least} to {most} steps a chunk, 0 taken back in all")), "{text}");

    // One step fewer than some need: these fail alone, and are named.
    let (report, said) = sampled(&bench, &format!("{run} --max-steps {}", most - 1));
    let failed = report["failed"].as_array().expect("a list");
    assert!(!failed.is_empty() && failed.len() < 48, "{report}");
    let chunk = 4 * 2;
    let got = actions(&bench);
    let mut nan = Vec::new();
    for (row, (got, whole)) in got.chunks(chunk).zip(whole.chunks(chunk)).enumerate() {
        match got[0].is_nan() {
            true => nan.push(row as u64),
            false => assert_eq!(got, whole, "row {row}"),
        }
    }
    let row = |f: &Value| {
        16 * f["observation"].as_u64().expect("a number") + f["sample"].as_u64().expect("a number")
    };
    assert_eq!(failed.iter().map(row).collect::<Vec<_>>(), nan);
    for each in failed {
        assert_eq!((&each["status"], &each["steps"]), (&"out_of_steps".into(), &(most - 1).into()), "{each}");
    }
    let words = format!("{} of 48 chunks have no result and are NaN", failed.len());
    assert!(said.contains(&words) && said.contains("the solver ran out of steps"), "{said}");

    // None has enough: an error, and no file.
    std::fs::remove_file(bench.path("out/a.npy")).expect("removed");
    let solver = ["--solver", "bosh3:1e-5", "--max-steps", "2"];
    bench.sample_fails(&solver, 1, &["no chunk has a result", "ran out of steps after --max-steps 2"]);
    bench.sample_fails(&["--solver", "bosh3:1e-5", "--max-steps", "0"], 2, &["whole number from 1"]);
    bench.sample_fails(&["--max-steps", "9"], 2, &["--max-steps: euler:10 has its steps", "dopri5"]);
}

/// The noise of a file is what the sampler starts from and what it adds at its steps: the noise of a seed, written down, gives
/// the chunks of that seed.
#[test]
fn noise_is_given_to_every_kind_of_sampler() {
    let ddpm = "action_normalizer = \"min_max\"\nobjective = { denoising = { sampler = \"ddpm\", inference_steps = 3 } }";
    for (objective, solver, shape) in [
        ("", "euler:3", vec![2, 2, 4, 2]),
        // The start, and the noise of each step but the last, which adds none.
        ("", "sde:3", vec![2, 2, 32]),
        (ddpm, "ddpm:3", vec![2, 2, 32]),
        ("objective = \"vq_bet\"", "euler:1", vec![2, 2, 72]),
    ] {
        let bench = Bench::new().with_policy_of(objective);
        let run = format!("--batch 2 --out out/a.npy --solver {solver}");
        let (report, _) = sampled(&bench, &format!("{run} --seed 7"));
        assert_eq!(report["seed"], 7, "{report}");
        let by_seed = actions(&bench);
        let mut noise = vec![0.0; shape.iter().product()];
        philox::fill_normal(7, NOISE_STREAM, 0, 0, &mut noise);
        write_npy_f32(bench.path("noise.npy"), &shape, &noise).expect("written");
        let (report, _) = sampled(&bench, &format!("{run} --noise noise.npy"));
        assert!(report["seed"].is_null(), "{report}");
        assert_eq!(actions(&bench), by_seed, "{objective} {solver}");
        // Noise of the steps, not of the start alone, is needed, and its shape is told.
        let values = noise.len() / 4;
        if shape.len() == 3 {
            write_npy_f32(bench.path("start.npy"), &[2, 2, 4, 2], &noise[..32]).expect("written");
            let args = ["--batch", "2", "--solver", solver, "--noise", "start.npy"];
            let needed = format!("needed [2, 2, {values}]");
            std::fs::remove_file(bench.path("out/a.npy")).expect("removed");
            bench.sample_fails(
                &args,
                1,
                &["start.npy", "found [2, 2, 4, 2]", &needed, "noise of every step"],
            );
        }
    }
    let bench = Bench::new().with_policy_of("objective = \"behaviour_cloning\"");
    write_npy_f32(bench.path("noise.npy"), &[2, 1, 4, 2], &[0.5; 16]).expect("written");
    bench.sample_fails(&["--noise", "noise.npy"], 2, &["--noise", "start from no noise"]);
}
