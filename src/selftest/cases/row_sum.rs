//! Cases of `row_sum`: every tile, dense, broadcast and repeated rows.

use super::{OPERANDS, ROWS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::row_sum::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            let (x, xv) = operand(kind, [rows, cols], 1);
            let (yv, want) =
                output([rows, 1], k, |i, _| 0.25 * (0..cols).map(|j| at(&x, &xv, i, j)).sum::<f64>());
            out.push(Case {
                label: format!("row_sum {rows}x{cols} {kind:?}"),
                command: command(0.25, [rows, cols], (id(0), xv), (id(1), yv)),
                buffers: vec![x, vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 1e-5,
            });
        }
    }
    out
}
