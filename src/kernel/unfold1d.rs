//! `unfold1d`: the windows of a convolution along time as rows, so that the convolution is a matrix product (im2col).

use super::call::{fold, params};
use super::cost::{Cost, Span, covered};
use super::rowwise::whole_rows;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// A convolution's windows along time: window u covers steps u stride - padding .. + kernel; steps outside are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Steps of a sample.
    pub steps: usize,
    /// Steps in a window.
    pub kernel: usize,
    /// Steps between windows.
    pub stride: usize,
    /// Zero steps before and after a sample.
    pub padding: usize,
}

impl Windows {
    /// Windows of a sample; 0 where the kernel is longer than the padded sample or a number is out of range.
    pub const fn count(&self) -> usize {
        let padded = self.steps + 2 * self.padding;
        if self.kernel == 0 || self.stride == 0 || self.kernel > padded {
            return 0;
        }
        (padded - self.kernel) / self.stride + 1
    }
}

/// Parameters of `unfold1d` and `fold1d`; mirrors the WGSL structs.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) samples: u32,
    pub(super) channels: u32,
    pub(super) steps: u32,
    pub(super) windows: u32,
    pub(super) kernel: u32,
    pub(super) stride: u32,
    pub(super) padding: u32,
    pub(super) x_offset: u32,
    pub(super) x_ld: u32,
    pub(super) y_offset: u32,
    pub(super) y_ld: u32,
    pad: u32,
}

impl Params {
    pub(super) fn new([samples, channels]: [usize; 2], w: &Windows, x: &View, y: &View) -> Params {
        debug_assert!(x.plain_rows() && y.plain_rows());
        Params {
            samples: samples as u32,
            channels: channels as u32,
            steps: w.steps as u32,
            windows: w.count() as u32,
            kernel: w.kernel as u32,
            stride: w.stride as u32,
            padding: w.padding as u32,
            x_offset: x.offset,
            x_ld: x.row_stride,
            y_offset: y.offset,
            y_ld: y.row_stride,
            pad: 0,
        }
    }

    /// Of a sample: places of windows within it, and steps that some window covers.
    pub(super) fn covered(&self) -> [usize; 2] {
        covered([self.steps, self.windows, self.kernel, self.stride, self.padding].map(|n| n as usize))
    }
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "unfold1d",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::unfold1d::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::unfold1d::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::unfold1d::ONLY.workgroup[0] == 64);

/// y[s windows + u, c kernel + k] = x[s steps + u stride - padding + k, c], or 0 outside the sample; x is
/// [samples * steps, channels], y is [samples * windows, channels * kernel], both with plain rows.
pub fn command(
    [samples, channels]: [usize; 2],
    windows: &Windows,
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params::new([samples, channels], windows, &x_view, &y_view);
    let elements = samples * windows.count() * channels * windows.kernel;
    Command::new(&KERNEL, &variant::unfold1d::ONLY, &params, &[x, y], fold(elements, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [_, distinct] = p.covered();
    let (samples, channels) = (p.samples as usize, p.channels as usize);
    let y = [samples * p.windows as usize, channels * p.kernel as usize];
    let cost = Cost::new(0).reads(0, Span::scattered(samples * channels * distinct));
    cost.writes(1, Span::rows([p.y_offset, p.y_ld], y))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("unfold1d has two bindings") };
    let (x, y) = (&x.read()[p.x_offset as usize..], &mut y.write()[p.y_offset as usize..]);
    let [channels, steps, windows, kernel] = [p.channels, p.steps, p.windows, p.kernel].map(|n| n as usize);
    let (rows, cols) = (p.samples as usize * windows, channels * kernel);
    whole_rows(cx, y, p.y_ld as usize, [rows, cols], rows * cols, |i, y| {
        let (s, u) = (i / windows, i % windows);
        for k in 0..kernel {
            let out = y[k..].iter_mut().step_by(kernel);
            match (u * p.stride as usize + k).checked_sub(p.padding as usize) {
                Some(t) if t < steps => {
                    let row = &x[(s * steps + t) * p.x_ld as usize..][..channels];
                    out.zip(row).for_each(|(y, x)| *y = *x);
                }
                _ => out.for_each(|y| *y = 0.0),
            }
        }
    });
}
