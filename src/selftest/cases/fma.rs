//! Cases of `fma`: dense, broadcast and repeated operands.

use super::{OPERANDS, SIZES, at, id, operand, output, spread};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::fma::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for &cols in &SIZES {
            for [kx, ks, kb] in spread(OPERANDS.len(), rows + cols) {
                let shape = [rows, cols];
                let (x, xv) = operand(OPERANDS[kx], shape, 1);
                let (s, sv) = operand(OPERANDS[ks], shape, 2);
                let (b, bv) = operand(OPERANDS[kb], shape, 3);
                let (yv, want) =
                    output(shape, kx, |i, j| at(&x, &xv, i, j) * at(&s, &sv, i, j) + at(&b, &bv, i, j));
                out.push(Case {
                    label: format!("fma {rows}x{cols} {kx}{ks}{kb}"),
                    command: command(shape, (id(0), xv), (id(1), sv), (id(2), bv), (id(3), yv)),
                    buffers: vec![x, s, b, vec![0.0; want.len()]],
                    expect: vec![(3, want)],
                    exact: false,
                    tolerance: 1e-6,
                });
            }
        }
    }
    out
}
