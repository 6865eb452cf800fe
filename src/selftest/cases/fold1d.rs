//! Cases of `fold1d`: the shapes of `unfold1d`, by scattering every window in f64.

use super::unfold1d::SHAPES;
use super::{at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::fold1d::command;
use crate::kernel::unfold1d::Windows;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, [samples, channels, steps, kernel, stride, padding]) in SHAPES.into_iter().enumerate() {
        let windows = Windows { steps, kernel, stride, padding };
        let count = windows.count();
        for form in 0..2 {
            let kind = [super::Operand::Dense, super::Operand::Gaps][(n + form) % 2];
            let (x, xv) = operand(kind, [samples * count, channels * kernel], 1);
            let mut sums = vec![0.0; samples * steps * channels];
            for i in 0..samples * count {
                for j in 0..channels * kernel {
                    let t = ((i % count) * stride + j % kernel) as isize - padding as isize;
                    if (0..steps as isize).contains(&t) {
                        let row = i / count * steps + t as usize;
                        sums[row * channels + j / kernel] += at(&x, &xv, i, j);
                    }
                }
            }
            let (yv, want) = output([samples * steps, channels], form, |i, j| sums[i * channels + j]);
            out.push(Case {
                label: format!("fold1d {samples}x{steps}x{channels} k{kernel} s{stride} p{padding} {kind:?}"),
                command: command([samples, channels], &windows, (id(0), xv), (id(1), yv)),
                buffers: vec![x, vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
