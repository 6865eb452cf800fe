//! `row_sum`: the sum of every row.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::{Row, sum, tile, tile_agrees, whole_rows};
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
    scale: f32,
    pad: u32,
    x: View,
    y: View,
}

const VARIANTS: [&Variant; 3] = [&variant::row_sum::THIN, &variant::row_sum::NARROW, &variant::row_sum::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "row_sum",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y[i, 0] = scale * sum over j of x[i, j]; x is [rows, cols], y is [rows, 1].
pub fn command(
    scale: f32,
    [rows, cols]: [usize; 2],
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32, scale, pad: 0, x: x_view, y: y_view };
    let variant = tile(cols, VARIANTS);
    Command::new(&KERNEL, variant, &params, &[x, y], fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, p.cols as usize];
    let cost = Cost::new(shape[0] * shape[1]).reads(0, Span::view(&p.x, shape));
    cost.writes(1, Span::view(&p.y, [shape[0], 1]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("row_sum has two bindings") };
    let (x, y) = (x.read(), &mut y.write()[p.y.offset as usize..]);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    whole_rows(cx, y, p.y.row_stride as usize, [rows, 1], rows * (cols + 8), |i, y| {
        y[0] = p.scale
            * match Row::of(x, &p.x, i, 0, cols) {
                Row::Each(x) => line(x),
                Row::One(v) => v * cols as f32,
            };
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(x: &[f32]) -> f32 {
    sum(x, |v| v)
}
