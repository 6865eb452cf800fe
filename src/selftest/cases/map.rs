//! Cases of `map`: every activation and order over the range where it bends.

use super::{OPERANDS, SIZES, at, id, operand, oracle, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::map::command;
use crate::kernel::math::Activation;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &act in Activation::ALL {
        for order in 0..3 {
            for (s, &rows) in SIZES.iter().enumerate() {
                let shape = [rows, SIZES[(s + 2) % 5]];
                let kind = OPERANDS[(s + order as usize) % OPERANDS.len()];
                let (mut x, xv) = operand(kind, shape, 1);
                x.iter_mut().for_each(|v| *v = oracle::into_domain(act, *v * 2.5));
                let (yv, want) = output(shape, s, |i, j| oracle::activation(act, order, at(&x, &xv, i, j)));
                out.push(Case {
                    label: format!("map {act:?} order {order} {}x{} {kind:?}", shape[0], shape[1]),
                    command: command(act, order, shape, (id(0), xv), (id(1), yv)),
                    buffers: vec![x, vec![0.0; want.len()]],
                    expect: vec![(1, want)],
                    exact: false,
                    tolerance: 1e-5,
                });
            }
        }
    }
    out
}
