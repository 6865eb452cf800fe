//! `fold1d`: windows along time added up where they overlap: the adjoint of `unfold1d`, and what makes a transposed
//! convolution of a matrix product (col2im).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::whole_rows;
use super::unfold1d::{Params, Windows};
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "fold1d",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::fold1d::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::fold1d::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::fold1d::ONLY.workgroup[0] == 64);

/// y[s steps + t, c] = sum over k, in order, of x[s windows + u, c kernel + k] with u stride + k - padding = t and
/// u < windows; x is [samples * windows, channels * kernel], y is [samples * steps, channels], both with plain rows.
pub fn command(
    [samples, channels]: [usize; 2],
    windows: &Windows,
    (x, x_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params::new([samples, channels], windows, &x_view, &y_view);
    let grid = fold(samples * windows.steps * channels, 64);
    Command::new(&KERNEL, &variant::fold1d::ONLY, &params, &[x, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [inside, _] = p.covered();
    let (samples, channels) = (p.samples as usize, p.channels as usize);
    let added = samples * channels * inside;
    let y = Span::rows([p.y_offset, p.y_ld], [samples * p.steps as usize, channels]);
    Cost::new(added).reads(0, Span::scattered(added)).writes(1, y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, y] = args else { unreachable!("fold1d has two bindings") };
    let (x, y) = (&x.read()[p.x_offset as usize..], &mut y.write()[p.y_offset as usize..]);
    let [channels, steps, windows, kernel, stride] =
        [p.channels, p.steps, p.windows, p.kernel, p.stride].map(|n| n as usize);
    let rows = p.samples as usize * steps;
    let cost = rows * channels * kernel.div_ceil(stride.max(1));
    whole_rows(cx, y, p.y_ld as usize, [rows, channels], cost, |i, y| {
        let (s, t) = (i / steps, i % steps);
        y.fill(0.0);
        for k in 0..kernel {
            let Some(at) = (t + p.padding as usize).checked_sub(k) else { break };
            if at % stride == 0 && at / stride < windows {
                let row = &x[(s * windows + at / stride) * p.x_ld as usize..][..channels * kernel];
                y.iter_mut().zip(row[k..].iter().step_by(kernel)).for_each(|(y, x)| *y += x);
            }
        }
    });
}
