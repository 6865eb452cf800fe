//! `map`: an activation, or one of its first two derivatives, of every element.

use super::call::{fold, params};
use super::cost::Cost;
use super::math::{Activation, apply};
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
    act: u32,
    order: u32,
    x: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "map",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::map::FLAT, &variant::map::VIEW],
    twin,
    cost,
};
const _: () = assert!(variant::map::FLAT.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::map::FLAT.workgroup[0] == 64 && variant::map::VIEW.workgroup[0] == 64);

/// y = f^(order)(x) over `shape` (rows, columns); `order` is 0, 1 or 2 (larger numbers mean 2).
pub fn command(
    act: Activation,
    order: u32,
    shape: [usize; 2],
    (x, mut x_view): (BufferId, View),
    (y, mut y_view): (BufferId, View),
) -> Command {
    let [rows, cols] = collapse(shape, &mut [&mut x_view, &mut y_view]);
    let variant = if rows == 1 { &variant::map::FLAT } else { &variant::map::VIEW };
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        act: act.code(),
        order: order.min(2),
        x: x_view,
        y: y_view,
    };
    Command::new(&KERNEL, variant, &params, &[x, y], fold(rows * cols, 64))
}

/// A map's command, read back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// f.
    pub act: Activation,
    /// Which derivative.
    pub order: u32,
    /// Rows and columns, one row where all is adjacent.
    pub size: [usize; 2],
    /// The operand.
    pub x: (BufferId, View),
    /// The result.
    pub y: (BufferId, View),
}

impl Call {
    /// What `command` computes, if it is a map.
    pub fn of(command: &Command) -> Option<Call> {
        if !std::ptr::eq(command.kernel, &KERNEL) {
            return None;
        }
        let p: &Params = params(&command.params);
        let [x, y] = command.args[..] else { return None };
        let (act, size) = (Activation::from_code(p.act)?, [p.rows as usize, p.cols as usize]);
        Some(Call { act, order: p.order, size, x: (x, p.x), y: (y, p.y) })
    }
}

/// Scalar operations that an activation counts for when work is split over threads.
pub(super) const COST: usize = 4;

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(1, [p.rows as usize, p.cols as usize], &[&p.x], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("map has two bindings") };
    let (x, y) = (x.read(), y.write());
    let shape = [p.rows as usize, p.cols as usize];
    let act = Activation::from_code(p.act).unwrap_or_default();
    each_row(cx, y, &p.y, shape, COST * shape[0] * shape[1], |i, from, y| {
        match Row::of(x, &p.x, i, from, y.len()) {
            Row::Each(x) => apply(act, p.order, x, y),
            Row::One(v) => y.fill(act.eval(p.order, v)),
        }
    });
}
