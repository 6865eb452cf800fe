//! `copy`: columns of one matrix placed in another, zeros around them (a part of a concatenation, a slice, repeated
//! rows, padding).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::{Row, collapse, each_row};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    start: u32,
    len: u32,
    x: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "copy",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::copy::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::copy::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::copy::ONLY.workgroup[0] == 64);

/// y[i, j] = x[i, j - start] for start <= j < start + len, else 0; `shape` is that of y, x has `len` columns.
pub fn command(
    shape: [usize; 2],
    start: usize,
    len: usize,
    (x, mut x_view): (BufferId, View),
    (y, mut y_view): (BufferId, View),
) -> Command {
    let len = len.min(shape[1].saturating_sub(start));
    let (mut whole, [mut rows, mut cols]) = (len, shape);
    if start == 0 && len == shape[1] {
        [rows, cols] = collapse(shape, &mut [&mut x_view, &mut y_view]);
        whole = cols;
    }
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        start: start as u32,
        len: whole as u32,
        x: x_view,
        y: y_view,
    };
    Command::new(&KERNEL, &variant::copy::ONLY, &params, &[x, y], fold(rows * cols, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    Cost::new(0).reads(0, Span::view(&p.x, [rows, p.len as usize])).writes(1, Span::view(&p.y, [rows, cols]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("copy has two bindings") };
    let (x, y) = (x.read(), y.write());
    let (shape, start, len) = ([p.rows as usize, p.cols as usize], p.start as usize, p.len as usize);
    each_row(cx, y, &p.y, shape, shape[0] * shape[1] / 2, |i, from, y| {
        // The part of columns from .. from + y.len() that x fills.
        let first = start.clamp(from, from + y.len());
        let last = (start + len).clamp(first, from + y.len());
        y[..first - from].fill(0.0);
        y[last - from..].fill(0.0);
        if last > first {
            let y = &mut y[first - from..last - from];
            match Row::of(x, &p.x, i, first - start, last - first) {
                Row::Each(x) => y.copy_from_slice(x),
                Row::One(v) => y.fill(v),
            }
        }
    });
}
