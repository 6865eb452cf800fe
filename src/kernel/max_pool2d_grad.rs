//! `max_pool2d_grad`: cotangents of windows over images, added up in the places of their first largest elements.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::max_pool2d::{LANES, Params, first_largest};
use super::rowwise::whole_rows;
use super::windows2d::Windows2d;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "max_pool2d_grad",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::max_pool2d_grad::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::max_pool2d_grad::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::max_pool2d_grad::ONLY.workgroup[0] == 64);

/// y, like x [samples * height * width, channels]: every element as the sum, in a fixed order, of the cotangents
/// d [samples * windows, channels] of the windows whose first largest element it is (see `max_pool2d`). All have plain rows.
pub fn command(
    [samples, channels]: [usize; 2],
    windows: &Windows2d,
    (x, x_view): (BufferId, View),
    (d, d_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params::new([samples, channels], windows, &x_view, &d_view, &y_view);
    let grid = fold(samples * windows.pixels() * channels, 64);
    Command::new(&KERNEL, &variant::max_pool2d_grad::ONLY, &params, &[x, d, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (grid, channels) = (p.w.grid(), p.w.channels as usize);
    let [inside, distinct] = grid.inside_and_covered().map(|n| n * p.w.samples as usize * channels);
    let windows = p.w.samples as usize * grid.count[0] * grid.count[1];
    let cost = Cost::new(inside + windows * channels).reads(0, Span::scattered(distinct));
    let cost = cost.reads(1, Span::rows([p.other_offset, p.other_ld], [windows, channels]));
    cost.writes(2, Span::rows([p.y_offset, p.y_ld], [p.w.samples as usize * p.w.pixels(), channels]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, d, y] = args else { unreachable!("max_pool2d_grad has three bindings") };
    let (x, d) = (&x.read()[p.x_offset as usize..], &d.read()[p.other_offset as usize..]);
    let y = &mut y.write()[p.y_offset as usize..];
    let (grid, channels) = (p.w.grid(), p.w.channels as usize);
    let (samples, kernel) = (p.w.samples as usize, grid.kernel[0] * grid.kernel[1]);
    let rows = samples * grid.size[0] * grid.size[1];
    // Every pixel looks through every window that covers it.
    let cost = samples * grid.count[0] * grid.count[1] * channels * kernel * kernel;
    whole_rows(cx, y, p.y_ld as usize, [rows, channels], cost, |i, y| {
        y.fill(0.0);
        for (block, y) in y.chunks_mut(LANES).enumerate() {
            let from = block * LANES;
            grid.covering(i, |_, window| {
                let best = first_largest(&grid, x, p.x_ld as usize, window, from, y.len());
                let d = &d[window * p.other_ld as usize + from..][..y.len()];
                for (l, (y, d)) in y.iter_mut().zip(d).enumerate() {
                    if best[l] == i {
                        *y += d;
                    }
                }
            });
        }
    });
}
