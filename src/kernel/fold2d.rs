//! `fold2d`: windows over images added up where they overlap: the adjoint of `unfold2d` (col2im).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::whole_rows;
use super::unfold2d::Params;
use super::windows2d::Windows2d;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "fold2d",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::fold2d::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::fold2d::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::fold2d::ONLY.workgroup[0] == 64);

/// Every pixel of y [samples * height * width, channels] as the sum, in a fixed order, of its places in the windows
/// x [samples * windows, channels * kernel], which lie as those of `unfold2d`. Both have plain rows.
pub fn command(
    [samples, channels]: [usize; 2],
    windows: &Windows2d,
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params::new([samples, channels], windows, &x_view, &y_view);
    let grid = fold(samples * windows.pixels() * channels, 64);
    Command::new(&KERNEL, &variant::fold2d::ONLY, &params, &[x, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [inside, _] = p.w.grid().inside_and_covered();
    let (samples, channels) = (p.w.samples as usize, p.w.channels as usize);
    let added = samples * channels * inside;
    let y = Span::rows([p.y_offset, p.y_ld], [samples * p.w.pixels(), channels]);
    Cost::new(added).reads(0, Span::scattered(added)).writes(1, y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("fold2d has two bindings") };
    let (x, y) = (&x.read()[p.x_offset as usize..], &mut y.write()[p.y_offset as usize..]);
    let (grid, channels) = (p.w.grid(), p.w.channels as usize);
    let kernel = grid.kernel[0] * grid.kernel[1];
    let samples = p.w.samples as usize;
    let rows = samples * grid.size[0] * grid.size[1];
    let cost = samples * grid.count[0] * grid.count[1] * channels * kernel;
    whole_rows(cx, y, p.y_ld as usize, [rows, channels], cost, |i, y| {
        y.fill(0.0);
        grid.covering(i, |place, window| {
            let row = &x[window * p.x_ld as usize..][..channels * kernel];
            y.iter_mut().zip(row[place..].iter().step_by(kernel)).for_each(|(y, x)| *y += x);
        });
    });
}
