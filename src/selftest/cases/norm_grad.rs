//! Cases of `norm_grad`: both kinds against the closed form in f64.

use super::norm::{EPS, statistics};
use super::{OPERANDS, ROWS, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::norm::NormKind;
use crate::kernel::norm_grad::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (k, kind) in OPERANDS.into_iter().enumerate() {
            // A row of equal elements has a gradient that is all cancellation for the layer norm.
            let flat = cols < 3 || kind == super::Operand::Column || kind == super::Operand::Single;
            for norm in [NormKind::Layer, NormKind::Rms] {
                let (mut x, xv) = operand(kind, [rows, cols], 1);
                x.iter_mut().for_each(|v| *v += 0.5);
                let (d, dv) = operand(OPERANDS[(k + rows) % OPERANDS.len()], [rows, cols], 2);
                let of_rows: Vec<_> = (0..rows)
                    .map(|i| {
                        let n = cols as f64;
                        let (mean, rstd) = statistics(norm, cols, |j| at(&x, &xv, i, j));
                        let hat = |j: usize| (at(&x, &xv, i, j) - mean) * rstd;
                        let dot = (0..cols).map(|j| at(&d, &dv, i, j) * hat(j)).sum::<f64>() / n;
                        let d_mean = (0..cols).map(|j| at(&d, &dv, i, j)).sum::<f64>() / n;
                        let d_mean = if norm == NormKind::Layer { d_mean } else { 0.0 };
                        [mean, rstd, dot, d_mean]
                    })
                    .collect();
                let (yv, want) = output([rows, cols], k, |i, j| {
                    let [mean, rstd, dot, d_mean] = of_rows[i];
                    rstd * (at(&d, &dv, i, j) - d_mean - (at(&x, &xv, i, j) - mean) * rstd * dot)
                });
                let size = want.iter().filter(|v| !v.is_nan()).map(|v| v * v).sum::<f64>().sqrt();
                if flat || size < 1e-2 {
                    continue;
                }
                out.push(Case {
                    label: format!("norm_grad {norm:?} {rows}x{cols} {kind:?}"),
                    command: command(norm, EPS, [rows, cols], (id(0), xv), (id(1), dv), (id(2), yv)),
                    buffers: vec![x, d, vec![0.0; want.len()]],
                    expect: vec![(2, want)],
                    exact: false,
                    tolerance: 1e-5,
                });
            }
        }
    }
    out
}
