//! `binary`: element-wise arithmetic of two broadcasting operands.

use super::call::{fold, params};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// What is computed; the codes are those of `shaders/binary.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BinaryOp {
    /// alpha a + beta b + gamma.
    Add = 0,
    /// alpha a b.
    Mul = 1,
    /// alpha a / b.
    Div = 2,
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    op: u32,
    pad: u32,
    alpha: f32,
    beta: f32,
    gamma: f32,
    pad2: f32,
    a: View,
    b: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "binary",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::binary::ONLY],
    twin,
};
const _: () = assert!(variant::binary::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::binary::ONLY.workgroup[0] == 64);

/// y = op(a, b) over `rows` x `cols`; `coefficients` are alpha, beta, gamma.
pub fn command(
    op: BinaryOp,
    [alpha, beta, gamma]: [f32; 3],
    [rows, cols]: [usize; 2],
    (a, a_view): (BufferId, View),
    (b, b_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        op: op as u32,
        pad: 0,
        alpha,
        beta,
        gamma,
        pad2: 0.0,
        a: a_view,
        b: b_view,
        y: y_view,
    };
    Command::new(&KERNEL, &variant::binary::ONLY, &params, &[a, b, y], fold(rows * cols, 64))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], _cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, y] = args else { unreachable!("binary has three bindings") };
    let (a, b, y) = (a.read(), b.read(), y.write());
    for i in 0..p.rows as usize {
        for j in 0..p.cols as usize {
            let (l, r) = (a[p.a.at(i, j)], b[p.b.at(i, j)]);
            y[p.y.at(i, j)] = match p.op {
                0 => p.alpha * l + p.beta * r + p.gamma,
                1 => p.alpha * l * r,
                _ => p.alpha * l / r,
            };
        }
    }
}
