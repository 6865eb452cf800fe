//! `softmax`: every row turned into probabilities.

use super::call::{fold, params};
use super::cost::Cost;
use super::math::exp_neg;
use super::rowwise::{Row, largest, sum, tile, tile_agrees, whole_rows};
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
    x: View,
    y: View,
}

const VARIANTS: [&Variant; 3] = [&variant::softmax::THIN, &variant::softmax::NARROW, &variant::softmax::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "softmax",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y[i, :] = softmax(x[i, :]); x and y are [rows, cols].
pub fn command(
    [rows, cols]: [usize; 2],
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32, pad: [0; 2], x: x_view, y: y_view };
    let variant = tile(cols, VARIANTS);
    Command::new(&KERNEL, variant, &params, &[x, y], fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(4, [p.rows as usize, p.cols as usize], &[&p.x], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("softmax has two bindings") };
    let (x, y) = (x.read(), &mut y.write()[p.y.offset as usize..]);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    whole_rows(cx, y, p.y.row_stride as usize, [rows, cols], 4 * rows * (cols + 8), |i, y| {
        match Row::of(x, &p.x, i, 0, y.len()) {
            Row::Each(x) => line(x, y),
            Row::One(_) => y.fill(1.0 / cols as f32),
        }
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(x: &[f32], y: &mut [f32]) {
    let top = largest(x);
    for (y, x) in y.iter_mut().zip(x) {
        *y = exp_neg(top - *x);
    }
    let scale = 1.0 / sum(y, |v| v);
    for y in y {
        *y *= scale;
    }
}
