//! What the row-by-row twins share: rows of operands, the split over threads, vectorisable sums, and the choice of
//! tile for the WGSL variants that reduce along rows.

use super::{TwinCx, Variant, View};

/// One row of an operand: adjacent elements, or one element that stands for all of them.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a> {
    /// An element per column.
    Each(&'a [f32]),
    /// The same element for every column.
    One(f32),
}

impl<'a> Row<'a> {
    /// Columns `from .. from + len` of row `i`.
    #[inline(always)]
    pub(crate) fn of(buffer: &'a [f32], view: &View, i: usize, from: usize, len: usize) -> Row<'a> {
        let at = if view.row_div == 1 && view.row_mod == u32::MAX {
            view.offset as usize + i * view.row_stride as usize
        } else {
            view.row(i)
        };
        if view.col_stride == 0 {
            Row::One(buffer[at])
        } else {
            Row::Each(&buffer[at + from..at + from + len])
        }
    }

    /// The row as a slice of `len` elements; `scratch` is used only to spread a single element.
    #[inline(always)]
    pub(crate) fn slice(self, len: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        match self {
            Row::Each(s) => s,
            Row::One(v) => {
                scratch.clear();
                scratch.resize(len, v);
                scratch
            }
        }
    }
}

/// Compiles `body` once for each form of the row `v`, in which `v(j)` is column j; `n` columns.
macro_rules! forms {
    ($v:ident, $n:expr, $body:expr) => {
        match $v {
            $crate::kernel::rowwise::Row::Each($v) => {
                let $v = &$v[..$n];
                let $v = move |j: usize| $v[j];
                $body
            }
            $crate::kernel::rowwise::Row::One($v) => {
                let $v = move |_: usize| $v;
                $body
            }
        }
    };
}
pub(crate) use forms;

/// Makes one long row of `[rows, cols]` where every view allows it (dense, or one element throughout), so that
/// executors need no division per element; the shape to use.
pub(crate) fn collapse([rows, cols]: [usize; 2], views: &mut [&mut View]) -> [usize; 2] {
    let dense = |v: &View| {
        v.row_div == 1
            && v.row_mod == u32::MAX
            && v.row_stride as usize == cols
            && (v.col_stride == 1 || cols == 1)
    };
    let single = |v: &View| v.row_stride == 0 && (v.col_stride == 0 || cols == 1);
    if rows == 1 || !views.iter().all(|v| dense(v) || single(v)) {
        return [rows, cols];
    }
    for v in views {
        let col_stride = u32::from(!single(v));
        **v = View { row_stride: 0, col_stride, ..View::dense(v.offset as usize, cols) };
    }
    [1, rows * cols]
}

/// Calls `f(i, from, part)` for every row i of the output y, where `part` holds the columns of row i that start at
/// `from`: whole rows, or pieces of the row if there is only one. `cost`: scalar operations in all.
#[inline(always)]
pub(crate) fn each_row(
    cx: &TwinCx<'_>,
    y: &mut [f32],
    view: &View,
    [rows, cols]: [usize; 2],
    cost: usize,
    f: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let y = &mut y[view.offset as usize..];
    if rows == 1 {
        return cx.rows(&mut y[..cols], 1, cols, cost, |from, part| f(0, from, part));
    }
    whole_rows(cx, y, view.row_stride as usize, [rows, cols], cost, |i, row| f(i, 0, row));
}

/// As [`each_row`], never splitting a row: for reductions along rows. `y` starts at the first row.
#[inline(always)]
pub(crate) fn whole_rows(
    cx: &TwinCx<'_>,
    y: &mut [f32],
    stride: usize,
    [rows, cols]: [usize; 2],
    cost: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    if rows == 1 {
        return f(0, &mut y[..cols]);
    }
    let stride = stride.max(1);
    cx.rows(y, stride, rows, cost, |first, chunk| {
        for (k, row) in chunk.chunks_mut(stride).enumerate() {
            let n = cols.min(row.len());
            f(first + k, &mut row[..n]);
        }
    });
}

/// Partial sums kept side by side: enough to fill the vector units twice over.
const LANES: usize = 16;
/// Elements summed in f32 before they are added to the f64 total.
const BLOCK: usize = 1024;

/// Sum of f(x) in a fixed order.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut total = 0.0f64;
    for block in x.chunks(BLOCK) {
        let mut lanes = [0.0f32; LANES];
        let (whole, rest) = block.as_chunks::<LANES>();
        for c in whole {
            for (s, v) in lanes.iter_mut().zip(c) {
                *s += f(*v);
            }
        }
        for (s, v) in lanes.iter_mut().zip(rest) {
            *s += f(*v);
        }
        total += f64::from(halve(lanes));
    }
    total as f32
}

/// Sum of f(a, b) in a fixed order; a and b are equally long.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut total = 0.0f64;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut lanes = [0.0f32; LANES];
        let ((a_whole, a_rest), (b_whole, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a_whole.iter().zip(b_whole) {
            for l in 0..LANES {
                lanes[l] += f(a[l], b[l]);
            }
        }
        for (s, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *s += f(*a, *b);
        }
        total += f64::from(halve(lanes));
    }
    total as f32
}

/// Product of two short, equally long rows, in f32 and in a fixed order.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a_whole, a_rest), (b_whole, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_whole.iter().zip(b_whole) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    for (s, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *s += a * b;
    }
    halve(lanes)
}

/// Largest element.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for c in whole {
        for (s, v) in lanes.iter_mut().zip(c) {
            *s = if *v > *s { *v } else { *s };
        }
    }
    for (s, v) in lanes.iter_mut().zip(rest) {
        *s = if *v > *s { *v } else { *s };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn halve(mut lanes: [f32; LANES]) -> f32 {
    let mut n = LANES / 2;
    while n > 0 {
        for l in 0..n {
            lanes[l] += lanes[l + n];
        }
        n /= 2;
    }
    lanes[0]
}

/// The variant of a kernel that reduces along rows (`shaders/shared/row_tile.wgsl`): an invocation per row for very
/// short rows, a few rows per workgroup for short ones, else a workgroup per row.
pub(crate) fn tile(cols: usize, [thin, narrow, wide]: [&'static Variant; 3]) -> &'static Variant {
    match cols {
        0..=12 => thin,
        13..=512 => narrow,
        _ => wide,
    }
}

/// Whether a row-reducing variant's workgroup is what its template constants say; for compile-time asserts.
pub(crate) const fn tile_agrees(variants: &[&Variant; 3], params_bytes: usize) -> bool {
    let mut k = 0;
    while k < 3 {
        let v = variants[k];
        let invocations = v.constant("R") * v.constant("L");
        if v.workgroup[0] != invocations || v.params_bytes as usize != params_bytes {
            return false;
        }
        k += 1;
    }
    true
}

#[cfg(test)]
mod tests;
