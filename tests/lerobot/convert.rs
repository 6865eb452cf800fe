//! From one kind to another and back: nothing changes.

use super::{expected, fixture, here, load};
use advect::data::{
    DataSpec, EpisodeArrays, Episodes, Kind, ObsInput, Source, convert, inspect::inspect, read_npz_f32,
};
use std::path::Path;

fn to(from: &Path, to: &Path, kind: Kind) -> Vec<String> {
    convert(from, to, kind, &DataSpec::default(), "do it").expect("converted").notes
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn assert_same(a: &Episodes, b: &Episodes) {
    assert_eq!(bits(a.obs()), bits(b.obs()));
    assert_eq!(bits(a.action()), bits(b.action()));
    assert_eq!((a.lengths(), a.success(), a.fps()), (b.lengths(), b.success(), b.fps()));
    assert_eq!((a.obs_names(), a.action_names()), (b.obs_names(), b.action_names()));
    assert_eq!(a.obs_inputs(), b.obs_inputs());
}

#[test]
fn every_kind_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let start = load(&fixture());
    let notes = to(&fixture(), &at("a.npz"), Kind::Npz);
    let said = |word: &str| notes.iter().any(|note| note.contains(word));
    assert!(
        said("observation.images.top") && said("observation.force") && said("the texts of the tasks"),
        "{notes:?}"
    );
    assert_same(&load(&at("a.npz")), &start);
    to(&at("a.npz"), &at("b"), Kind::LeRobotV2);
    assert_same(&load(&at("b")), &start);
    to(&at("b"), &at("c"), Kind::LeRobotV3);
    assert_same(&load(&at("c")), &start);
    to(&at("c"), &at("d.npz"), Kind::Npz);
    assert_eq!(
        std::fs::read(at("a.npz")).expect("bytes").len(),
        std::fs::read(at("d.npz")).expect("bytes").len()
    );
    assert_same(&load(&at("d.npz")), &start);
    for (set, kind) in [("b", Kind::LeRobotV2), ("c", Kind::LeRobotV3)] {
        let source = Source::open(at(set), &DataSpec::default()).expect("readable");
        assert_eq!((source.kind, source.fault_count, source.lines()), (kind, 0, vec![]));
        assert_eq!(source.tasks.expect("tasks").texts, ["do it"]);
    }
    // Instructions stay with LeRobot.
    to(&fixture(), &at("e"), Kind::LeRobotV2);
    let tasks = Source::open(at("e"), &DataSpec::default()).expect("readable").tasks.expect("tasks");
    assert_eq!(tasks.texts, ["push the block", "lift the block"]);
    let of_row: Vec<f32> = tasks.of_row.iter().map(|&n| n as f32).collect();
    assert_eq!(of_row, expected("task_index"));
}

#[test]
fn odd_values_and_several_inputs_survive() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let odd = [0.0, -0.0, f32::MIN_POSITIVE / 8.0, f32::MAX, -f32::MAX, 1.0 / 3.0, 16_777_217.0, 1e-30];
    let input = |name: &str, dim| ObsInput { name: name.into(), dim };
    let arrays = EpisodeArrays {
        obs: odd.repeat(3),
        action: odd[..6].to_vec(),
        obs_dim: 4,
        obs_inputs: vec![input("observation/state", 1), input("observation/goal", 3)],
        action_dim: 1,
        lengths: vec![1, 5],
        success: None,
        fps: Some(29.97),
        obs_names: None,
        action_names: Some(vec!["größe".into()]),
    };
    let start = Episodes::from_arrays(arrays).expect("sound");
    advect::data::write_npz(at("a.npz"), &start).expect("written");
    assert_same(&load(&at("a.npz")), &start);
    let notes = to(&at("a.npz"), &at("b"), Kind::LeRobotV3);
    assert_eq!(notes, ["to read it back: [data] obs = [\"observation.state\", \"observation.goal\"]"]);
    let spec: DataSpec =
        toml::from_str("obs = [\"observation.state\", \"observation.goal\"]").expect("a table");
    assert_same(&Episodes::load(at("b"), &spec).expect("readable").episodes, &start);
}

#[test]
fn statistics_are_those_of_lerobot() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    to(&fixture(), &out, Kind::LeRobotV3);
    let text = std::fs::read_to_string(out.join("meta/stats.json")).expect("statistics");
    let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for column in ["observation.state", "observation.environment_state", "action"] {
        let theirs = |key: &str| {
            let array = read_npz_f32(here("expected.npz"), &format!("{column}.{key}")).expect("readable");
            array.expect("the statistic").data
        };
        let (low, high) = (theirs("min"), theirs("max"));
        for key in ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"] {
            let ours = stats[column][key].as_array().expect("a list");
            assert_eq!(ours.len(), theirs(key).len(), "{column}.{key}");
            for (d, (ours, theirs)) in ours.iter().zip(theirs(key)).enumerate() {
                let ours = ours.as_f64().expect("a number");
                // Theirs come from f32 means and f32 bin edges; a quantile is exact to a bin.
                let range = low.get(d).map_or(0.0, |low| f64::from(high[d] - low));
                let allowed = if key.starts_with('q') { range / 2000.0 } else { 1e-5 };
                assert!(
                    (ours - f64::from(theirs)).abs() <= allowed,
                    "{column}.{key} {d}: {ours}, not {theirs}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_converted_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let entries = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let fault = |from: &Path, to: &Path, kind| {
        convert(from, to, kind, &DataSpec::default(), "do it").expect_err("a fault").to_string()
    };
    let text = fault(&at("none.npz"), &at("out"), Kind::LeRobotV3);
    assert!(text.ends_with("none.npz: no such file"), "{text}");
    let arrays = EpisodeArrays {
        obs: vec![1.0; 4],
        action: vec![1.0; 4],
        obs_dim: 1,
        action_dim: 1,
        lengths: vec![4],
        ..EpisodeArrays::default()
    };
    advect::data::write_npz(at("a.npz"), &Episodes::from_arrays(arrays).expect("sound")).expect("written");
    let text = fault(&at("a.npz"), &at("out"), Kind::LeRobotV3);
    assert!(text.starts_with("fps of the data: found none"), "{text}");
    std::fs::create_dir(at("taken")).expect("a folder");
    let text = fault(&fixture(), &at("taken"), Kind::LeRobotV3);
    assert!(text.contains("taken: ") && text.contains("exists"), "{text}");
    let text = fault(&fixture(), &at("no/where"), Kind::LeRobotV2);
    assert!(text.contains("folder"), "{text}");
    assert!(fault(&fixture(), &at("taken"), Kind::Npz).contains("taken"));
    assert_eq!(entries(), 2);
}

/// A real data set, without its videos.
#[test]
fn a_real_data_set_comes_back() {
    let Some(path) = super::real("a_real_data_set_comes_back") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    to(&path, &out, Kind::LeRobotV3);
    assert_same(&load(&out), &load(&path));
    assert_eq!(inspect(&out, &DataSpec::default(), 16).expect("readable").images, []);
}
