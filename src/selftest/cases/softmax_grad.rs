//! Cases of `softmax_grad` with any matrix for the probabilities.

use super::{OPERANDS, ROWS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::softmax_grad::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            let (mut p, pv) = operand(kind, [rows, cols], 1);
            p.iter_mut().for_each(|v| *v = v.abs() / cols as f32 * 1.3);
            let (d, dv) = operand(OPERANDS[(k + cols) % OPERANDS.len()], [rows, cols], 2);
            let (yv, want) = output([rows, cols], k, |i, j| {
                let inner: f64 = (0..cols).map(|j| at(&p, &pv, i, j) * at(&d, &dv, i, j)).sum();
                at(&p, &pv, i, j) * (at(&d, &dv, i, j) - inner)
            });
            out.push(Case {
                label: format!("softmax_grad {rows}x{cols} {kind:?}"),
                command: command([rows, cols], (id(0), pv), (id(1), dv), (id(2), yv)),
                buffers: vec![p, d, vec![0.0; want.len()]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-5,
            });
        }
    }
    out
}
