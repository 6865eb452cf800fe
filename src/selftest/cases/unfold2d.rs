//! Cases of `unfold2d`: kernels of 1 to 7, strides, padding, images that are no squares, one pixel and many, odd channels.

use super::{at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::unfold2d::command;
use crate::kernel::windows2d::Windows2d;

/// Samples and channels; height and width of the image, the kernel, the stride and the padding.
pub(super) type Sizes = ([usize; 2], [[usize; 2]; 4]);

pub(super) const SHAPES: [Sizes; 15] = [
    ([1, 1], [[1, 1], [1, 1], [1, 1], [0, 0]]),
    ([3, 7], [[5, 6], [1, 1], [1, 1], [0, 0]]),
    ([2, 3], [[9, 9], [3, 3], [1, 1], [1, 1]]),
    ([2, 4], [[17, 17], [7, 7], [2, 2], [3, 3]]),
    ([1, 31], [[7, 5], [3, 3], [2, 2], [1, 1]]),
    ([1, 33], [[4, 9], [2, 3], [2, 3], [0, 1]]),
    ([1, 65], [[3, 3], [3, 3], [3, 3], [1, 1]]),
    ([65, 2], [[3, 4], [2, 2], [1, 1], [1, 0]]),
    ([2, 5], [[1, 31], [1, 5], [1, 2], [0, 2]]),
    ([2, 5], [[33, 1], [5, 1], [3, 1], [2, 0]]),
    ([3, 7], [[10, 11], [4, 4], [3, 2], [2, 1]]),
    ([1, 6], [[2, 2], [5, 5], [1, 1], [2, 2]]),
    ([1, 1], [[65, 33], [3, 3], [2, 2], [1, 1]]),
    ([4, 129], [[3, 3], [2, 2], [1, 1], [0, 0]]),
    // Enough to be split over threads.
    ([2, 16], [[17, 16], [5, 5], [1, 1], [2, 2]]),
];

/// What the label of a case says of its windows.
pub(super) fn label(name: &str, [samples, channels]: [usize; 2], windows: &Windows2d) -> String {
    let (h, w) = (&windows.height, &windows.width);
    format!(
        "{name} {samples}x{}x{}x{channels} k{}x{} s{}x{} p{}x{}",
        h.steps, w.steps, h.kernel, w.kernel, h.stride, w.stride, h.padding, w.padding
    )
}

/// The row of the pixels that place (a, b) of window `i` (of all samples) covers, by signed coordinates.
pub(super) fn pixel(w: &Windows2d, i: usize, [a, b]: [usize; 2]) -> Option<usize> {
    let (down, across) = (&w.height, &w.width);
    let (s, window) = (i / w.count(), i % w.count());
    let r = (window / across.count() * down.stride + a) as isize - down.padding as isize;
    let q = (window % across.count() * across.stride + b) as isize - across.padding as isize;
    let inside = (0..down.steps as isize).contains(&r) && (0..across.steps as isize).contains(&q);
    inside.then(|| s * w.pixels() + r as usize * across.steps + q as usize)
}

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, (counts, [size, kernel, stride, padding])) in SHAPES.into_iter().enumerate() {
        let windows = Windows2d::new(size, kernel, stride, padding);
        let [samples, channels] = counts;
        for form in 0..2 {
            let kind = [super::Operand::Dense, super::Operand::Gaps][(n + form) % 2];
            let (x, xv) = operand(kind, [samples * windows.pixels(), channels], 1);
            let shape = [samples * windows.count(), channels * windows.kernel()];
            let (yv, want) = output(shape, form, |i, j| {
                let (c, place) = (j / windows.kernel(), j % windows.kernel());
                let from = pixel(&windows, i, [place / kernel[1], place % kernel[1]]);
                from.map_or(0.0, |row| at(&x, &xv, row, c))
            });
            out.push(Case {
                label: format!("{} {kind:?}", label("unfold2d", counts, &windows)),
                command: command(counts, &windows, (id(0), xv), (id(1), yv)),
                buffers: vec![x, vec![0.0; want.len()]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 0.0,
            });
        }
    }
    out
}
