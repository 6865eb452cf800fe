//! `pair_cost`: the cost of pairing every row of one matrix with every row of another.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    dim: u32,
    extra: u32,
    weight: f32,
    pad: [u32; 3],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "pair_cost",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::pair_cost::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::pair_cost::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::pair_cost::ONLY.workgroup[0] == 64);

/// Sizes of the matrices whose rows are paired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairShape {
    /// Rows of the cost.
    pub rows: usize,
    /// Columns of the cost.
    pub cols: usize,
    /// Numbers per row of a and b.
    pub dim: usize,
    /// Numbers per row of c and d; 0: there are none.
    pub extra: usize,
    /// Factor on their part of the cost.
    pub weight: f32,
}

/// y[i, j] = |a_i - b_j|^2 + weight |c_i - d_j|^2; a \[rows, dim\], b \[cols, dim\], c \[rows, extra\], d \[cols, extra\], y
/// \[rows, cols\], all dense. Equal rows cost exactly 0.
pub fn command(shape: &PairShape, [a, b]: [BufferId; 2], [c, d]: [BufferId; 2], y: BufferId) -> Command {
    let params = Params {
        rows: shape.rows as u32,
        cols: shape.cols as u32,
        dim: shape.dim as u32,
        extra: shape.extra as u32,
        weight: shape.weight,
        pad: [0; 3],
    };
    let grid = fold(shape.rows * shape.cols, 64);
    Command::new(&KERNEL, &variant::pair_cost::ONLY, &params, &[a, b, c, d, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [rows, cols, dim, extra] = [p.rows, p.cols, p.dim, p.extra].map(|n| n as usize);
    let cost = Cost::new(3 * rows * cols * (dim + extra)).reads(0, Span::dense(0, rows * dim));
    let cost = cost.reads(1, Span::dense(0, cols * dim)).reads_if(extra > 0, 2, Span::dense(0, rows * extra));
    cost.reads_if(extra > 0, 3, Span::dense(0, cols * extra)).writes(4, Span::dense(0, rows * cols))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, c, d, y] = args else { unreachable!("pair_cost has five bindings") };
    let [rows, cols, dim, extra] = [p.rows, p.cols, p.dim, p.extra].map(|n| n as usize);
    let (a, b, c, d) = (a.read(), b.read(), c.read(), d.read());
    let y = &mut y.write()[..rows * cols];
    let shape = PairShape { rows, cols, dim, extra, weight: p.weight };
    cx.rows(y, cols, rows, 2 * rows * cols * (dim + extra), |first, y| {
        fill(&shape, [&a[first * dim..], b], [&c[first * extra..], d], y);
    });
}

/// The twin on as many rows as y holds: for hosts that need the cost themselves.
///
/// # Panics
/// If a buffer is shorter than its shape says.
pub fn fill(shape: &PairShape, [a, b]: [&[f32]; 2], [c, d]: [&[f32]; 2], y: &mut [f32]) {
    y.fill(0.0);
    add(1.0, a, &b[..shape.cols * shape.dim], shape.dim, y);
    add(shape.weight, c, &d[..shape.cols * shape.extra], shape.extra, y);
}

/// Columns computed side by side: two vectors of eight.
const LANES: usize = 16;
/// Numbers of a row that are turned round at a time.
const DEPTH: usize = 64;

/// Adds weight |a_i - b_j|^2 to y[i, j] for all rows of y; nothing if the rows are empty.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn add(weight: f32, a: &[f32], b: &[f32], dim: usize, y: &mut [f32]) {
    if dim == 0 {
        return;
    }
    let cols = b.len() / dim;
    for from in (0..cols).step_by(LANES) {
        let width = LANES.min(cols - from);
        for begin in (0..dim).step_by(DEPTH) {
            let depth = DEPTH.min(dim - begin);
            let mut turned = [[0.0f32; LANES]; DEPTH];
            for (l, b) in b[from * dim..].chunks(dim).take(width).enumerate() {
                for (t, b) in turned.iter_mut().zip(&b[begin..begin + depth]) {
                    t[l] = *b;
                }
            }
            for (a, y) in a.chunks(dim).zip(y.chunks_mut(cols)) {
                let mut sums = [0.0f32; LANES];
                for (a, t) in a[begin..begin + depth].iter().zip(&turned) {
                    for l in 0..LANES {
                        let apart = a - t[l];
                        sums[l] += apart * apart;
                    }
                }
                for (y, s) in y[from..from + width].iter_mut().zip(sums) {
                    *y += weight * s;
                }
            }
        }
    }
}
