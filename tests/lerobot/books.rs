//! Rows over bookkeeping: lists of episodes that are stale, partial or absent, and recordings that were cut off.

use super::{copied, fixture, load};
use advect::data::{DataError, DataSpec, Episodes, LeRobotError, Loaded};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use std::path::Path;
use std::sync::Arc;

const LIST: &str = "meta/episodes/chunk-000/file-000.parquet";

/// An episode's number, length and file.
type Row = (i64, i64, Option<i64>);

/// Writes a list of episodes.
fn list(set: &Path, rows: &[Row], with_files: bool) {
    let whole = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let column = |of: fn(&Row) -> Option<i64>| whole(rows.iter().map(of).collect());
    let mut columns = vec![
        ("episode_index", column(|row| Some(row.0))),
        ("length", column(|row| Some(row.1))),
        ("data/chunk_index", column(|_| Some(0))),
    ];
    if with_files {
        columns.push(("data/file_index", column(|row| row.2)));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)));
    let batch = batch.expect("a batch");
    let file = std::fs::File::create(set.join(LIST)).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn read(set: &Path) -> Result<Loaded, DataError> {
    Episodes::load(set, &DataSpec::default())
}

fn assert_as_the_fixture(set: &Path, words: &str) {
    let loaded = read(set).unwrap_or_else(|error| panic!("{words}: {error}"));
    let right = load(&fixture());
    assert_eq!(loaded.episodes.obs(), right.obs(), "{words}");
    assert_eq!(loaded.episodes.action(), right.action(), "{words}");
    assert_eq!(loaded.episodes.lengths(), right.lengths(), "{words}");
    assert_eq!(loaded.episodes.success(), right.success(), "{words}");
    assert!(loaded.notes.iter().any(|note| note.contains(words)), "{words}: {:?}", loaded.notes);
}

#[test]
fn a_list_that_names_other_files_is_read_by_the_rows() {
    let lengths = [20, 33, 17, 24];
    let rows =
        |files: [Option<i64>; 4]| -> Vec<Row> { (0..4).map(|n| (n as i64, lengths[n], files[n])).collect() };
    for (files, words) in [
        ([0, 0, 0, 1].map(Some), "for 1 episodes (first: episode 2)"),
        ([0, 0, 0, 0].map(Some), "for 2 episodes (first: episode 2)"),
        ([1, 1, 0, 0].map(Some), "for 4 episodes (first: episode 0)"),
        ([0, 1, 0, 1].map(Some), "for 2 episodes (first: episode 1)"),
        // A file that does not exist.
        ([0, 0, 9, 9].map(Some), "for 2 episodes (first: episode 2)"),
        ([Some(0), Some(0), None, None], "for 4 episodes (first: episode 0)"),
        ([Some(-1); 4], "for 4 episodes (first: episode 0)"),
    ] {
        let (_folder, set) = copied();
        list(&set, &rows(files), true);
        assert_as_the_fixture(&set, words);
    }
    let (_folder, set) = copied();
    list(&set, &rows([None; 4]), false);
    assert_as_the_fixture(&set, "for 4 episodes (first: episode 0)");
    // Lengths and numbers are no bookkeeping: what the list has and the rows have not was lost.
    let mut wrong = rows([0, 0, 0, 1].map(Some));
    wrong[2].1 = 18;
    list(&set, &wrong, true);
    let text = read(&set).expect_err("a fault").to_string();
    assert!(text.contains("frames of episode 2") && text.ends_with("found 17, needed 18"), "{text}");
    std::fs::remove_file(set.join("data/chunk-000/file-001.parquet")).expect("removed");
    let text = read(&set).expect_err("a fault").to_string();
    assert!(text.contains("file-001.parquet: not readable as parquet: No such file"), "{text}");
}

#[test]
fn recordings_without_finalize_are_read_where_the_frames_are_whole() {
    let (_folder, set) = copied();
    // A list that was begun and never closed, one that ends before the last recording, none at all.
    let bytes = std::fs::read(set.join(LIST)).expect("bytes");
    std::fs::write(set.join(LIST), &bytes[..bytes.len() - 8]).expect("written");
    assert_as_the_fixture(&set, "ended without finalize(). The 4 episodes were found by their rows");
    list(&set, &[(0, 20, Some(0)), (1, 33, Some(0))], true);
    assert_as_the_fixture(&set, "lacks 2 episodes that the data files hold");
    std::fs::remove_dir_all(set.join("meta/episodes")).expect("removed");
    assert_as_the_fixture(&set, "ended without finalize(). The 4 episodes were found by their rows");

    let file = set.join("data/chunk-000/file-001.parquet");
    let bytes = std::fs::read(&file).expect("bytes");
    let footer =
        u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().expect("four")) as usize;
    std::fs::write(&file, &bytes[..bytes.len() - 8 - footer]).expect("written");
    let error = read(&set).expect_err("a fault");
    assert!(matches!(error, DataError::LeRobot(LeRobotError::Unfinished { .. })), "{error}");
    let text = error.to_string();
    assert!(text.contains("finalize()") && text.contains("lost (41 of 94 frames"), "{text}");
    // Rows are fewer than info.json counts, and no list tells whose they were.
    std::fs::remove_file(&file).expect("removed");
    let text = read(&set).expect_err("a fault").to_string();
    assert!(text.contains("total_episodes (as many as the data files hold): found 4, needed 2"), "{text}");
    std::fs::remove_dir_all(set.join("data")).expect("removed");
    let text = read(&set).expect_err("a fault").to_string();
    assert!(text.contains("there is no list of episodes, and no data file"), "{text}");
}
