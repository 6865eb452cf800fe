//! Files of other formats, as the packages write them (`make_files.py`): every value is known.

#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "hdf5")]
mod hdf5;
#[cfg(feature = "mcap")]
mod mcap;
#[cfg(feature = "zarr")]
mod zarr;

use advect::data::{DataSpec, Episodes, Loaded};
use std::path::{Path, PathBuf};

/// Rows of the three episodes of each file.
const LENGTHS: [usize; 3] = [3, 5, 4];

/// A file or folder beside these tests.
fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)
}

fn spec(toml: &str) -> DataSpec {
    toml::from_str(toml).expect("a [data] table")
}

fn load(name: &str, toml: &str) -> Loaded {
    Episodes::load(here(name), &spec(toml)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn fault(name: &str, toml: &str) -> String {
    Episodes::load(here(name), &spec(toml)).expect_err("a fault").to_string()
}

/// What `values` of make_files.py gives for an episode of so many rows.
fn values(episode: usize, rows: usize, dims: usize, sign: f32) -> Vec<f32> {
    let at = |row: usize, column: usize| sign * ((100 * episode + 10 * row + column) as f32 + 0.5);
    (0..rows).flat_map(|row| (0..dims).map(move |column| at(row, column))).collect()
}

/// The same of all episodes, end to end.
fn all(dims: usize, sign: f32) -> Vec<f32> {
    LENGTHS.iter().enumerate().flat_map(|(episode, &rows)| values(episode, rows, dims, sign)).collect()
}

/// The rows of two columns side by side.
fn beside(left: &[f32], dims: usize, right: &[f32], others: usize) -> Vec<f32> {
    left.chunks(dims).zip(right.chunks(others)).flat_map(|(a, b)| [a, b].concat()).collect()
}

/// Copies a folder.
#[cfg(feature = "zarr")]
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

#[test]
fn lerobot_features_of_two_axes_halves_and_every_codec_are_read() {
    let Loaded { episodes, notes, .. } = load("axes", "");
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(episodes.lengths(), LENGTHS);
    assert_eq!(episodes.obs(), all(2, 1.0));
    assert_eq!((episodes.action_dim(), episodes.action()), (6, &all(6, -1.0)[..]));
    let names = ["action[0,0]", "action[0,1]", "action[0,2]", "action[1,0]", "action[1,1]", "action[1,2]"];
    assert_eq!(episodes.action_names().expect("names"), names);
}
