//! Cases of `gather`: every row of the table, repeated ones, one column and many.

use super::{SIZES, id, values};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::gather::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for [entries, cols] in [[1, 1], [7, 3], [100, 2], [33, 65]] {
            let index: Vec<u32> = (0..rows as u32).map(|r| (r * 13 + 5) % entries as u32).collect();
            let table = values(entries * cols, 3);
            let want = index
                .iter()
                .flat_map(|i| table[*i as usize * cols..][..cols].iter().map(|v| f64::from(*v)))
                .collect();
            out.push(Case {
                label: format!("gather {rows} of {entries}x{cols}"),
                command: command([rows, cols], id(0), id(1), id(2)),
                buffers: vec![
                    index.iter().map(|i| f32::from_bits(*i)).collect(),
                    table,
                    vec![0.0; rows * cols],
                ],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-7,
            });
        }
    }
    out
}
