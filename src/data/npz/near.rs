//! Arrays whose names look like misspelt ones.

use super::archive::Archive;
use super::{INPUT_DIMS, INPUT_NAMES, SUCCESS};
use crate::data::spec::{Columns, DataSpec};

impl Archive<'_> {
    /// Arrays that are not read and whose names look like misspelt names of arrays that would be.
    pub fn near_misses(&self, columns: &Columns, spec: &DataSpec) -> Vec<String> {
        let known = [SUCCESS, "fps", "obs_names", "action_names", INPUT_NAMES, INPUT_DIMS];
        let read = |name: &str| {
            known.contains(&name)
                || columns.names().iter().any(|c| c == name)
                || [Some(&spec.action), Some(&spec.episode_len), spec.episode_success.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|n| n == name)
        };
        let names: Vec<String> = self.npz.array_names().map(str::to_string).collect();
        let near = |name: &String| {
            let small = name.to_lowercase();
            // A short name is near to many.
            let most = |known: &str| if known.len() > 4 { 2 } else { 0 };
            known.into_iter().find(|k| edits(&small, k) <= most(k) && !names.iter().any(|n| n == k))
        };
        let all = names.iter().filter(|name| name.len() < 64 && !read(name));
        let line = |(name, known)| format!("the array {name:?} is not read; did you mean {known:?}?");
        all.filter_map(|name| near(name).map(|known| line((name, known)))).take(8).collect()
    }
}

/// How many letters must be put in, taken out or changed to make one text of the other (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
