//! `unfold2d`: the windows of a convolution over images as rows, so that the convolution is a matrix product (im2col).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::whole_rows;
use super::windows2d::{WindowParams, Windows2d};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters of `unfold2d` and `fold2d`; mirrors the WGSL structs.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) w: WindowParams,
    pub(super) x_offset: u32,
    pub(super) x_ld: u32,
    pub(super) y_offset: u32,
    pub(super) y_ld: u32,
}

impl Params {
    pub(super) fn new(size: [usize; 2], w: &Windows2d, x: &View, y: &View) -> Params {
        debug_assert!(x.plain_rows() && y.plain_rows());
        Params {
            w: WindowParams::new(size, w),
            x_offset: x.offset,
            x_ld: x.row_stride,
            y_offset: y.offset,
            y_ld: y.row_stride,
        }
    }
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "unfold2d",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::unfold2d::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::unfold2d::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::unfold2d::ONLY.workgroup[0] == 64);

/// The windows of x [samples * height * width, channels] as rows of y [samples * windows, channels * kernel], windows row by
/// row, column (c kernel_h + a) kernel_w + b; 0 outside the image. Both have plain rows.
pub fn command(
    [samples, channels]: [usize; 2],
    windows: &Windows2d,
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params::new([samples, channels], windows, &x_view, &y_view);
    let elements = samples * windows.count() * channels * windows.kernel();
    Command::new(&KERNEL, &variant::unfold2d::ONLY, &params, &[x, y], fold(elements, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let grid = p.w.grid();
    let [_, distinct] = grid.inside_and_covered();
    let (samples, channels) = (p.w.samples as usize, p.w.channels as usize);
    let y = [samples * grid.count[0] * grid.count[1], channels * grid.kernel[0] * grid.kernel[1]];
    let cost = Cost::new(0).reads(0, Span::scattered(samples * channels * distinct));
    cost.writes(1, Span::rows([p.y_offset, p.y_ld], y))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("unfold2d has two bindings") };
    let (x, y) = (&x.read()[p.x_offset as usize..], &mut y.write()[p.y_offset as usize..]);
    let (grid, channels) = (p.w.grid(), p.w.channels as usize);
    let kernel = grid.kernel[0] * grid.kernel[1];
    let (rows, cols) = (p.w.samples as usize * grid.count[0] * grid.count[1], channels * kernel);
    whole_rows(cx, y, p.y_ld as usize, [rows, cols], rows * cols, |i, y| {
        grid.covered(i, |place, pixel| {
            let out = y[place..].iter_mut().step_by(kernel);
            match pixel {
                Some(k) => {
                    out.zip(&x[k * p.x_ld as usize..][..channels]).for_each(|(y, x)| *y = *x);
                }
                None => out.for_each(|y| *y = 0.0),
            }
        });
    });
}
