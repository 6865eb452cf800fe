//! `norm_grad`: the product of a normalisation's Jacobian with a matrix, row by row.

use super::call::{fold, params};
use super::cost::Cost;
use super::norm::{NormKind, statistics};
use super::rowwise::{Row, sum, sum2, tile, tile_agrees, whole_rows};
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
    kind: u32,
    eps: f32,
    x: View,
    d: View,
    y: View,
}

const VARIANTS: [&Variant; 3] =
    [&variant::norm_grad::THIN, &variant::norm_grad::NARROW, &variant::norm_grad::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "norm_grad",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y = J(x) d row by row, where J is the Jacobian of xhat (see [`NormKind`]) for x, symmetric: d = dL/dxhat gives
/// y = dL/dx, and a tangent d of x gives the tangent y of xhat. All are [rows, cols].
pub fn command(
    kind: NormKind,
    eps: f32,
    [rows, cols]: [usize; 2],
    (x, x_view): (BufferId, View),
    (d, d_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        kind: kind as u32,
        eps,
        x: x_view,
        d: d_view,
        y: y_view,
    };
    let variant = tile(cols, VARIANTS);
    Command::new(&KERNEL, variant, &params, &[x, d, y], fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let each = if p.kind == NormKind::Layer as u32 { 12 } else { 9 };
    Cost::elementwise(each, [p.rows as usize, p.cols as usize], &[&p.x, &p.d], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, d, y] = args else { unreachable!("norm_grad has three bindings") };
    let (x, d, y) = (x.read(), d.read(), &mut y.write()[p.y.offset as usize..]);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    whole_rows(cx, y, p.y.row_stride as usize, [rows, cols], 5 * rows * (cols + 8), |i, y| {
        let (mut spread_x, mut spread_d) = (Vec::new(), Vec::new());
        let x = Row::of(x, &p.x, i, 0, y.len()).slice(y.len(), &mut spread_x);
        line(p.kind, p.eps, x, Row::of(d, &p.d, i, 0, y.len()).slice(y.len(), &mut spread_d), y);
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(kind: u32, eps: f32, x: &[f32], d: &[f32], y: &mut [f32]) {
    let (mean, rstd) = statistics(kind, eps, x);
    let share = 1.0 / x.len() as f32;
    let d_mean = if kind == NormKind::Layer as u32 { sum(d, |v| v) * share } else { 0.0 };
    let slope = sum2(x, d, |x, d| (x - mean) * rstd * d) * share;
    for (y, (x, d)) in y.iter_mut().zip(x.iter().zip(d)) {
        *y = rstd * (d - d_mean - (x - mean) * rstd * slope);
    }
}
