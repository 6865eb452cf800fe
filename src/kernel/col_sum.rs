//! `col_sum`: the sum of the rows of every group of rows (bias gradients, gradients of repeated rows).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::{Row, each_row};
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    groups: u32,
    per_group: u32,
    cols: u32,
    scale: f32,
    x: View,
    y: View,
}

const VARIANTS: [&Variant; 3] = [&variant::col_sum::FLAT, &variant::col_sum::WIDE, &variant::col_sum::TALL];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "col_sum",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const fn agrees(v: &Variant) -> bool {
    v.params_bytes as usize == size_of::<Params>() && v.workgroup[0] == v.constant("C") * v.constant("L")
}
const _: () = assert!(agrees(VARIANTS[0]) && agrees(VARIANTS[1]) && agrees(VARIANTS[2]));

/// y[g, j] = scale * sum over r of x[g * per_group + r, j]; x is [groups * per_group, cols], y is [groups, cols].
/// On a `software` adapter lanes that meet at barriers cost more than they gain.
pub fn command(
    scale: f32,
    [groups, per_group, cols]: [usize; 3],
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
    software: bool,
) -> Command {
    let params = Params {
        groups: groups as u32,
        per_group: per_group as u32,
        cols: cols as u32,
        scale,
        x: x_view,
        y: y_view,
    };
    // Fewer workgroups than this leave much of a large device idle.
    const BUSY: usize = 64;
    let variant = if per_group < 8 || software {
        VARIANTS[0]
    } else if groups * cols.div_ceil(32) >= BUSY || per_group < 64 {
        VARIANTS[1]
    } else {
        VARIANTS[2]
    };
    let tiles = cols.div_ceil(variant.constant("C") as usize);
    Command::new(&KERNEL, variant, &params, &[x, y], fold(groups * tiles, 1))
}

/// A sum's command, read back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Factor.
    pub scale: f32,
    /// Groups, rows of each, columns.
    pub size: [usize; 3],
    /// What is summed.
    pub x: (BufferId, View),
    /// The sums.
    pub y: (BufferId, View),
}

impl Call {
    /// What `command` computes, if it is a sum of rows.
    pub fn of(command: &Command) -> Option<Call> {
        if !std::ptr::eq(command.kernel, &KERNEL) {
            return None;
        }
        let p: &Params = params(&command.params);
        let [x, y] = command.args[..] else { return None };
        let size = [p.groups, p.per_group, p.cols].map(|n| n as usize);
        Some(Call { scale: p.scale, size, x: (x, p.x), y: (y, p.y) })
    }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (groups, cols) = (p.groups as usize, p.cols as usize);
    let rows = groups * p.per_group as usize;
    let cost = Cost::new(rows * cols + groups * cols).reads(0, Span::view(&p.x, [rows, cols]));
    cost.writes(1, Span::view(&p.y, [groups, cols]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("col_sum has two bindings") };
    let (x, y) = (x.read(), y.write());
    let (groups, count, cols) = (p.groups as usize, p.per_group as usize, p.cols as usize);
    each_row(cx, y, &p.y, [groups, cols], groups * count * cols, |g, from, y| {
        sum_rows(x, &p.x, g * count..(g + 1) * count, from, y);
        y.iter_mut().for_each(|v| *v *= p.scale);
    });
}

/// Columns summed at a time, and rows summed in one go before they join the total.
const TILE: usize = 128;
const BLOCK: usize = 64;

/// y = the sum of rows `rows` of x, columns from `from` on.
#[multiversion(targets("x86_64+avx2+fma"))]
fn sum_rows(x: &[f32], view: &View, rows: std::ops::Range<usize>, from: usize, y: &mut [f32]) {
    for (t, y) in y.chunks_mut(TILE).enumerate() {
        let n = y.len();
        y.fill(0.0);
        let mut first = rows.start;
        while first < rows.end {
            let last = rows.end.min(first + BLOCK);
            let mut sums = [0.0f32; TILE];
            for i in first..last {
                match Row::of(x, view, i, from + t * TILE, n) {
                    Row::Each(x) => sums.iter_mut().zip(x).for_each(|(s, x)| *s += x),
                    Row::One(v) => sums.iter_mut().for_each(|s| *s += v),
                }
            }
            y.iter_mut().zip(&sums).for_each(|(y, s)| *y += s);
            first = last;
        }
    }
}
