//! Cases of `sinkhorn`: every tile; plans from nearly uniform to nearly a permutation.

use super::{ROWS, id, values};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::sinkhorn::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (scale, spread) in [(0.1, 1.0), (3.0, 1.0), (60.0, 20.0)] {
            let cost: Vec<f32> = values(rows * cols, 1).iter().map(|c| 2.0 * c * c).collect();
            let v: Vec<f32> = values(cols, 2).iter().map(|v| spread * v).collect();
            let shift = -(rows as f32).ln();
            let term =
                |i: usize, j: usize| f64::from(v[j]) - f64::from(scale) * f64::from(cost[i * cols + j]);
            let mut want: Vec<f64> = (0..rows)
                .map(|i| {
                    let top = (0..cols).map(|j| term(i, j)).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = (0..cols).map(|j| (term(i, j) - top).exp()).sum();
                    f64::from(shift) - top - sum.ln()
                })
                .collect();
            want.push(f64::NAN);
            out.push(Case {
                label: format!("sinkhorn {rows}x{cols} scale {scale}"),
                command: command([rows, cols], scale, shift, id(0), id(1), id(2)),
                buffers: vec![cost, v, vec![0.0; rows + 1]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
