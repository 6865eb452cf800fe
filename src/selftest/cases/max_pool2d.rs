//! Cases of `max_pool2d`: of x itself and of another tensor; with ties, infinities and NaNs among the values compared.

use super::unfold2d::{Sizes, label, pixel};
use super::{at, id, operand, output};
use crate::kernel::case::Case;
use crate::kernel::max_pool2d::command;
use crate::kernel::windows2d::Windows2d;
use crate::kernel::{Target, View};

/// As those of `unfold2d`, with a padding of at most half the kernel.
pub(super) const SHAPES: [Sizes; 13] = [
    ([1, 1], [[1, 1], [1, 1], [1, 1], [0, 0]]),
    ([3, 7], [[5, 6], [1, 1], [1, 1], [0, 0]]),
    ([2, 3], [[15, 15], [3, 3], [2, 2], [1, 1]]),
    ([1, 31], [[7, 5], [3, 3], [2, 2], [1, 1]]),
    ([1, 33], [[4, 9], [2, 3], [2, 3], [0, 1]]),
    ([1, 65], [[3, 3], [3, 3], [3, 3], [1, 1]]),
    ([65, 2], [[3, 4], [2, 2], [1, 1], [1, 0]]),
    ([2, 5], [[1, 31], [1, 5], [1, 2], [0, 2]]),
    ([2, 5], [[33, 1], [5, 1], [3, 1], [2, 0]]),
    ([3, 7], [[10, 11], [4, 4], [3, 2], [2, 1]]),
    ([1, 6], [[3, 3], [4, 4], [1, 1], [2, 2]]),
    ([1, 1], [[65, 33], [3, 3], [2, 2], [1, 1]]),
    // Enough to be split over threads.
    ([2, 17], [[16, 17], [3, 3], [1, 1], [1, 1]]),
];

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Values {
    /// Hardly ever equal.
    Distinct,
    /// A few values only.
    Ties,
    /// Those, and both infinities and NaNs.
    Odd,
}

/// Turns test values into such.
pub(super) fn with(values: Values, x: &mut [f32]) {
    if values == Values::Distinct {
        return;
    }
    for (e, v) in x.iter_mut().enumerate() {
        *v = v.round();
        match (values, e % 7) {
            (Values::Odd, 1) => *v = f32::NEG_INFINITY,
            (Values::Odd, 3) if e % 3 == 0 => *v = f32::INFINITY,
            (Values::Odd, 5) if e % 2 == 0 => *v = f32::NAN,
            _ => {}
        }
    }
}

/// The row where window `i` has its largest element of channel c, as PyTorch's loop finds it.
pub(super) fn largest(w: &Windows2d, (x, xv): (&[f32], &View), i: usize, c: usize) -> usize {
    let (mut best, mut most) = (None, f64::NEG_INFINITY);
    for place in 0..w.kernel() {
        let Some(row) = pixel(w, i, [place / w.width.kernel, place % w.width.kernel]) else { continue };
        let value = at(x, xv, row, c);
        best = best.or(Some(row));
        if value > most || value.is_nan() {
            (best, most) = (Some(row), value);
        }
    }
    best.unwrap_or(usize::MAX)
}

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, (counts, [size, kernel, stride, padding])) in SHAPES.into_iter().enumerate() {
        let windows = Windows2d::new(size, kernel, stride, padding);
        let [samples, channels] = counts;
        let shape = [samples * windows.pixels(), channels];
        for (form, values) in [Values::Distinct, Values::Ties, Values::Odd].into_iter().enumerate() {
            let kind = [super::Operand::Dense, super::Operand::Gaps][(n + form) % 2];
            let (mut x, xv) = operand(kind, shape, 1);
            with(values, &mut x);
            // Of odd values another tensor is taken, so that the result is finite; of the others that and x itself.
            for itself in [true, false] {
                if itself && values == Values::Odd {
                    continue;
                }
                let (t, tv) = if itself { (x.clone(), xv) } else { operand(super::Operand::Gaps, shape, 2) };
                let (yv, want) = output([samples * windows.count(), channels], form, |i, c| {
                    at(&t, &tv, largest(&windows, (&x, &xv), i, c), c)
                });
                let what = if itself { "x" } else { "t" };
                let (t_id, y_id) = if itself { (0, 1) } else { (1, 2) };
                let mut buffers = vec![x.clone()];
                buffers.extend((!itself).then_some(t));
                buffers.push(vec![0.0; want.len()]);
                out.push(Case {
                    label: format!("{} of {what} {values:?} {kind:?}", label("max_pool2d", counts, &windows)),
                    command: command(counts, &windows, (id(0), xv), (id(t_id), tv), (id(y_id), yv)),
                    buffers,
                    expect: vec![(y_id as usize, want)],
                    exact: false,
                    tolerance: 0.0,
                });
            }
        }
    }
    out
}
