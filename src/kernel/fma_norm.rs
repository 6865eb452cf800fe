//! `fma_norm`: a gated sum and the norm of its rows in one pass (a transformer's residual, and the norm of the block that follows).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::parallel::{for_each, rows_per_task};
use super::rowwise::{Row, forms, tile, tile_agrees};
use super::{Arg, Command, Kernel, TwinCx, Variant, View, fma, norm, variant};
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
    flags: u32,
    eps: f32,
    pad: [u32; 3],
    x: View,
    s: View,
    r: View,
    w: View,
    b: View,
    u: View,
    y: View,
}

const VARIANTS: [&Variant; 3] =
    [&variant::fma_norm::THIN, &variant::fma_norm::NARROW, &variant::fma_norm::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "fma_norm",
    access: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Write,
        Access::Write,
    ],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// One command for a sum u = x s + r and the norm of u's rows, y, given the commands of both; none if they are not that, or write
/// where they read.
pub fn merged(sum: &Command, after: &Command) -> Option<Command> {
    let after = norm::Call::of(after)?;
    let [rows, cols] = after.size;
    let sum = fma::Call::of(sum)?.spread(cols)?;
    let fma::Call { x, s, b: r, y: u, .. } = sum;
    let rows_of_u = |v: View| rows == 1 || v.row_stride == after.x.1.row_stride;
    let same = sum.size == [rows, cols]
        && u.0 == after.x.0
        && u.1.offset == after.x.1.offset
        && u.1.plain_rows()
        && after.x.1.plain_rows()
        && rows_of_u(u.1);
    let (w, b) = (after.scale.unwrap_or(x), after.shift.unwrap_or(x));
    let y = after.y;
    let apart = [x.0, s.0, r.0, w.0, b.0].iter().all(|read| *read != u.0 && *read != y.0) && u.0 != y.0;
    if !same || !apart {
        return None;
    }
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        kind: after.kind as u32,
        flags: u32::from(after.scale.is_some()) | u32::from(after.shift.is_some()) << 1,
        eps: after.eps,
        pad: [0; 3],
        x: x.1,
        s: s.1,
        r: r.1,
        w: w.1,
        b: b.1,
        u: u.1,
        y: y.1,
    };
    let variant = tile(cols, VARIANTS);
    let args = [x.0, s.0, r.0, w.0, b.0, u.0, y.0];
    Some(Command::new(&KERNEL, variant, &params, &args, fold(rows, variant.constant("R"))))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, p.cols as usize];
    let there = [1, 2].map(|flag| p.flags & flag != 0);
    let each = 2 + norm::operations(p.kind) + there.iter().filter(|t| **t).count();
    let mut cost = Cost::new(each * shape[0] * shape[1]);
    for (binding, view) in [&p.x, &p.s, &p.r].into_iter().enumerate() {
        cost = cost.reads(binding, Span::view(view, shape));
    }
    let cost = cost.reads_if(there[0], 3, Span::view(&p.w, shape));
    let cost = cost.reads_if(there[1], 4, Span::view(&p.b, shape));
    cost.writes(5, Span::view(&p.u, shape)).writes(6, Span::view(&p.y, shape))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, s, r, w, b, u, y] = args else { unreachable!("fma_norm has seven bindings") };
    let (x, s, r, w, b) = (x.read(), s.read(), r.read(), w.read(), b.read());
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let (u, y) = (&mut u.write()[p.u.offset as usize..], &mut y.write()[p.y.offset as usize..]);
    let [has_w, has_b] = [1, 2].map(|flag| p.flags & flag != 0);
    // A single row's distance from the next says nothing.
    let [u_stride, y_stride] = [p.u, p.y].map(|v| (v.row_stride as usize).max(cols).max(1));
    let each = rows_per_task(cx, rows, 4 * rows * (cols + 8));
    let parts = u.chunks_mut(each * u_stride).zip(y.chunks_mut(each * y_stride)).take(rows.div_ceil(each));
    for_each(cx, parts, |part, (u, y)| {
        let of = part * each..rows.min((part + 1) * each);
        for ((i, u), y) in of.zip(u.chunks_mut(u_stride)).zip(y.chunks_mut(y_stride)) {
            let (u, y) = (&mut u[..cols], &mut y[..cols]);
            let row = |data, view| Row::of(data, view, i, 0, cols);
            sum(row(x, &p.x), row(s, &p.s), row(r, &p.r), u);
            // Empty vectors do not allocate: they are used for operands with one element per row only.
            let (mut spread_w, mut spread_b) = (Vec::new(), Vec::new());
            let w = has_w.then(|| row(w, &p.w).slice(cols, &mut spread_w));
            let b = has_b.then(|| row(b, &p.b).slice(cols, &mut spread_b));
            norm::line(p.kind, p.eps, u, w, b, y);
        }
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn sum(x: Row<'_>, s: Row<'_>, r: Row<'_>, u: &mut [f32]) {
    let n = u.len();
    forms!(x, n, forms!(s, n, forms!(r, n, (0..n).for_each(|j| u[j] = x(j) * s(j) + r(j)))))
}
