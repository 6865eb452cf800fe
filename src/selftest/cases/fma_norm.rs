//! Cases of `fma_norm`: a sum and its norm merged from their commands, dense and broadcast operands, without and with scale and shift.

use super::norm::{EPS, statistics};
use super::{OPERANDS, Operand, ROWS, at, id, operand, output};
use crate::kernel::case::Case;
use crate::kernel::norm::NormKind;
use crate::kernel::{Target, fma, fma_norm, norm};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, shape) in ROWS.into_iter().enumerate() {
        for k in 0..OPERANDS.len() {
            for norm in [NormKind::Layer, NormKind::Rms] {
                out.extend(case(shape, k, norm, (n + k) % 3));
            }
        }
    }
    out
}

fn case([rows, cols]: [usize; 2], k: usize, kind: NormKind, affine: usize) -> Option<Case> {
    let shape = [rows, cols];
    // The residual is dense, so that no row of the sum is all cancellation.
    let (x, xv) = operand(OPERANDS[k], shape, 1);
    let (s, sv) = operand(OPERANDS[(k + 1) % 6], shape, 2);
    let (r, rv) = operand(Operand::Dense, shape, 3);
    let (w, wv) = operand(OPERANDS[(k + 2) % 6], shape, 4);
    let (b, bv) = operand(OPERANDS[(k + 5) % 6], shape, 5);
    let sum = |i: usize, j: usize| at(&x, &xv, i, j) * at(&s, &sv, i, j) + at(&r, &rv, i, j);
    let (uv, want_u) = output(shape, k, sum);
    let of_rows: Vec<_> = (0..rows).map(|i| statistics(kind, cols, |j| sum(i, j))).collect();
    let (yv, want_y) = output(shape, k + 1, |i, j| {
        let (mean, rstd) = of_rows[i];
        let y = (sum(i, j) - mean) * rstd;
        let y = if affine > 0 { y * at(&w, &wv, i, j) } else { y };
        if affine > 1 { y + at(&b, &bv, i, j) } else { y }
    });
    let [x_id, s_id, r_id, w_id, b_id, u_id, y_id] = [0, 1, 2, 3, 4, 5, 6].map(id);
    let first = fma::command(shape, (x_id, xv), (s_id, sv), (r_id, rv), (u_id, uv));
    let parts = (affine > 0).then_some(((w_id, wv), (affine > 1).then_some((b_id, bv))));
    let after = norm::command(kind, EPS, shape, (u_id, uv), parts, (y_id, yv), x_id);
    Some(Case {
        label: format!("fma_norm {kind:?} {rows}x{cols} {k} affine {affine}"),
        command: fma_norm::merged(&first, &after)?,
        buffers: vec![x, s, r, w, b, vec![0.0; want_u.len()], vec![0.0; want_y.len()]],
        expect: vec![(5, want_u), (6, want_y)],
        exact: false,
        tolerance: 1e-5,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    #[test]
    fn every_case_merges() {
        let target = Target::of(&crate::device::Device::Cpu(Cpu::with_threads(1).unwrap()));
        assert_eq!(cases(&target).len(), ROWS.len() * OPERANDS.len() * 2);
    }
}
