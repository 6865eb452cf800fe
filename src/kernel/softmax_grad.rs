//! `softmax_grad`: the product of softmax's Jacobian with a matrix, row by row.

use super::call::{fold, params};
use super::cost::Cost;
use super::rowwise::{Row, sum2, tile, tile_agrees, whole_rows};
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    pad: [u32; 2],
    q: View,
    d: View,
    y: View,
}

const VARIANTS: [&Variant; 3] =
    [&variant::softmax_grad::THIN, &variant::softmax_grad::NARROW, &variant::softmax_grad::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "softmax_grad",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y = p * (d - sum over j of p d) with p = softmax(x): the gradient for x of d's product with p, and, the Jacobian
/// being symmetric, the tangent of p for the tangent d of x. All are [rows, cols].
pub fn command(
    [rows, cols]: [usize; 2],
    (p, p_view): (BufferId, View),
    (d, d_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params =
        Params { rows: rows as u32, cols: cols as u32, pad: [0; 2], q: p_view, d: d_view, y: y_view };
    let variant = tile(cols, VARIANTS);
    Command::new(&KERNEL, variant, &params, &[p, d, y], fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(4, [p.rows as usize, p.cols as usize], &[&p.q, &p.d], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [q, d, y] = args else { unreachable!("softmax_grad has three bindings") };
    let (q, d, y) = (q.read(), d.read(), &mut y.write()[p.y.offset as usize..]);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    whole_rows(cx, y, p.y.row_stride as usize, [rows, cols], 2 * rows * (cols + 8), |i, y| {
        let (mut spread_q, mut spread_d) = (Vec::new(), Vec::new());
        let q = Row::of(q, &p.q, i, 0, y.len()).slice(y.len(), &mut spread_q);
        line(q, Row::of(d, &p.d, i, 0, y.len()).slice(y.len(), &mut spread_d), y);
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(q: &[f32], d: &[f32], y: &mut [f32]) {
    let inner = sum2(q, d, |q, d| q * d);
    for (y, (q, d)) in y.iter_mut().zip(q.iter().zip(d)) {
        *y = q * (d - inner);
    }
}
