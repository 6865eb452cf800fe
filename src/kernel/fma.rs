//! `fma`: multiply and add of three broadcasting operands (a norm's affine part, FiLM).

use super::call::{fold, params};
use super::cost::Cost;
use super::rowwise::{Row, collapse, each_row, forms};
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
    pad: [u32; 2],
    x: View,
    s: View,
    b: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "fma",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::fma::FLAT, &variant::fma::VIEW],
    twin,
    cost,
};
const _: () = assert!(variant::fma::FLAT.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::fma::FLAT.workgroup[0] == 64 && variant::fma::VIEW.workgroup[0] == 64);

/// y = x * s + b over `shape` (rows, columns).
pub fn command(
    shape: [usize; 2],
    (x, mut x_view): (BufferId, View),
    (s, mut s_view): (BufferId, View),
    (b, mut b_view): (BufferId, View),
    (y, mut y_view): (BufferId, View),
) -> Command {
    let [rows, cols] = collapse(shape, &mut [&mut x_view, &mut s_view, &mut b_view, &mut y_view]);
    let variant = if rows == 1 { &variant::fma::FLAT } else { &variant::fma::VIEW };
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        pad: [0; 2],
        x: x_view,
        s: s_view,
        b: b_view,
        y: y_view,
    };
    Command::new(&KERNEL, variant, &params, &[x, s, b, y], fold(rows * cols, 64))
}

/// A command, read back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Rows and columns; one row where every view allows it.
    pub size: [usize; 2],
    /// What is scaled.
    pub x: (BufferId, View),
    /// The scale.
    pub s: (BufferId, View),
    /// What is added.
    pub b: (BufferId, View),
    /// The result.
    pub y: (BufferId, View),
}

impl Call {
    /// What `command` computes, if it is of this kernel.
    pub fn of(command: &Command) -> Option<Call> {
        if !std::ptr::eq(command.kernel, &KERNEL) {
            return None;
        }
        let p: &Params = params(&command.params);
        let [x, s, b, y] = command.args[..] else { return None };
        let size = [p.rows as usize, p.cols as usize];
        Some(Call { size, x: (x, p.x), s: (s, p.s), b: (b, p.b), y: (y, p.y) })
    }

    /// The call over rows of `cols` columns, if it was over a single row of them all: merging full rows into one, undone.
    pub fn spread(self, cols: usize) -> Option<Call> {
        let [rows, all] = self.size;
        if all == cols {
            return Some(self);
        }
        if rows != 1 || cols == 0 || !all.is_multiple_of(cols) {
            return None;
        }
        let over = |(buffer, view): (BufferId, View)| {
            let row_stride = cols as u32 * view.col_stride;
            (buffer, View { row_stride, ..view })
        };
        let Call { x, s, b, y, .. } = self;
        Some(Call { size: [all / cols, cols], x: over(x), s: over(s), b: over(b), y: over(y) })
    }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(2, [p.rows as usize, p.cols as usize], &[&p.x, &p.s, &p.b], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, s, b, y] = args else { unreachable!("fma has four bindings") };
    let (x, s, b, y) = (x.read(), s.read(), b.read(), y.write());
    let shape = [p.rows as usize, p.cols as usize];
    each_row(cx, y, &p.y, shape, shape[0] * shape[1], |i, from, y| {
        let n = y.len();
        let (x, s) = (Row::of(x, &p.x, i, from, n), Row::of(s, &p.s, i, from, n));
        line(x, s, Row::of(b, &p.b, i, from, n), y);
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(x: Row<'_>, s: Row<'_>, b: Row<'_>, y: &mut [f32]) {
    let n = y.len();
    forms!(x, n, forms!(s, n, forms!(b, n, (0..n).for_each(|j| y[j] = x(j) * s(j) + b(j)))))
}
