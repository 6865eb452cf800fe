//! `binary`: element-wise arithmetic of two broadcasting operands.

use super::call::{fold, params};
use super::cost::Cost;
use super::math::limit;
use super::rowwise::{Row, collapse, each_row, forms};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

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
    /// alpha a, limited to \[-b, b\]; not-a-number stays.
    Clip = 3,
    /// The derivative of [`BinaryOp::Clip`] by a: alpha where |alpha a| is at most b, 0 elsewhere.
    Inside = 4,
}

impl BinaryOp {
    const ALL: [BinaryOp; 5] =
        [BinaryOp::Add, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Clip, BinaryOp::Inside];
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
    variants: &[&variant::binary::FLAT, &variant::binary::VIEW],
    twin,
    cost,
};
const _: () = assert!(variant::binary::FLAT.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::binary::FLAT.workgroup[0] == 64 && variant::binary::VIEW.workgroup[0] == 64);

/// y = op(a, b) over `rows` x `cols`; `coefficients` are alpha, beta, gamma.
pub fn command(
    op: BinaryOp,
    [alpha, beta, gamma]: [f32; 3],
    shape: [usize; 2],
    (a, mut a_view): (BufferId, View),
    (b, mut b_view): (BufferId, View),
    (y, mut y_view): (BufferId, View),
) -> Command {
    let [rows, cols] = collapse(shape, &mut [&mut a_view, &mut b_view, &mut y_view]);
    let variant = if rows == 1 { &variant::binary::FLAT } else { &variant::binary::VIEW };
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
    Command::new(&KERNEL, variant, &params, &[a, b, y], fold(rows * cols, 64))
}

/// A command of two operands, read back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// What is computed.
    pub op: BinaryOp,
    /// alpha, beta, gamma.
    pub coefficients: [f32; 3],
    /// Rows and columns, one row where all is adjacent.
    pub size: [usize; 2],
    /// The first operand.
    pub a: (BufferId, View),
    /// The second.
    pub b: (BufferId, View),
    /// The result.
    pub y: (BufferId, View),
}

impl Call {
    /// What `command` computes, if it is one.
    pub fn of(command: &Command) -> Option<Call> {
        if !std::ptr::eq(command.kernel, &KERNEL) {
            return None;
        }
        let p: &Params = params(&command.params);
        let [a, b, y] = command.args[..] else { return None };
        let op = BinaryOp::ALL.into_iter().find(|op| *op as u32 == p.op)?;
        let coefficients = [p.alpha, p.beta, p.gamma];
        let size = [p.rows as usize, p.cols as usize];
        Some(Call { op, coefficients, size, a: (a, p.a), b: (b, p.b), y: (y, p.y) })
    }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let each = if p.op == BinaryOp::Add as u32 { 4 } else { 2 };
    Cost::elementwise(each, [p.rows as usize, p.cols as usize], &[&p.a, &p.b], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, y] = args else { unreachable!("binary has three bindings") };
    let (a, b, y) = (a.read(), b.read(), y.write());
    let shape = [p.rows as usize, p.cols as usize];
    each_row(cx, y, &p.y, shape, shape[0] * shape[1], |i, from, y| {
        let n = y.len();
        line(p, Row::of(a, &p.a, i, from, n), Row::of(b, &p.b, i, from, n), y);
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(p: &Params, l: Row<'_>, r: Row<'_>, y: &mut [f32]) {
    let (n, alpha, beta, gamma) = (y.len(), p.alpha, p.beta, p.gamma);
    forms!(
        l,
        n,
        forms!(
            r,
            n,
            match p.op {
                0 => (0..n).for_each(|j| y[j] = alpha * l(j) + beta * r(j) + gamma),
                1 => (0..n).for_each(|j| y[j] = alpha * l(j) * r(j)),
                2 => (0..n).for_each(|j| y[j] = alpha * l(j) / r(j)),
                3 => (0..n).for_each(|j| y[j] = limit(alpha * l(j), -r(j), r(j))),
                _ => (0..n).for_each(|j| y[j] = if (alpha * l(j)).abs() > r(j) { 0.0 } else { alpha }),
            }
        )
    )
}
