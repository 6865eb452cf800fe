//! `ode_combine`: the linear combination of a Runge-Kutta step, y = x + h sum_s c_s K_s.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Most stages that one call combines.
pub const MAX_STAGES: usize = 7;

/// The step size of a combination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepSize {
    /// The same for every row.
    Scalar(f32),
    /// Row i's lies at offset + i stride of a buffer.
    PerRow(BufferId, usize, usize),
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    stages: u32,
    per_row: u32,
    h: f32,
    h_offset: u32,
    h_stride: u32,
    x_offset: u32,
    k_offset: u32,
    y_offset: u32,
    pad: [u32; 2],
    coefficients: [f32; 8],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "ode_combine",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::ode_combine::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::ode_combine::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::ode_combine::ONLY.workgroup[0] == 64);

/// y = x + h sum_s coefficients\[s\] K_s over \[rows, cols\], dense from the given offsets; K is \[stages, rows * cols\]
/// with stage s at s rows cols. At most [`MAX_STAGES`] coefficients count. A stage whose coefficient is zero is not read.
/// `empty` is bound in the place of the step sizes when they are a scalar; x, k, h and `empty` must not be y.
pub fn command(
    [rows, cols]: [usize; 2],
    coefficients: &[f32],
    h: StepSize,
    x: (BufferId, usize),
    k: (BufferId, usize),
    y: (BufferId, usize),
    empty: BufferId,
) -> Command {
    debug_assert!(coefficients.len() <= MAX_STAGES);
    let stages = coefficients.len().min(MAX_STAGES);
    let mut padded = [0.0; 8];
    padded[..stages].copy_from_slice(&coefficients[..stages]);
    let (per_row, scalar, buffer, h_offset, h_stride) = match h {
        StepSize::Scalar(h) => (0, h, empty, 0, 0),
        StepSize::PerRow(buffer, offset, stride) => (1, 0.0, buffer, offset, stride),
    };
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        stages: stages as u32,
        per_row,
        h: scalar,
        h_offset: h_offset as u32,
        h_stride: h_stride as u32,
        x_offset: x.1 as u32,
        k_offset: k.1 as u32,
        y_offset: y.1 as u32,
        pad: [0; 2],
        coefficients: padded,
    };
    let args = [x.0, k.0, buffer, y.0];
    Command::new(&KERNEL, &variant::ode_combine::ONLY, &params, &args, fold(rows * cols, 64))
}

/// A combination with one step size for all rows, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Rows and columns.
    pub size: [usize; 2],
    /// x, its first element.
    pub x: (BufferId, usize),
    /// The stages that count: their first elements in the buffer of stages, and h times their coefficients.
    pub stages: Vec<((BufferId, usize), f32)>,
    /// y, its first element.
    pub y: (BufferId, usize),
}

impl Call {
    /// What `command` computes, if it is a combination with one step size for all rows.
    pub fn of(command: &Command) -> Option<Call> {
        if !std::ptr::eq(command.kernel, &KERNEL) {
            return None;
        }
        let p: &Params = params(&command.params);
        let [x, k, _, y] = command.args[..] else { return None };
        let size = [p.rows as usize, p.cols as usize];
        let stages = p.coefficients[..p.stages as usize].iter().enumerate().filter(|(_, c)| **c != 0.0);
        let place = |s: usize| (k, p.k_offset as usize + s * size[0] * size[1]);
        (p.per_row == 0).then(|| Call {
            size,
            x: (x, p.x_offset as usize),
            stages: stages.map(|(s, c)| (place(s), p.h * c)).collect(),
            y: (y, p.y_offset as usize),
        })
    }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, n) = (p.rows as usize, (p.rows * p.cols) as usize);
    let used = |s: &usize| p.coefficients[*s] != 0.0;
    let stages: Vec<usize> = (0..p.stages as usize).filter(used).collect();
    let cost = Cost::new(2 * stages.len() * n).reads(0, Span::dense(p.x_offset, n));
    let stage = |cost: Cost, s: usize| cost.reads(1, Span::dense(p.k_offset + (s * n) as u32, n));
    let cost = stages.into_iter().fold(cost, stage);
    let cost = cost.reads_if(p.per_row != 0, 2, Span::rows([p.h_offset, p.h_stride], [rows, 1]));
    cost.writes(3, Span::dense(p.y_offset, n))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, k, h, y] = args else { unreachable!("ode_combine has four bindings") };
    let (x, k, h, y) = (x.read(), k.read(), h.read(), y.write());
    let (rows, cols, stages) = (p.rows as usize, p.cols as usize, p.stages as usize);
    if rows * cols == 0 {
        return;
    }
    let (x, k) = (&x[p.x_offset as usize..], &k[p.k_offset as usize..]);
    let y = &mut y[p.y_offset as usize..];
    cx.rows(y, cols, rows, rows * cols * (2 + 2 * stages), |first, y| {
        for (r, y) in y.chunks_mut(cols).enumerate() {
            let i = first + r;
            let h = if p.per_row == 0 { p.h } else { h[p.h_offset as usize + i * p.h_stride as usize] };
            y.copy_from_slice(&x[i * cols..(i + 1) * cols]);
            for (s, c) in p.coefficients[..stages].iter().enumerate() {
                if *c != 0.0 {
                    let from = (s * rows + i) * cols;
                    add(h * c, &k[from..from + cols], y);
                }
            }
        }
    });
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn add(factor: f32, k: &[f32], y: &mut [f32]) {
    for (y, k) in y.iter_mut().zip(k) {
        *y += factor * k;
    }
}
