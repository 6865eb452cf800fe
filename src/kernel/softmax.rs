//! `softmax`: every row turned into probabilities.

use super::call::{fold, params};
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
        *y = exp_negative(*x - top);
    }
    let scale = 1.0 / sum(y, |v| v);
    for y in y {
        *y *= scale;
    }
}

/// exp(v) for v <= 0 to 2 units in the last place, without branches so that loops over it vectorise; 0 below the
/// smallest normal number; NaN stays NaN.
#[inline(always)]
fn exp_negative(v: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which is left in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let low = v < -87.0;
    let v = if low { -87.0 } else { v };
    let shifted = v * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (v - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut e = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        e = e * r + c;
    }
    let e = e * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if low { 0.0 } else { e * power }
}
