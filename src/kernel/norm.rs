//! `norm`: layer norm and RMS norm of every row, with or without an affine part.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::{Row, sum, tile, tile_agrees, whole_rows};
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Which statistics normalise a row; the codes are those of `shaders/norm.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum NormKind {
    /// (x - mean) / sqrt(variance + eps), with the biased variance.
    Layer = 0,
    /// x / sqrt(mean(x^2) + eps).
    Rms = 1,
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    kind: u32,
    flags: u32,
    eps: f32,
    pad: [u32; 3],
    x: View,
    w: View,
    b: View,
    y: View,
}

const VARIANTS: [&Variant; 3] = [&variant::norm::THIN, &variant::norm::NARROW, &variant::norm::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "norm",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// An operand through a broadcasting view.
type Operand = (BufferId, View);

/// y = xhat * w + b for every row of x; x and y are [rows, cols]. `affine` has the weights and, if there are, the biases: through
/// views, one row for all (a norm's own) or rows of their own (an adaptive norm's). `empty` is bound where there are none
/// (any buffer that this call does not write).
pub fn command(
    kind: NormKind,
    eps: f32,
    [rows, cols]: [usize; 2],
    (x, x_view): Operand,
    affine: Option<(Operand, Option<Operand>)>,
    (y, y_view): Operand,
    empty: BufferId,
) -> Command {
    let none = (empty, View::dense(0, 0));
    let (w, b) = (affine.map(|a| a.0), affine.and_then(|a| a.1));
    let flags = u32::from(w.is_some()) | u32::from(b.is_some()) << 1;
    let ((w, w_view), (b, b_view)) = (w.unwrap_or(none), b.unwrap_or(none));
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        kind: kind as u32,
        flags,
        eps,
        pad: [0; 3],
        x: x_view,
        w: w_view,
        b: b_view,
        y: y_view,
    };
    let variant = tile(cols, VARIANTS);
    Command::new(&KERNEL, variant, &params, &[x, w, b, y], fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, p.cols as usize];
    let there = [1, 2].map(|flag| p.flags & flag != 0);
    let each = operations(p.kind) + there.iter().filter(|t| **t).count();
    let cost = Cost::new(each * shape[0] * shape[1]).reads(0, Span::view(&p.x, shape));
    let cost = cost.reads_if(there[0], 1, Span::view(&p.w, shape));
    cost.reads_if(there[1], 2, Span::view(&p.b, shape)).writes(3, Span::view(&p.y, shape))
}

/// Operations of an element, but for the affine part.
pub(super) fn operations(kind: u32) -> usize {
    if kind == NormKind::Layer as u32 { 6 } else { 3 }
}

/// A norm's command, read back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which statistics.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f32,
    /// Rows and columns.
    pub size: [usize; 2],
    /// What is normalised.
    pub x: (BufferId, View),
    /// The scale, if there is one.
    pub scale: Option<(BufferId, View)>,
    /// The shift, if there is one.
    pub shift: Option<(BufferId, View)>,
    /// The result.
    pub y: (BufferId, View),
}

impl Call {
    /// What `command` computes, if it is a norm.
    pub fn of(command: &Command) -> Option<Call> {
        if !std::ptr::eq(command.kernel, &KERNEL) {
            return None;
        }
        let p: &Params = params(&command.params);
        let [x, w, b, y] = command.args[..] else { return None };
        Some(Call {
            kind: if p.kind == NormKind::Rms as u32 { NormKind::Rms } else { NormKind::Layer },
            eps: p.eps,
            size: [p.rows as usize, p.cols as usize],
            x: (x, p.x),
            scale: (p.flags & 1 != 0).then_some((w, p.w)),
            shift: (p.flags & 2 != 0).then_some((b, p.b)),
            y: (y, p.y),
        })
    }
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, w, b, y] = args else { unreachable!("norm has four bindings") };
    let (x, w, b, y) = (x.read(), w.read(), b.read(), &mut y.write()[p.y.offset as usize..]);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let [has_w, has_b] = [1, 2].map(|flag| p.flags & flag != 0);
    whole_rows(cx, y, p.y.row_stride as usize, [rows, cols], 3 * rows * (cols + 8), |i, y| {
        // Empty vectors do not allocate: they are used for operands with one element per row only.
        let (mut spread, mut spread_w, mut spread_b) = (Vec::new(), Vec::new(), Vec::new());
        let x = Row::of(x, &p.x, i, 0, cols).slice(cols, &mut spread);
        let w = has_w.then(|| Row::of(w, &p.w, i, 0, cols).slice(cols, &mut spread_w));
        let b = has_b.then(|| Row::of(b, &p.b, i, 0, cols).slice(cols, &mut spread_b));
        line(p.kind, p.eps, x, w, b, y);
    });
}

/// The norm of one row.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn line(kind: u32, eps: f32, x: &[f32], w: Option<&[f32]>, b: Option<&[f32]>, y: &mut [f32]) {
    let (mean, rstd) = statistics(kind, eps, x);
    match (w, b) {
        (None, _) => y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * rstd),
        (Some(w), None) => {
            y.iter_mut().zip(x).zip(w).for_each(|((y, x), w)| *y = (x - mean) * rstd * w);
        }
        (Some(w), Some(b)) => {
            y.iter_mut()
                .zip(x)
                .zip(w.iter().zip(b))
                .for_each(|((y, x), (w, b))| *y = (x - mean) * rstd * w + b);
        }
    }
}

/// Mean (0 for RMS) and reciprocal standard deviation of a row, in two passes.
#[inline(always)]
pub(super) fn statistics(kind: u32, eps: f32, x: &[f32]) -> (f32, f32) {
    let share = 1.0 / x.len() as f32;
    let mean = if kind == NormKind::Layer as u32 { sum(x, |v| v) * share } else { 0.0 };
    let square = sum(x, |v| (v - mean) * (v - mean)) * share;
    (mean, 1.0 / (square + eps).sqrt())
}
