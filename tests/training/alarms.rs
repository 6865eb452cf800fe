//! Nothing is said against demonstrations that are as they should be: those of the examples, of the comparison's tasks, and of the
//! repository's files. `advect train` prints the same lines as `advect data inspect`, from one place.

use advect::compare::Task;
use advect::compare::tasks::TaskOptions;
use advect::data::inspect::Purpose;
use advect::data::{DataSets, DataSpec, Episodes, WindowSpec, write_npz};
use std::path::Path;

#[allow(dead_code)]
#[path = "../../examples/closed_loop/expert.rs"]
mod expert;
#[allow(dead_code)]
#[path = "../../examples/train_toy.rs"]
mod train_toy;

/// The kinds of warnings of some data sets, each kind once.
fn kinds(paths: &[&Path], purpose: &Purpose) -> Vec<&'static str> {
    let warnings = DataSets::open(paths, &DataSpec::default()).unwrap().warnings(purpose);
    for warning in &warnings {
        println!("{}: {}: {}", paths[0].display(), warning.kind, warning.text);
    }
    let mut kinds: Vec<_> = warnings.iter().map(|warning| warning.kind).collect();
    kinds.dedup();
    kinds
}

/// The same of some episodes, of which up to `most` are looked at.
fn of_episodes(episodes: &Episodes, most: usize, windows: WindowSpec) -> Vec<&'static str> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demos.npz");
    let some: Vec<usize> = (0..episodes.count()).step_by(episodes.count().div_ceil(most)).collect();
    write_npz(&path, &episodes.select(&some).unwrap()).unwrap();
    kinds(&[&path], &Purpose { windows, ..Purpose::horizon(1) })
}

#[test]
fn the_examples_raise_no_alarm() {
    let windows = |horizon| WindowSpec { history: 2, horizon, action_offset: 0, pad_after: 7 };
    // The robot of the example follows its command by a spring, so that it comes late.
    assert_eq!(of_episodes(&expert::demonstrations(60, 1).unwrap(), 60, windows(16)), ["following"]);
    let toy = train_toy::demonstrations().unwrap();
    let windows = WindowSpec { history: 1, horizon: 8, action_offset: 0, pad_after: 0 };
    assert_eq!(of_episodes(&toy, 300, windows), ["fps"]);
}

#[test]
fn the_tasks_of_the_comparison_raise_no_alarm() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/lasa");
    for (task, known) in [
        ("two-mode-regression", &["fps"][..]),
        // What is drawn given nothing has an observation that says nothing.
        ("two-moons", &["constant", "fps"]),
        ("eight-gaussians", &["constant", "fps"]),
        ("checkerboard", &["constant", "fps"]),
        ("reach", &["constant", "fps"]),
        // Its action is the next place, and its motions end in rest.
        ("lasa", &["following", "duplicates", "fps"]),
    ] {
        let data = (task == "lasa").then(|| shared.clone());
        if data.as_ref().is_some_and(|data| !data.is_dir()) {
            println!("NOT RUN: {} is not here", shared.display());
            continue;
        }
        let task = Task::open(task, &TaskOptions { data }).unwrap();
        assert_eq!(of_episodes(&task.train, 400, task.windows), known, "{}", task.name);
    }
}

#[test]
fn the_repositorys_files_raise_no_alarm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let horizon = Purpose::horizon(3);
    for (set, known) in [
        ("tests/lerobot/v3", &["success"][..]),
        ("tests/formats/axes", &[]),
        ("tests/formats/robomimic.hdf5", &[]),
        ("tests/formats/robomimic_latest.hdf5", &[]),
        ("tests/formats/minari.hdf5", &["fps"]),
        ("tests/formats/aloha.hdf5", &["fps"]),
        ("tests/formats/zarr2", &["fps"]),
        ("tests/formats/zarr3", &["fps"]),
    ] {
        assert_eq!(kinds(&[&root.join(set)], &horizon), known, "{set}");
    }
    let metaworld = root.join("../shared/data/metaworld");
    if !metaworld.is_dir() {
        return println!("NOT RUN: {} is not here", metaworld.display());
    }
    // Scripted experts switch from phase to phase, and their actions stand at the bounds of the action space.
    for (task, known) in [
        ("drawer-open-v3", &["constant"][..]),
        ("pick-place-wall-v3", &["constant", "success"]),
        ("shelf-place-v3", &["constant", "success"]),
        ("reach-v3", &["constant"]),
    ] {
        assert_eq!(kinds(&[&metaworld.join(format!("{task}.npz"))], &horizon), known, "{task}");
    }
}
