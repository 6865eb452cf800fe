//! LeRobot directories: one that the lerobot package wrote (`make_dataset.py`), a real one of a robot, damaged ones. And LeRobot
//! checkpoints.

mod books;
mod convert;
mod damage;
mod import;
mod read;

use advect::data::{DataSpec, Episodes, read_npz_f32};
use std::path::{Path, PathBuf};

/// A file or folder beside these tests.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lerobot").join(name)
}

/// The data set that lerobot 0.4.4 wrote.
fn fixture() -> PathBuf {
    here("v3")
}

/// An array of what the fixture must be read as.
fn expected(array: &str) -> Vec<f32> {
    read_npz_f32(here("expected.npz"), array).expect("the fixture's values").expect("the array").data
}

/// The real v2.1 data set, or None after saying that the test did not run.
fn real(test: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("ADVECT_DATA_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let path = folder.join("g1");
    if path.join("meta/info.json").is_file() {
        return Some(path);
    }
    eprintln!("NOT RUN: {test}: no data set at {} (set ADVECT_DATA_DIR)", path.display());
    None
}

fn load(path: &Path) -> Episodes {
    Episodes::load(path, &DataSpec::default()).expect("a sound data set").episodes
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).expect("copied")),
        }
    }
}

/// A folder of its own with a copy of the fixture.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("set");
    copy(&fixture(), &path);
    (folder, path)
}
