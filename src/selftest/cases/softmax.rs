//! Cases of `softmax`: every tile; logits around 0, far from 0 and far apart.

use super::{OPERANDS, ROWS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::softmax::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            for (scale, shift) in [(1.0, 0.0), (4.0, -60.0), (40.0, 100.0)] {
                let (mut x, xv) = operand(kind, [rows, cols], 1);
                x.iter_mut().for_each(|v| *v = *v * scale + shift);
                let of_rows: Vec<(f64, f64)> = (0..rows)
                    .map(|i| {
                        let top = (0..cols).map(|j| at(&x, &xv, i, j)).fold(f64::NEG_INFINITY, f64::max);
                        (top, (0..cols).map(|j| (at(&x, &xv, i, j) - top).exp()).sum())
                    })
                    .collect();
                let (yv, want) = output([rows, cols], k, |i, j| {
                    let (top, sum) = of_rows[i];
                    (at(&x, &xv, i, j) - top).exp() / sum
                });
                out.push(Case {
                    label: format!("softmax {rows}x{cols} {kind:?} x {scale} + {shift}"),
                    command: command([rows, cols], (id(0), xv), (id(1), yv)),
                    buffers: vec![x, vec![0.0; want.len()]],
                    expect: vec![(1, want)],
                    exact: false,
                    tolerance: 1e-5,
                });
            }
        }
    }
    out
}
