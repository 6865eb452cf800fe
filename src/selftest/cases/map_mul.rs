//! Cases of `map_mul`: every activation and order, the factor dense, broadcast and repeated.

use super::{OPERANDS, SIZES, at, id, operand, oracle, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::map_mul::command;
use crate::kernel::math::Activation;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &act in Activation::ALL {
        for order in 0..3 {
            for (s, &rows) in SIZES.iter().enumerate() {
                let shape = [rows, SIZES[(s + 3) % 5]];
                let kinds = [OPERANDS[(s + order as usize) % OPERANDS.len()], OPERANDS[s % OPERANDS.len()]];
                let (mut x, xv) = operand(kinds[0], shape, 1);
                x.iter_mut().for_each(|v| *v = oracle::into_domain(act, *v * 2.5));
                let (g, gv) = operand(kinds[1], shape, 2);
                let (yv, want) = output(shape, s, |i, j| {
                    oracle::activation(act, order, at(&x, &xv, i, j)) * at(&g, &gv, i, j)
                });
                out.push(Case {
                    label: format!("map_mul {act:?} order {order} {}x{} {kinds:?}", shape[0], shape[1]),
                    command: command(act, order, shape, (id(0), xv), (id(1), gv), (id(2), yv)),
                    buffers: vec![x, g, vec![0.0; want.len()]],
                    expect: vec![(2, want)],
                    exact: false,
                    tolerance: 1e-5,
                });
            }
        }
    }
    out
}
