//! Cases of `norm`: both kinds, without and with weight and bias, rows far from zero mean.

use super::{OPERANDS, Operand, ROWS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::norm::{NormKind, command};

/// Mean and reciprocal deviation of a row of `cols` elements, in f64.
pub(super) fn statistics(kind: NormKind, cols: usize, row: impl Fn(usize) -> f64) -> (f64, f64) {
    let row: Vec<f64> = (0..cols).map(row).collect();
    let n = cols as f64;
    let mean = if kind == NormKind::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
    let square = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, 1.0 / (square + f64::from(EPS)).sqrt())
}

/// The eps of the cases.
pub(super) const EPS: f32 = 1e-5;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            // Rows of equal elements are all cancellation for the layer norm.
            let equal = matches!(kind, Operand::Column | Operand::Single);
            for norm in if equal { &[NormKind::Rms][..] } else { &[NormKind::Layer, NormKind::Rms] } {
                let norm = *norm;
                for affine in 0..4 {
                    let (mut x, xv) = operand(kind, [rows, cols], 1);
                    x.iter_mut().for_each(|v| *v += 1.5);
                    // One row of weights for all, then operands of every kind.
                    let kinds = if affine < 3 {
                        [Operand::Row; 2]
                    } else {
                        [OPERANDS[(k + 2) % 6], OPERANDS[(k + 5) % 6]]
                    };
                    let (w, wv) = operand(kinds[0], [rows, cols], 2);
                    let (b, bv) = operand(kinds[1], [rows, cols], 3);
                    let of_rows: Vec<_> =
                        (0..rows).map(|i| statistics(norm, cols, |j| at(&x, &xv, i, j))).collect();
                    let (yv, want) = output([rows, cols], k, |i, j| {
                        let (mean, rstd) = of_rows[i];
                        let y = (at(&x, &xv, i, j) - mean) * rstd;
                        let y = if affine > 0 { y * at(&w, &wv, i, j) } else { y };
                        if affine > 1 { y + at(&b, &bv, i, j) } else { y }
                    });
                    let parts = (affine > 0).then_some(((id(1), wv), (affine > 1).then_some((id(2), bv))));
                    out.push(Case {
                        label: format!("norm {norm:?} {rows}x{cols} {kind:?} affine {affine}"),
                        command: command(norm, EPS, [rows, cols], (id(0), xv), parts, (id(3), yv), id(2)),
                        buffers: vec![x, w, b, vec![0.0; want.len()]],
                        expect: vec![(3, want)],
                        exact: false,
                        tolerance: 1e-5,
                    });
                }
            }
        }
    }
    out
}
