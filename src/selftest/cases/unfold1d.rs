//! Cases of `unfold1d`: kernels of 1 to 5, strides, padding, one step and many, odd channels.

use super::{at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::unfold1d::{Windows, command};

/// Samples, channels, steps, kernel, stride, padding.
pub(super) const SHAPES: [[usize; 6]; 14] = [
    [1, 1, 1, 1, 1, 0],
    [3, 17, 13, 1, 1, 0],
    [1, 7, 1, 5, 1, 2],
    [2, 3, 16, 5, 1, 2],
    [2, 8, 16, 3, 2, 1],
    [3, 5, 7, 3, 2, 1],
    [2, 6, 31, 4, 2, 1],
    [2, 31, 8, 4, 2, 1],
    [1, 65, 33, 5, 1, 2],
    [5, 33, 7, 3, 1, 0],
    [1, 4, 9, 2, 3, 0],
    [2, 7, 10, 4, 3, 2],
    [65, 2, 4, 3, 1, 1],
    [4, 129, 5, 5, 5, 4],
];

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, [samples, channels, steps, kernel, stride, padding]) in SHAPES.into_iter().enumerate() {
        let windows = Windows { steps, kernel, stride, padding };
        for form in 0..2 {
            let kind = [super::Operand::Dense, super::Operand::Gaps][(n + form) % 2];
            let (x, xv) = operand(kind, [samples * steps, channels], 1);
            let (yv, want) = output([samples * windows.count(), channels * kernel], form, |i, j| {
                let (s, u) = (i / windows.count(), i % windows.count());
                let t = (u * stride + j % kernel) as isize - padding as isize;
                let inside = (0..steps as isize).contains(&t);
                if inside { at(&x, &xv, s * steps + t as usize, j / kernel) } else { 0.0 }
            });
            out.push(Case {
                label: format!(
                    "unfold1d {samples}x{steps}x{channels} k{kernel} s{stride} p{padding} {kind:?}"
                ),
                command: command([samples, channels], &windows, (id(0), xv), (id(1), yv)),
                buffers: vec![x, vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 0.0,
            });
        }
    }
    out
}
