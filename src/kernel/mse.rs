//! `mse`: the scaled sum of squared differences (the loss as a number).

use super::call::params;
use super::cost::{Cost, Span};
use super::rowwise::{Row, collapse, sum2};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
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
    a: View,
    b: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "mse",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::mse::FLAT, &variant::mse::VIEW],
    twin,
    cost,
};
const _: () = assert!(variant::mse::FLAT.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::mse::FLAT.workgroup[0] == 256 && variant::mse::VIEW.workgroup[0] == 256);

/// `y[0]` = scale * sum of (a - b)^2; a and b are [rows, cols], y is a single element (the offset of its view).
pub fn command(
    scale: f32,
    shape: [usize; 2],
    (a, mut a_view): (BufferId, View),
    (b, mut b_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let [rows, cols] = collapse(shape, &mut [&mut a_view, &mut b_view]);
    let variant = if rows == 1 { &variant::mse::FLAT } else { &variant::mse::VIEW };
    let params =
        Params { rows: rows as u32, cols: cols as u32, scale, pad: 0, a: a_view, b: b_view, y: y_view };
    Command::new(&KERNEL, variant, &params, &[a, b, y], [1, 1, 1])
}

/// Elements that one hand-off to another thread sums: fixed, so that the order does not depend on the threads.
const PIECE: usize = 1 << 14;

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, p.cols as usize];
    let cost = Cost::new(3 * shape[0] * shape[1]).reads(0, Span::view(&p.a, shape));
    cost.reads(1, Span::view(&p.b, shape)).writes(2, Span::dense(p.y.offset, 1))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, y] = args else { unreachable!("mse has three bindings") };
    let (a, b) = (a.read(), b.read());
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let y = &mut y.write()[p.y.offset as usize];
    let row =
        |i: usize, from: usize, n: usize| line(Row::of(a, &p.a, i, from, n), Row::of(b, &p.b, i, from, n), n);
    // A piece is some columns of one row or some rows: (pieces, what the k-th sums).
    let total: f64 = if rows == 1 {
        in_pieces(cx, cols, 1, |from, n| f64::from(row(0, from, n)))
    } else {
        in_pieces(cx, rows, cols, |first, n| (first..first + n).map(|i| f64::from(row(i, 0, cols))).sum())
    };
    *y = (f64::from(p.scale) * total) as f32;
}

/// The sum of `f(first, n)` over pieces of `count` items that cost `each`.
fn in_pieces(cx: &TwinCx<'_>, count: usize, each: usize, f: impl Fn(usize, usize) -> f64 + Sync) -> f64 {
    let per_piece = (PIECE / each.max(1)).max(1);
    let pieces = count.div_ceil(per_piece);
    let piece = |k: usize| f(k * per_piece, per_piece.min(count - k * per_piece)) as f32;
    if pieces <= 1 {
        return if count == 0 { 0.0 } else { f64::from(piece(0)) };
    }
    let mut sums = vec![0.0f32; pieces];
    cx.rows(&mut sums, 1, pieces, count * each, |first, sums| {
        sums.iter_mut().enumerate().for_each(|(k, s)| *s = piece(first + k));
    });
    sums.iter().map(|s| f64::from(*s)).sum()
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(a: Row<'_>, b: Row<'_>, n: usize) -> f32 {
    let (mut spread_a, mut spread_b) = (Vec::new(), Vec::new());
    sum2(a.slice(n, &mut spread_a), b.slice(n, &mut spread_b), |a, b| (a - b) * (a - b))
}
