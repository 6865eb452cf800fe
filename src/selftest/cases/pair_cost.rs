//! Cases of `pair_cost`: with and without the second pair of matrices, rows longer than the twin's blocks, equal rows.

use super::{SIZES, id, values};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::pair_cost::{PairShape, command};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (k, rows) in SIZES.into_iter().enumerate() {
        let cols = SIZES[(3 * k + 1) % SIZES.len()];
        for (dim, extra, weight) in [(1, 0, 0.0), (2, 3, 0.5), (33, 1, 8.0), (65, 7, 0.0), (131, 66, 2.0)] {
            let shape = PairShape { rows, cols, dim, extra, weight };
            let (a, mut b) = (values(rows * dim, 1), values(cols * dim, 2));
            let (c, mut d) = (values(rows * extra, 3), values(cols * extra, 4));
            // The last column is the first row: a cost of exactly 0.
            b[(cols - 1) * dim..].copy_from_slice(&a[..dim]);
            d[(cols - 1) * extra..].copy_from_slice(&c[..extra]);
            let square = |a: &[f32], b: &[f32], i: usize, j: usize, n: usize| -> f64 {
                (0..n).map(|k| (f64::from(a[i * n + k]) - f64::from(b[j * n + k])).powi(2)).sum()
            };
            let mut want: Vec<f64> = (0..rows * cols)
                .map(|e| {
                    let (i, j) = (e / cols, e % cols);
                    square(&a, &b, i, j, dim) + f64::from(weight) * square(&c, &d, i, j, extra)
                })
                .collect();
            want.push(f64::NAN);
            out.push(Case {
                label: format!("pair_cost {rows}x{cols} of {dim} and {extra}"),
                command: command(&shape, [id(0), id(1)], [id(2), id(3)], id(4)),
                // A buffer of no elements cannot be bound.
                buffers: vec![
                    a,
                    b,
                    [c, vec![0.0; 4]].concat(),
                    [d, vec![0.0; 4]].concat(),
                    vec![0.0; rows * cols + 1],
                ],
                expect: vec![(4, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
