//! `map_mul`: an activation, or one of its first two derivatives, of every element, times another operand.

use super::call::{fold, params};
use super::cost::Cost;
use super::map::COST;
use super::math::{Activation, apply, apply_mul};
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
    g: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "map_mul",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::map_mul::FLAT, &variant::map_mul::VIEW],
    twin,
    cost,
};
const _: () = assert!(variant::map_mul::FLAT.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::map_mul::FLAT.workgroup[0] == 64 && variant::map_mul::VIEW.workgroup[0] == 64);

/// y = f^(order)(x) * g over `shape` (rows, columns); `order` is 0, 1 or 2 (larger numbers mean 2).
pub fn command(
    act: Activation,
    order: u32,
    shape: [usize; 2],
    (x, mut x_view): (BufferId, View),
    (g, mut g_view): (BufferId, View),
    (y, mut y_view): (BufferId, View),
) -> Command {
    let [rows, cols] = collapse(shape, &mut [&mut x_view, &mut g_view, &mut y_view]);
    let variant = if rows == 1 { &variant::map_mul::FLAT } else { &variant::map_mul::VIEW };
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        act: act.code(),
        order: order.min(2),
        x: x_view,
        g: g_view,
        y: y_view,
    };
    Command::new(&KERNEL, variant, &params, &[x, g, y], fold(rows * cols, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(2, [p.rows as usize, p.cols as usize], &[&p.x, &p.g], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, g, y] = args else { unreachable!("map_mul has three bindings") };
    let (x, g, y) = (x.read(), g.read(), y.write());
    let shape = [p.rows as usize, p.cols as usize];
    let act = Activation::from_code(p.act).unwrap_or_default();
    each_row(cx, y, &p.y, shape, COST * shape[0] * shape[1], |i, from, y| {
        let n = y.len();
        match (Row::of(x, &p.x, i, from, n), Row::of(g, &p.g, i, from, n)) {
            (Row::Each(x), Row::Each(g)) => apply_mul(act, p.order, x, g, y),
            (Row::Each(x), Row::One(g)) => {
                apply(act, p.order, x, y);
                y.iter_mut().for_each(|y| *y *= g);
            }
            (Row::One(x), Row::Each(g)) => {
                let f = act.eval(p.order, x);
                y.iter_mut().zip(g).for_each(|(y, g)| *y = f * g);
            }
            (Row::One(x), Row::One(g)) => y.fill(act.eval(p.order, x) * g),
        }
    });
}
