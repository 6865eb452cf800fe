//! Cases of `mse`, up to a million terms.

use super::{OPERANDS, at, id, operand};
use crate::kernel::case::Case;
use crate::kernel::mse::command;
use crate::kernel::{Target, View};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    let shapes = [[1, 1], [7, 31], [33, 65], [65, 1], [257, 64], [300, 130], [4096, 244]];
    for shape in shapes {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            let [rows, cols] = shape;
            if rows * cols > 100_000 && k > 1 {
                continue;
            }
            let (a, av) = operand(kind, shape, 1);
            let (b, bv) = operand(OPERANDS[(k + rows) % OPERANDS.len()], shape, 2);
            let scale = 1.0 / (rows * cols) as f32;
            let sum: f64 = (0..rows * cols)
                .map(|e| (at(&a, &av, e / cols, e % cols) - at(&b, &bv, e / cols, e % cols)).powi(2))
                .sum();
            let mut want = vec![f64::NAN; 5];
            want[3] = f64::from(scale) * sum;
            out.push(Case {
                label: format!("mse {rows}x{cols} {kind:?}"),
                command: command(scale, shape, (id(0), av), (id(1), bv), (id(2), View::dense(3, 1))),
                buffers: vec![a, b, vec![0.0; 5]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
