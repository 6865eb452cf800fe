//! Cases of `copy`: whole, into the middle, cut off at the right, from broadcast and repeated rows.

use super::{OPERANDS, SIZES, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::copy::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for &cols in &SIZES {
            for (k, kind) in OPERANDS.into_iter().enumerate() {
                for [start, len] in [[0, cols], [cols / 3, cols / 2], [cols / 2, cols], [cols, 3]] {
                    let shape = [rows, cols];
                    let (x, xv) = operand(kind, [rows, len.max(1)], 1);
                    let (yv, want) = output(shape, k, |i, j| {
                        if j >= start && j < start + len { at(&x, &xv, i, j - start) } else { 0.0 }
                    });
                    out.push(Case {
                        label: format!("copy {rows}x{cols} {kind:?} {start}+{len}"),
                        command: command(shape, start, len, (id(0), xv), (id(1), yv)),
                        buffers: vec![x, vec![0.0; want.len()]],
                        expect: vec![(1, want)],
                        exact: false,
                        tolerance: 0.0,
                    });
                }
            }
        }
    }
    out
}
