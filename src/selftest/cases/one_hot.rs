//! Cases of `one_hot`: every way that an operand can lie, ties, and rows of one element.

use super::{OPERANDS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::one_hot::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for shape @ [rows, cols] in [[1, 1], [7, 1], [1, 16], [31, 16], [33, 7], [65, 33], [130, 2]] {
        for (form, kind) in OPERANDS.into_iter().enumerate() {
            let (x, x_view) = operand(kind, shape, 1);
            let best = |i: usize| {
                (1..cols).fold(0, |b, j| if at(&x, &x_view, i, j) > at(&x, &x_view, i, b) { j } else { b })
            };
            let (y_view, want) = output(shape, form, |i, j| f64::from(u8::from(best(i) == j)));
            out.push(Case {
                label: format!("one_hot {rows}x{cols}, {kind:?}"),
                command: command(shape, (id(0), x_view), (id(1), y_view)),
                buffers: vec![x.clone(), vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 1e-7,
            });
        }
    }
    out
}
