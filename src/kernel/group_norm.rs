//! `group_norm`: group norm over time and the channels of a group, with what follows it in a convolution block: affine
//! part, activation, and a broadcasting scale and shift (FiLM, or a residual).

use super::call::params;
use super::cost::{Cost, Span};
use super::math::{self, Activation};
use super::rowwise::{Row, sum, tile, tile_agrees};
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View, call, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Samples, steps of each, channels, groups; the rows are `samples * steps`, the groups divide the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Samples.
    pub samples: usize,
    /// Rows of each sample.
    pub steps: usize,
    /// Columns.
    pub channels: usize,
    /// Groups of adjacent channels.
    pub groups: usize,
}

impl Groups {
    /// Channels of a group.
    pub(super) fn width(&self) -> usize {
        self.channels / self.groups
    }
}

/// What the kernel does after normalising: y = act(xhat w + b) scale + shift; absent parts change nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct After {
    /// First of the weights, one per channel.
    pub weight: Option<(BufferId, usize)>,
    /// First of the biases, one per channel.
    pub bias: Option<(BufferId, usize)>,
    /// The activation.
    pub act: Activation,
    /// A factor through any broadcasting view of [samples * steps, channels].
    pub scale: Option<(BufferId, View)>,
    /// A summand, likewise.
    pub shift: Option<(BufferId, View)>,
}

const HAS_WEIGHT: u32 = 1;
const HAS_BIAS: u32 = 2;
const HAS_SCALE: u32 = 4;
const HAS_SHIFT: u32 = 8;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    samples: u32,
    steps: u32,
    channels: u32,
    groups: u32,
    flags: u32,
    act: u32,
    eps: f32,
    w_offset: u32,
    b_offset: u32,
    pad: [u32; 3],
    x: View,
    scale: View,
    shift: View,
    y: View,
}

const VARIANTS: [&Variant; 3] =
    [&variant::group_norm::THIN, &variant::group_norm::NARROW, &variant::group_norm::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "group_norm",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y = act(xhat w + b) scale + shift with xhat = (x - mean) / sqrt(variance + eps), both taken over the steps and the
/// channels of a group within a sample (the biased variance); x and y are [samples * steps, channels]. `empty` is bound
/// for absent parts.
pub fn command(
    eps: f32,
    shape: Groups,
    (x, x_view): (BufferId, View),
    after: &After,
    (y, y_view): (BufferId, View),
    empty: BufferId,
) -> Command {
    let flag = |there: bool, flag: u32| if there { flag } else { 0 };
    let nothing = (empty, View::dense(0, 0));
    let (w, b) = (after.weight.unwrap_or((empty, 0)), after.bias.unwrap_or((empty, 0)));
    let (scale, shift) = (after.scale.unwrap_or(nothing), after.shift.unwrap_or(nothing));
    let params = Params {
        samples: shape.samples as u32,
        steps: shape.steps as u32,
        channels: shape.channels as u32,
        groups: shape.groups as u32,
        flags: flag(after.weight.is_some(), HAS_WEIGHT)
            | flag(after.bias.is_some(), HAS_BIAS)
            | flag(after.scale.is_some(), HAS_SCALE)
            | flag(after.shift.is_some(), HAS_SHIFT),
        act: after.act.code(),
        eps,
        w_offset: w.1 as u32,
        b_offset: b.1 as u32,
        pad: [0; 3],
        x: x_view,
        scale: scale.1,
        shift: shift.1,
        y: y_view,
    };
    let variant = tile(shape.steps * shape.width(), VARIANTS);
    let grid = call::fold(shape.samples * shape.groups, variant.constant("R"));
    Command::new(&KERNEL, variant, &params, &[x, w.0, b.0, scale.0, shift.0, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [(p.samples * p.steps) as usize, p.channels as usize];
    let there = [HAS_WEIGHT, HAS_BIAS, HAS_SCALE, HAS_SHIFT].map(|flag| p.flags & flag != 0);
    // Mean 1, variance 3, normalising 2; then each part that there is.
    let act = usize::from(p.act != Activation::Identity.code());
    let each = 6 + act + there.iter().filter(|t| **t).count();
    let cost = Cost::new(each * shape[0] * shape[1]).reads(0, Span::view(&p.x, shape));
    let cost = cost.reads_if(there[0], 1, Span::dense(p.w_offset, shape[1]));
    let cost = cost.reads_if(there[1], 2, Span::dense(p.b_offset, shape[1]));
    let cost = cost.reads_if(there[2], 3, Span::view(&p.scale, shape));
    cost.reads_if(there[3], 4, Span::view(&p.shift, shape)).writes(5, Span::view(&p.y, shape))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, w, b, scale, shift, y] = args else { unreachable!("group_norm has six bindings") };
    let (x, w, b) = (x.read(), w.read(), b.read());
    let y = &mut y.write()[p.y.offset as usize..];
    let shape = groups([p.samples, p.steps, p.channels, p.groups]);
    let channels = shape.channels;
    let affine = [
        (p.flags & HAS_WEIGHT != 0).then(|| &w[p.w_offset as usize..][..channels]),
        (p.flags & HAS_BIAS != 0).then(|| &b[p.b_offset as usize..][..channels]),
    ];
    let act = Activation::from_code(p.act).unwrap_or_default();
    let scale = (p.flags & HAS_SCALE != 0).then(|| (scale.read(), &p.scale));
    let shift = (p.flags & HAS_SHIFT != 0).then(|| (shift.read(), &p.shift));
    let ld = p.y.row_stride as usize;
    each_sample(cx, y, ld, &shape, 12, |s, y| {
        let first = s * shape.steps;
        for g in 0..shape.groups {
            let (mean, rstd) = statistics(x, &p.x, &shape, [s, g], p.eps);
            let cols = g * shape.width()..(g + 1) * shape.width();
            let affine = affine.map(|a| a.map(|a| &a[cols.clone()]));
            for t in 0..shape.steps {
                let row = Row::of(x, &p.x, first + t, cols.start, cols.len());
                normalise(row, mean, rstd, affine, &mut y[t * ld..][cols.clone()]);
            }
        }
        for t in 0..shape.steps {
            let y = &mut y[t * ld..][..channels];
            if act != Activation::Identity {
                math::epilogue(act, y, 1.0, None, 0.0, None);
            }
            let row = |(data, view)| Row::of(data, view, first + t, 0, channels);
            modulate(scale.map(row), shift.map(row), y);
        }
    });
}

/// The shape from a call's words.
#[inline]
pub(super) fn groups([samples, steps, channels, groups]: [u32; 4]) -> Groups {
    let [samples, steps, channels, groups] = [samples, steps, channels, groups].map(|n| n as usize);
    Groups { samples, steps, channels, groups }
}

/// Calls `f(sample, rows of y)` for every sample, split over the threads; `cost`: operations per element.
pub(super) fn each_sample(
    cx: &TwinCx<'_>,
    y: &mut [f32],
    ld: usize,
    shape: &Groups,
    cost: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    let each = shape.steps * ld.max(1);
    let work = shape.samples * shape.steps * shape.channels * cost;
    cx.rows(y, each, shape.samples, work, |first, chunk| {
        chunk.chunks_mut(each).enumerate().for_each(|(k, y)| f(first + k, y));
    });
}

/// Mean and reciprocal standard deviation of group g of sample s, in two passes.
pub(super) fn statistics(x: &[f32], view: &View, shape: &Groups, [s, g]: [usize; 2], eps: f32) -> (f32, f32) {
    let width = shape.width();
    let total = |f: &dyn Fn(Row<'_>) -> f32| {
        let rows = (s * shape.steps..(s + 1) * shape.steps).map(|i| Row::of(x, view, i, g * width, width));
        rows.map(|row| f64::from(f(row))).sum::<f64>() / (shape.steps * width) as f64
    };
    let mean = total(&|row| row_sum(row, width)) as f32;
    let variance = total(&|row| square_sum(row, width, mean)) as f32;
    (mean, 1.0 / (variance + eps).sqrt())
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn row_sum(row: Row<'_>, width: usize) -> f32 {
    match row {
        Row::Each(x) => sum(x, |v| v),
        Row::One(v) => v * width as f32,
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn square_sum(row: Row<'_>, width: usize, mean: f32) -> f32 {
    match row {
        Row::Each(x) => sum(x, |v| (v - mean) * (v - mean)),
        Row::One(v) => (v - mean) * (v - mean) * width as f32,
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn normalise(x: Row<'_>, mean: f32, rstd: f32, [w, b]: [Option<&[f32]>; 2], y: &mut [f32]) {
    match x {
        Row::Each(x) => y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * rstd),
        Row::One(x) => y.fill((x - mean) * rstd),
    }
    if let Some(w) = w {
        y.iter_mut().zip(w).for_each(|(y, w)| *y *= w);
    }
    if let Some(b) = b {
        y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn modulate(scale: Option<Row<'_>>, shift: Option<Row<'_>>, y: &mut [f32]) {
    match scale {
        Some(Row::Each(s)) => y.iter_mut().zip(s).for_each(|(y, s)| *y *= s),
        Some(Row::One(s)) => y.iter_mut().for_each(|y| *y *= s),
        None => {}
    }
    match shift {
        Some(Row::Each(b)) => y.iter_mut().zip(b).for_each(|(y, b)| *y += b),
        Some(Row::One(b)) => y.iter_mut().for_each(|y| *y += b),
        None => {}
    }
}
