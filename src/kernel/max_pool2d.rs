//! `max_pool2d`: the first largest element of every window over images, or what another tensor holds in its place.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::whole_rows;
use super::windows2d::{Grid, WindowParams, Windows2d};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters of `max_pool2d` and `max_pool2d_grad`; mirrors the WGSL structs. The other operand is t there and d here.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) w: WindowParams,
    pub(super) x_offset: u32,
    pub(super) x_ld: u32,
    pub(super) other_offset: u32,
    pub(super) other_ld: u32,
    pub(super) y_offset: u32,
    pub(super) y_ld: u32,
    pad: [u32; 2],
}

impl Params {
    pub(super) fn new(size: [usize; 2], w: &Windows2d, x: &View, other: &View, y: &View) -> Params {
        debug_assert!([x, other, y].iter().all(|v| v.plain_rows()));
        Params {
            w: WindowParams::new(size, w),
            x_offset: x.offset,
            x_ld: x.row_stride,
            other_offset: other.offset,
            other_ld: other.row_stride,
            y_offset: y.offset,
            y_ld: y.row_stride,
            pad: [0; 2],
        }
    }
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "max_pool2d",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::max_pool2d::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::max_pool2d::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::max_pool2d::ONLY.workgroup[0] == 64);

/// y [samples * windows, channels], windows row by row: of every window and channel, what t has where x
/// [samples * height * width, channels] has its first largest element (PyTorch's rule: a NaN is larger than any number, the
/// last NaN wins). t has x's shape and may be x. Every window must cover a pixel; all have plain rows.
pub fn command(
    [samples, channels]: [usize; 2],
    windows: &Windows2d,
    (x, x_view): (BufferId, View),
    (t, t_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params::new([samples, channels], windows, &x_view, &t_view, &y_view);
    let grid = fold(samples * windows.count() * channels, 64);
    Command::new(&KERNEL, &variant::max_pool2d::ONLY, &params, &[x, t, y], grid)
}

/// Channels that a twin looks at together.
pub(super) const LANES: usize = 16;

/// The rows of `x` in which window `i` has its first largest elements of the channels `from ..` (at most LANES of them,
/// `n`).
#[inline(always)]
pub(super) fn first_largest(
    grid: &Grid,
    x: &[f32],
    ld: usize,
    i: usize,
    from: usize,
    n: usize,
) -> [usize; LANES] {
    let (mut most, mut rows) = ([0.0f32; LANES], [usize::MAX; LANES]);
    grid.covered(i, |_, pixel| {
        let Some(k) = pixel else { return };
        let row = &x[k * ld + from..][..n];
        for (l, v) in row.iter().enumerate() {
            if rows[l] == usize::MAX || v.is_nan() || *v > most[l] {
                (most[l], rows[l]) = (*v, k);
            }
        }
    });
    rows
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (grid, channels) = (p.w.grid(), p.w.channels as usize);
    let [inside, distinct] = grid.inside_and_covered().map(|n| n * p.w.samples as usize * channels);
    let rows = p.w.samples as usize * grid.count[0] * grid.count[1];
    let cost = Cost::new(inside).reads(0, Span::scattered(distinct));
    let cost = cost.reads(1, Span::scattered(rows * channels));
    cost.writes(2, Span::rows([p.y_offset, p.y_ld], [rows, channels]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, t, y] = args else { unreachable!("max_pool2d has three bindings") };
    let (x, t) = (&x.read()[p.x_offset as usize..], &t.read()[p.other_offset as usize..]);
    let y = &mut y.write()[p.y_offset as usize..];
    let (grid, channels) = (p.w.grid(), p.w.channels as usize);
    let rows = p.w.samples as usize * grid.count[0] * grid.count[1];
    let cost = rows * channels * grid.kernel[0] * grid.kernel[1];
    whole_rows(cx, y, p.y_ld as usize, [rows, channels], cost, |i, y| {
        for (block, y) in y.chunks_mut(LANES).enumerate() {
            let from = block * LANES;
            let best = first_largest(&grid, x, p.x_ld as usize, i, from, y.len());
            for (l, y) in y.iter_mut().enumerate() {
                *y = t[best[l] * p.other_ld as usize + from + l];
            }
        }
    });
}
