//! Damaged directories: an error that names file and column, and never a panic.

use super::{copied, fixture};
use advect::data::inspect::inspect;
use advect::data::{DataError, DataSpec, Episodes, LeRobotError, Source};
use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fault(path: &Path) -> (DataError, String) {
    let error = Episodes::load(path, &DataSpec::default()).expect_err("a fault");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    (error, text)
}

/// The fixture with info.json changed.
fn with_info(change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = copied();
    let file = path.join("meta/info.json");
    let mut info = serde_json::from_str(&std::fs::read_to_string(&file).expect("text")).expect("JSON");
    change(&mut info);
    std::fs::write(file, info.to_string()).expect("written");
    (folder, path)
}

#[test]
fn info_is_checked() {
    for (change, words) in [
        (
            (|v| v["codebase_version"] = json!("v1.6")) as fn(&mut Value),
            &["codebase_version: found v1.6", "v3.0"][..],
        ),
        (|v| v["fps"] = json!(0), &["fps: found 0"]),
        (|v| v["fps"] = json!("fast"), &["info.json", "invalid type"]),
        (
            |v| drop(v.as_object_mut().expect("table").remove("features")),
            &["info.json", "missing field `features`"],
        ),
        (
            |v| v["data_path"] = json!("../{chunk_index}/{file_index}"),
            &["data_path", "within the data set's folder"],
        ),
        (|v| v["data_path"] = json!("/etc/{chunk_index}"), &["data_path", "within the data set's folder"]),
        (|v| v["data_path"] = json!("data/{episode}"), &["data_path", "fields"]),
        (|v| v["data_path"] = json!("data/none-{file_index}"), &["none-0"]),
        (|v| v["chunks_size"] = json!(0), &["chunks_size: found 0"]),
        (
            |v| v["features"]["action"]["shape"] = json!([3]),
            &["column 'action', row 0: found 2 values, needed 3"],
        ),
        (|v| v["features"]["action"]["shape"] = json!([0]), &["shape of the feature 'action'", "[0]"]),
        (|v| v["features"]["action"]["shape"] = json!([usize::MAX, 8]), &["shape of the feature 'action'"]),
        (|v| v["features"]["action"] = json!(7), &["feature 'action'"]),
        (
            |v| drop(v["features"].as_object_mut().expect("table").remove("action")),
            &["no column 'action'; present:"],
        ),
        (|v| v["total_frames"] = json!(95), &["total_frames", "found 95, needed 94"]),
        (|v| v["total_episodes"] = json!(5), &["total_episodes", "found 5, needed 4"]),
    ] {
        let (_folder, path) = with_info(change);
        let (_, text) = fault(&path);
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    let (_folder, path) = with_info(|v| v["features"]["action"]["names"] = json!(["vx"]));
    let loaded = Episodes::load(&path, &DataSpec::default()).expect("names are not needed");
    assert_eq!(loaded.episodes.action_names(), None);
    assert!(
        loaded.notes.iter().any(|n| n == "names of 'action' are not used: 1 for 2 values"),
        "{:?}",
        loaded.notes
    );
}

/// A v2.1 data set of one episode in which `change` may replace columns.
fn small(change: impl FnOnce(&mut Vec<(&'static str, ArrayRef)>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_path_buf();
    let lists = |dims: [usize; 4]| -> ArrayRef {
        let mut builder = ListBuilder::new(Float32Builder::new());
        for dim in dims {
            builder.append_value((0..dim).map(|n| Some(n as f32)));
        }
        Arc::new(builder.finish())
    };
    let count = || -> ArrayRef { Arc::new(Int64Array::from(vec![0, 1, 2, 3])) };
    let zero = || -> ArrayRef { Arc::new(Int64Array::from(vec![0; 4])) };
    let mut columns = vec![
        ("observation.state", lists([2; 4])),
        ("action", Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0, 4.0])) as ArrayRef),
        ("timestamp", Arc::new(Float32Array::from(vec![0.0, 0.1, 0.2, 0.3]))),
        ("frame_index", count()),
        ("episode_index", zero()),
        ("task_index", zero()),
    ];
    change(&mut columns);
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    std::fs::create_dir_all(path.join("meta")).expect("a folder");
    std::fs::create_dir_all(path.join("data")).expect("a folder");
    let file = std::fs::File::create(path.join("data/0.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    let info = json!({
        "codebase_version": "v2.1", "fps": 10, "total_episodes": 1, "total_frames": 4,
        "data_path": "data/{episode_index}.parquet",
        "features": {
            "observation.state": {"dtype": "float32", "shape": [2], "names": null},
            "action": {"dtype": "float32", "shape": [1]},
        },
    });
    std::fs::write(path.join("meta/info.json"), info.to_string()).expect("written");
    std::fs::write(path.join("meta/episodes.jsonl"), "{\"episode_index\": 0, \"length\": 4}\n")
        .expect("written");
    (folder, path)
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn replace(columns: &mut Columns, name: &str, array: ArrayRef) {
    let place = columns.iter_mut().find(|(n, _)| *n == name).expect("the column");
    place.1 = array;
}

#[test]
fn columns_are_checked() {
    let (_folder, path) = small(|_| ());
    let good = Episodes::load(&path, &DataSpec::default()).expect("sound").episodes;
    assert_eq!(
        (good.obs(), good.action()),
        (&[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0][..], &[1.0, 2.0, 3.0, 4.0][..])
    );
    let floats = |values: [f32; 4]| Arc::new(Float32Array::from(values.to_vec())) as ArrayRef;
    let whole = |values: [i64; 4]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let text = Arc::new(StringArray::from(vec!["a"; 4])) as ArrayRef;
    let null = Arc::new(Float32Array::from(vec![Some(1.0), None, None, Some(2.0)])) as ArrayRef;
    let mut builder = ListBuilder::new(Float32Builder::new());
    for dim in [2, 2, 1, 3] {
        builder.append_value((0..dim).map(|n| Some(n as f32)));
    }
    let ragged = Arc::new(builder.finish()) as ArrayRef;
    let mut builder = ListBuilder::new(Float32Builder::new());
    for hole in [false, false, false, true] {
        builder.append_value([Some(1.0), (!hole).then_some(2.0)]);
    }
    let holed = Arc::new(builder.finish()) as ArrayRef;
    for (column, array, words) in [
        ("action", text.clone(), "column 'action': found texts, needed numbers"),
        ("action", null, "column 'action', row 1: found null, needed a value"),
        ("observation.state", ragged, "column 'observation.state', row 2: found 1 values, needed 2"),
        ("observation.state", holed, "column 'observation.state', row 3: found null"),
        (
            "observation.state",
            floats([0.0; 4]),
            "column 'observation.state': found Float32, needed lists of 2 numbers",
        ),
        ("episode_index", floats([0.0; 4]), "column 'episode_index': found Float32, needed whole numbers"),
        ("timestamp", text, "column 'timestamp': found texts"),
        ("timestamp", floats([0.0, 0.1, 0.25, 0.35]), "'timestamp', episode 0, frame 2: found 0.15 s"),
        ("timestamp", floats([0.0, 0.1, f32::NAN, 0.3]), "'timestamp', episode 0, frame 2: found NaN s"),
        ("frame_index", whole([0, 1, 3, 4]), "'frame_index', episode 0, frame 2: found 3, needed 2"),
        (
            "episode_index",
            whole([0, 0, 1, 1]),
            "frames of episode 0 (its length in the list of episodes): found 2, needed 4",
        ),
        ("episode_index", whole([5; 4]), "'episode_index', episode 0, frame 0: found 5, needed 0"),
    ] {
        let (_folder, path) = small(|columns| replace(columns, column, array));
        let (error, text) = fault(&path);
        assert!(matches!(error, DataError::LeRobot(_)), "{text}");
        assert!(text.contains("0.parquet: ") && text.contains(words), "{words}: {text}");
    }
    let (_folder, path) = small(|columns| columns.retain(|(name, _)| *name != "action"));
    let (error, text) = fault(&path);
    assert!(matches!(error, DataError::LeRobot(LeRobotError::MissingColumn { .. })), "{text}");
    assert!(text.contains("0.parquet: no column 'action'; present: observation.state, timestamp"), "{text}");
    let (_folder, path) = small(|columns| replace(columns, "action", floats([1.0, f32::NAN, 0.0, 0.0])));
    assert!(fault(&path).1.starts_with("action: found NaN at row 1, column 0 (episode 0)"));
    // What training refuses is reported all the same.
    let report = inspect(&path, &DataSpec::default(), 2).expect("readable");
    assert!(report.warnings.iter().any(|w| w.fatal && w.text.contains("first at episode 0, step 1")));
    let (_folder, path) = small(|columns| replace(columns, "timestamp", floats([0.0, 0.1, 0.25, 0.35])));
    let report = inspect(&path, &DataSpec::default(), 2).expect("readable");
    assert!(report.warnings.iter().any(|w| w.kind == "times"), "{:?}", report.warnings);
}

#[test]
fn times_that_cannot_show_a_gap_are_said() {
    // Seconds since 1970: float32 keeps steps of 128 s, so that a minute's pause looks like none.
    for (start, said) in [(1.7e9, true), (1e6, true), (1e4, false), (0.0, false)] {
        let times: Vec<f32> = (0..4).map(|t| (start + 0.1 * f64::from(t)) as f32).collect();
        let (_folder, path) = small(|columns| {
            replace(columns, "timestamp", Arc::new(Float32Array::from(times)));
        });
        let report = inspect(&path, &DataSpec::default(), 2).expect("readable");
        let found =
            report.warnings.iter().find(|w| w.kind == "times" && w.text.contains("cannot be checked"));
        assert_eq!(found.is_some(), said, "{start}: {:?}", report.warnings);
        assert!(Episodes::load(&path, &DataSpec::default()).is_ok(), "{start}");
    }
    // The same in float64 shows every gap.
    let (_folder, path) = small(|columns| {
        let times = vec![1.7e9, 1.7e9 + 0.1, 1.7e9 + 60.2, 1.7e9 + 60.3];
        replace(columns, "timestamp", Arc::new(arrow_array::Float64Array::from(times)));
    });
    assert!(fault(&path).1.contains("'timestamp', episode 0, frame 2: found 60.1 s"), "{}", fault(&path).1);
}

#[test]
fn lists_of_episodes_are_checked() {
    let (_folder, path) = small(|_| ());
    for (lines, words) in [
        ("", "episodes: found 0"),
        ("{\"episode_index\": 0}\n", "episodes.jsonl, line 1: missing field `length`"),
        ("\n{\"episode_index\": -1, \"length\": 4}", "episodes.jsonl, line 2: invalid value"),
        (
            "{\"episode_index\": 0, \"length\": 4}\n{\"episode_index\": 0, \"length\": 4}",
            "episode 0: found it twice",
        ),
        ("{\"episode_index\": 0, \"length\": 5}", "found 4, needed 5"),
        ("{\"episode_index\": 7, \"length\": 4}", "7.parquet"),
    ] {
        std::fs::write(path.join("meta/episodes.jsonl"), lines).expect("written");
        let (_, text) = fault(&path);
        assert!(text.contains(words), "{words}: {text}");
    }
    std::fs::remove_file(path.join("meta/episodes.jsonl")).expect("removed");
    assert!(fault(&path).1.contains("episodes.jsonl: "));
    let (_folder, path) = copied();
    let file = path.join("data/chunk-000/file-001.parquet");
    std::fs::write(&file, b"").expect("written");
    assert!(fault(&path).1.ends_with("file-001.parquet: not readable as parquet: the file is empty"));
    let bytes = std::fs::read(fixture().join("data/chunk-000/file-001.parquet")).expect("bytes");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    assert!(fault(&path).1.contains("file-001.parquet: not readable as parquet: "));
    std::fs::remove_file(file).expect("removed");
    assert!(fault(&path).1.contains("file-001.parquet: "));
}

const FILES: [&str; 6] = [
    "meta/info.json",
    "meta/tasks.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
    "data/chunk-000/file-000.parquet",
    "data/chunk-000/file-001.parquet",
    "data/chunk-000/file-001.parquet",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_damage_is_an_error_or_data_but_never_a_panic(
        file in 0usize..6, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        near_end: bool, cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local! {
            static SET: (tempfile::TempDir, PathBuf) = copied();
        }
        SET.with(|(_, path)| -> Result<(), TestCaseError> {
            let name = FILES[file];
            let whole = std::fs::read(fixture().join(name)).expect("bytes");
            let mut bytes = whole.clone();
            for (at, byte) in damage {
                // Footers are where most of the structure is.
                let from = if near_end { bytes.len().saturating_sub(3000) } else { 0 };
                let at = from + at.index(bytes.len() - from);
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(whole.len()));
            }
            std::fs::write(path.join(name), bytes).expect("written");
            let read = std::panic::catch_unwind(|| {
                let source = Source::open(path, &DataSpec::default());
                let _ = inspect(path, &DataSpec::default(), 16);
                source.and_then(|source| source.episodes(&DataSpec::default())).map(|e| (e.steps() * e.obs_dim(), e.obs().len()))
            });
            std::fs::write(path.join(name), whole).expect("written");
            match read {
                Err(_) => prop_assert!(false, "{name}: a panic"),
                // A damaged name may leave one observation column only.
                Ok(Ok((needed, found))) => prop_assert_eq!(found, needed),
                Ok(Err(error)) => prop_assert!(!error.to_string().is_empty()),
            }
            Ok(())
        })?;
    }
}
