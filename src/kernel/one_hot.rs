//! `one_hot`: the place of every row's largest element.

use super::call::{fold, params};
use super::cost::Cost;
use super::rowwise::whole_rows;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    pad: [u32; 2],
    x: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "one_hot",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::one_hot::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::one_hot::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::one_hot::ONLY.workgroup[0] == 64);

/// y[i, j] = 1 if x[i, j] is the first of the largest elements of row i, else 0; both are [rows, cols], cols at least 1.
pub fn command(
    [rows, cols]: [usize; 2],
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32, pad: [0; 2], x: x_view, y: y_view };
    Command::new(&KERNEL, &variant::one_hot::ONLY, &params, &[x, y], fold(rows, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(1, [p.rows as usize, p.cols as usize], &[&p.x], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("one_hot has two bindings") };
    let (x, y) = (x.read(), &mut y.write()[p.y.offset as usize..]);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    whole_rows(cx, y, p.y.row_stride as usize, [rows, cols], 2 * rows * cols, |i, y| {
        let mut best = 0;
        for j in 1..cols {
            if x[p.x.at(i, j)] > x[p.x.at(i, best)] {
                best = j;
            }
        }
        y.fill(0.0);
        y[best] = 1.0;
    });
}
