//! Cases of `fold2d`: the shapes of `unfold2d`, by scattering every window in f64.

use super::unfold2d::{SHAPES, label, pixel};
use super::{at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::fold2d::command;
use crate::kernel::windows2d::Windows2d;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, (counts, [size, kernel, stride, padding])) in SHAPES.into_iter().enumerate() {
        let windows = Windows2d::new(size, kernel, stride, padding);
        let [samples, channels] = counts;
        let [rows, cols] = [samples * windows.count(), channels * windows.kernel()];
        for form in 0..2 {
            let kind = [super::Operand::Dense, super::Operand::Gaps][(n + form) % 2];
            let (x, xv) = operand(kind, [rows, cols], 1);
            let mut sums = vec![0.0; samples * windows.pixels() * channels];
            for i in 0..rows {
                for j in 0..cols {
                    let (c, place) = (j / windows.kernel(), j % windows.kernel());
                    if let Some(row) = pixel(&windows, i, [place / kernel[1], place % kernel[1]]) {
                        sums[row * channels + c] += at(&x, &xv, i, j);
                    }
                }
            }
            let shape = [samples * windows.pixels(), channels];
            let (yv, want) = output(shape, form, |i, c| sums[i * channels + c]);
            out.push(Case {
                label: format!("{} {kind:?}", label("fold2d", counts, &windows)),
                command: command(counts, &windows, (id(0), xv), (id(1), yv)),
                buffers: vec![x, vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
