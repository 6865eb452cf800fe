//! Row programs: a chain of products and combinations over the columns of one sample, which `ode_rows` and
//! `ode_latency` run without leaving the chip. Mirrors `shaders/shared/row_program.wgsl`.
//!
//! Values live in on-chip columns (multiples of four from a first one), weights in a packed buffer of groups of
//! four, in single or half precision (see `pack_weights`): row d of a product's matrix at `weights + d n4`, n4 = n / 4 rounded up, zeros
//! where the matrix ends.

use super::cost::{Cost, Span};
use super::math::{self, Activation};
use super::norm::NormKind;
use super::{Arg, TwinCx, View};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use half::f16;
use std::borrow::Cow;

/// Most stages of a combination.
pub const MAX_STAGES: usize = 7;
/// Nothing there.
const NONE: u32 = u32::MAX;
/// In the buffer of outside biases, or of outside residuals.
const OUTSIDE: u32 = u32::MAX - 1;
/// Storage bindings of both kernels: instructions, packed weights, outside biases, outside residuals, start, result.
pub(super) const ACCESS: &[Access] =
    &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    pub(super) rows: u32,
    pub(super) first: u32,
    pub(super) dim: u32,
    pub(super) instructions: u32,
    pub(super) start_column: u32,
    pub(super) end_column: u32,
    pub(super) start_offset: u32,
    pub(super) out_offset: u32,
    /// Packed weights that it reads, in groups of four.
    pub(super) packed: u32,
    /// Multiply-adds of a row.
    pub(super) work: u32,
    /// The weights are in half precision.
    pub(super) half: u32,
    pub(super) pad: u32,
}

/// One instruction, as the shader reads it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Instruction {
    op: u32,
    count: u32,
    n: u32,
    src: u32,
    dst: u32,
    weights: u32,
    bias: u32,
    bias_offset: u32,
    act: u32,
    alpha: f32,
    beta: f32,
    residual: u32,
    view: [u32; 5],
    stages: [u32; MAX_STAGES],
    factors: [f32; MAX_STAGES],
    pad: u32,
}
const _: () = assert!(size_of::<Instruction>() == 128);

/// What is added to every row of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bias {
    /// Nothing.
    None,
    /// A packed row, from this group of four on.
    Packed(usize),
    /// A row of the outside biases, from this element on.
    Outside(usize),
}

impl Bias {
    /// As an instruction has it.
    fn words(self) -> (u32, u32) {
        match self {
            Bias::None => (NONE, 0),
            Bias::Packed(at) => (at as u32, 0),
            Bias::Outside(at) => (OUTSIDE, at as u32),
        }
    }
}

/// What is added to a product element by element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Residual {
    /// Nothing.
    None,
    /// An on-chip value, from this column on.
    Columns(usize),
    /// The outside residuals, through a view.
    Outside(View),
}

/// dst = act(alpha (src W + bias) + beta residual).
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// Columns of the result, columns of the operand.
    pub size: [usize; 2],
    /// First column of the operand; behind it, up to a multiple of four, lie zeros.
    pub src: usize,
    /// First column of the result.
    pub dst: usize,
    /// First group of four of the packed matrix.
    pub weights: usize,
    /// The bias.
    pub bias: Bias,
    /// The residual.
    pub residual: Residual,
    /// The activation.
    pub act: Activation,
    /// Factor of product and bias.
    pub alpha: f32,
    /// Factor of the residual.
    pub beta: f32,
}

/// dst = (src - mean) / sqrt(variance + eps) scale + bias over the columns, or by the mean of squares alone.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Layer or RMS norm.
    pub kind: NormKind,
    /// Columns.
    pub cols: usize,
    /// First column of the operand.
    pub src: usize,
    /// First column of the result, apart from the operand's.
    pub dst: usize,
    /// First group of four of the packed scale; none: 1.
    pub scale: Option<usize>,
    /// The bias.
    pub bias: Bias,
    /// Added to the variance.
    pub eps: f32,
}

impl Instruction {
    /// A norm.
    pub fn norm(x: &Norm) -> Instruction {
        let (bias, bias_offset) = x.bias.words();
        Instruction {
            op: 2,
            n: x.cols as u32,
            src: x.src as u32,
            dst: x.dst as u32,
            count: 4,
            weights: x.scale.map_or(NONE, |at| at as u32),
            bias,
            bias_offset,
            act: x.kind as u32,
            alpha: x.eps,
            residual: NONE,
            ..Instruction::zeroed()
        }
    }

    /// A product.
    pub fn product(x: &Product) -> Instruction {
        let (bias, bias_offset) = x.bias.words();
        let (residual, v) = match x.residual {
            Residual::None => (NONE, View::dense(0, 0)),
            Residual::Columns(at) => (at as u32, View::dense(0, 0)),
            Residual::Outside(view) => (OUTSIDE, view),
        };
        Instruction {
            op: 0,
            count: x.size[1].div_ceil(4) as u32,
            n: x.size[0] as u32,
            src: x.src as u32,
            dst: x.dst as u32,
            weights: x.weights as u32,
            bias,
            bias_offset,
            act: x.act.code(),
            alpha: x.alpha,
            beta: x.beta,
            residual,
            view: [v.offset, v.row_stride, v.col_stride, v.row_div, v.row_mod],
            ..Instruction::zeroed()
        }
    }

    /// dst = src + sum of factor times stage over `stages` (column, factor); at most [`MAX_STAGES`] count.
    pub fn combination(cols: usize, src: usize, stages: &[(usize, f32)], dst: usize) -> Instruction {
        let mut out = Instruction {
            op: 1,
            n: cols as u32,
            src: src as u32,
            dst: dst as u32,
            count: stages.len().min(MAX_STAGES) as u32,
            ..Instruction::zeroed()
        };
        for (s, (column, factor)) in stages.iter().take(MAX_STAGES).enumerate() {
            (out.stages[s], out.factors[s]) = (*column as u32, *factor);
        }
        out
    }

    /// Multiply-adds of a row.
    fn work(&self) -> u32 {
        if self.op == 0 { 4 * self.count * self.n } else { self.count * self.n }
    }

    /// One past the last column that it touches.
    fn end(&self) -> usize {
        let cols = self.n.next_multiple_of(4);
        let mut end = self.dst + cols;
        if self.op == 0 {
            end = end.max(self.src + 4 * self.count);
            if self.residual < OUTSIDE {
                end = end.max(self.residual + cols);
            }
        } else if self.op == 2 {
            end = end.max(self.src + cols);
        } else {
            let stages = self.stages.iter().take(self.count as usize);
            end = end.max(self.src + cols).max(stages.map(|s| s + cols).max().unwrap_or(0));
        }
        end as usize
    }
}

/// A whole program: from `dim` columns of the start to as many of the result.
#[derive(Clone, Debug, Default)]
pub struct RowProgram {
    /// Columns of start and result.
    pub dim: usize,
    /// Where the start is loaded to.
    pub start_column: usize,
    /// Where the result is stored from.
    pub end_column: usize,
    /// What happens between.
    pub instructions: Vec<Instruction>,
    /// Packed weights that the instructions point into, in groups of four.
    pub packed: usize,
    /// The weights are in half precision.
    pub half: bool,
}

impl RowProgram {
    /// On-chip columns that it needs.
    pub fn columns(&self) -> usize {
        let ends = self.start_column.max(self.end_column) + self.dim.next_multiple_of(4);
        self.instructions.iter().map(Instruction::end).max().unwrap_or(0).max(ends)
    }

    /// Columns of its widest product.
    pub fn widest(&self) -> usize {
        self.instructions.iter().filter(|i| i.op == 0).map(|i| i.n as usize).max().unwrap_or(0)
    }

    /// Multiply-adds of a sample.
    pub fn work(&self) -> usize {
        self.instructions.iter().map(|i| i.work() as usize).sum()
    }

    /// Whether it has norms.
    pub fn has_norms(&self) -> bool {
        self.instructions.iter().any(|i| i.op == 2)
    }

    /// The instructions as the words of a constant buffer.
    pub fn words(&self) -> Vec<f32> {
        bytemuck::cast_slice(&self.instructions).to_vec()
    }

    pub(super) fn params(&self, rows: std::ops::Range<usize>, offsets: [usize; 2]) -> Params {
        Params {
            rows: rows.end as u32,
            first: rows.start as u32,
            dim: self.dim as u32,
            instructions: self.instructions.len() as u32,
            start_column: self.start_column as u32,
            end_column: self.end_column as u32,
            start_offset: offsets[0] as u32,
            out_offset: offsets[1] as u32,
            packed: self.packed as u32,
            work: self.instructions.iter().map(Instruction::work).sum(),
            half: u32::from(self.half),
            pad: 0,
        }
    }
}

/// What a call of `ode_rows` or `ode_latency` costs. Outside biases and residuals are left out: only the instructions, which are
/// data, say what of them is read. The weights' padding to multiples of four counts.
pub(super) fn cost(words: &[u32]) -> Cost {
    let p: &Params = super::call::params(words);
    let (rows, dim) = (p.rows.saturating_sub(p.first) as usize, p.dim as usize);
    let table = p.instructions as usize * size_of::<Instruction>() / 4;
    let place = |offset: u32| Span::dense(offset + p.first * p.dim, rows * dim);
    let cost = Cost::new(2 * rows * p.work as usize).reads(0, Span::dense(0, table));
    let cost = cost.reads(1, Span::dense(0, if p.half != 0 { 2 } else { 4 } * p.packed as usize));
    let cost = cost.reads(2, Span::scattered(0)).reads(3, Span::scattered(0));
    cost.reads(4, place(p.start_offset)).writes(5, place(p.out_offset))
}

/// Rows that the twin carries through the program at a time.
const BLOCK: usize = 16;

/// The twin of `ode_rows` and `ode_latency`.
pub(super) fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = super::call::params(words);
    let [program, weights, biases, outside, start, out] = args else {
        unreachable!("a row program has six bindings")
    };
    let program: &[Instruction] = &bytemuck::cast_slice(program.read())[..p.instructions as usize];
    let weights = match p.half {
        0 => Cow::Borrowed(weights.read()),
        _ => {
            let halves: &[f16] = bytemuck::cast_slice(&weights.read()[..2 * p.packed as usize]);
            Cow::Owned(halves.iter().map(|h| h.to_f32()).collect())
        }
    };
    let operands = Operands { weights: &weights, biases: biases.read(), outside: outside.read() };
    let start = start.read();
    let (first, rows, dim) = (p.first as usize, p.rows as usize, p.dim as usize);
    if rows <= first || dim == 0 {
        return;
    }
    let whole = RowProgram {
        dim,
        start_column: p.start_column as usize,
        end_column: p.end_column as usize,
        instructions: program.to_vec(),
        packed: p.packed as usize,
        half: p.half != 0,
    };
    let columns = whole.columns();
    let work = p.work as usize;
    let from = p.out_offset as usize + first * dim;
    cx.rows(&mut out.write()[from..], dim, rows - first, (rows - first) * work, |begin, out| {
        let mut chip = vec![0.0f32; BLOCK * columns];
        let mut sums = vec![0.0f32; whole.widest().next_multiple_of(4)];
        for (b, out) in out.chunks_mut(BLOCK * dim).enumerate() {
            for (r, out) in out.chunks_mut(dim).enumerate() {
                let i = first + begin + b * BLOCK + r;
                let chip = &mut chip[r * columns..(r + 1) * columns];
                let x = &mut chip[whole.start_column..][..dim.next_multiple_of(4)];
                x.fill(0.0);
                x[..dim].copy_from_slice(&start[p.start_offset as usize + i * dim..][..dim]);
                for one in program {
                    step(one, i, &operands, chip, &mut sums);
                }
                out.copy_from_slice(&chip[whole.end_column..][..dim]);
            }
        }
    });
}

/// What a program reads apart from its start.
struct Operands<'a> {
    weights: &'a [f32],
    biases: &'a [f32],
    outside: &'a [f32],
}

/// One instruction on one row.
fn step(x: &Instruction, i: usize, operands: &Operands<'_>, chip: &mut [f32], sums: &mut [f32]) {
    let weights = operands.weights;
    let (n, src, dst, count) = (x.n as usize, x.src as usize, x.dst as usize, x.count as usize);
    let n4 = n.next_multiple_of(4);
    if x.op == 2 {
        return norm(x, operands, chip);
    }
    if x.op != 0 {
        for j in 0..n4 {
            let mut sum = chip[src + j];
            for (column, factor) in x.stages.iter().zip(&x.factors).take(count) {
                sum += factor * chip[*column as usize + j];
            }
            chip[dst + j] = sum;
        }
        return;
    }
    let sums = &mut sums[..n4];
    sums.fill(0.0);
    for d in 0..4 * count {
        axpy(chip[src + d], &weights[4 * x.weights as usize + d * n4..][..n4], sums);
    }
    let act = Activation::from_code(x.act).unwrap_or(Activation::Identity);
    let [offset, row_stride, col_stride, row_div, row_mod] = x.view;
    let view = View { offset, row_stride, col_stride, row_div, row_mod, pad: [0; 3] };
    for (j, sum) in sums[..n].iter_mut().enumerate() {
        let bias = match x.bias {
            NONE => 0.0,
            OUTSIDE => operands.biases[x.bias_offset as usize + j],
            at => weights[4 * at as usize + j],
        };
        let rest = match x.residual {
            NONE => 0.0,
            OUTSIDE => operands.outside[view.at(i, j)],
            at => chip[at as usize + j],
        };
        *sum = x.alpha * (*sum + bias) + x.beta * rest;
    }
    let y = &mut chip[dst..dst + n4];
    math::apply(act, 0, &sums[..n], &mut y[..n]);
    y[n..].fill(0.0);
}

/// A norm of one row.
fn norm(x: &Instruction, operands: &Operands<'_>, chip: &mut [f32]) {
    let (n, src, dst) = (x.n as usize, x.src as usize, x.dst as usize);
    let mean = match x.act {
        0 => chip[src..src + n].iter().sum::<f32>() / n as f32,
        _ => 0.0,
    };
    let squares: f32 = chip[src..src + n].iter().map(|v| (v - mean) * (v - mean)).sum();
    let factor = 1.0 / (squares / n as f32 + x.alpha).sqrt();
    for j in 0..n {
        let scale = if x.weights == NONE { 1.0 } else { operands.weights[4 * x.weights as usize + j] };
        let shift = match x.bias {
            NONE => 0.0,
            OUTSIDE => operands.biases[x.bias_offset as usize + j],
            at => operands.weights[4 * at as usize + j],
        };
        chip[dst + j] = (chip[src + j] - mean) * factor * scale + shift;
    }
    chip[dst + n..dst + n.next_multiple_of(4)].fill(0.0);
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn axpy(factor: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}
