//! Cases of `col_sum`: one group and several, short and long, every tile.

use super::{OPERANDS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::col_sum::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [groups, per_group, cols] in [
        [1, 1, 1],
        [1, 7, 33],
        [1, 65, 7],
        [1, 256, 65],
        [1, 1031, 31],
        [3, 65, 129],
        [31, 7, 33],
        [33, 3, 65],
        [65, 31, 33],
        [70, 100, 40],
        [7, 64, 1],
        [5, 257, 300],
    ] {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            let (x, xv) = operand(kind, [groups * per_group, cols], 1);
            let (yv, want) = output([groups, cols], k, |g, j| {
                -0.5 * (0..per_group).map(|r| at(&x, &xv, g * per_group + r, j)).sum::<f64>()
            });
            out.push(Case {
                label: format!("col_sum {groups}x{per_group}x{cols} {kind:?}"),
                command: command(-0.5, [groups, per_group, cols], (id(0), xv), (id(1), yv), false),
                buffers: vec![x, vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 1e-5,
            });
        }
    }
    out
}
