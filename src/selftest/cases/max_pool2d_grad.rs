//! Cases of `max_pool2d_grad`: the shapes and values of `max_pool2d`, by scattering every window's cotangent in f64.

use super::max_pool2d::{SHAPES, Values, largest, with};
use super::unfold2d::label;
use super::{at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::max_pool2d_grad::command;
use crate::kernel::windows2d::Windows2d;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, (counts, [size, kernel, stride, padding])) in SHAPES.into_iter().enumerate() {
        let windows = Windows2d::new(size, kernel, stride, padding);
        let [samples, channels] = counts;
        let (pixels, rows) = (samples * windows.pixels(), samples * windows.count());
        for (form, values) in [Values::Distinct, Values::Ties, Values::Odd].into_iter().enumerate() {
            let kinds = [super::Operand::Dense, super::Operand::Gaps];
            let (kind, other) = (kinds[(n + form) % 2], kinds[(n + form + 1) % 2]);
            let (mut x, xv) = operand(kind, [pixels, channels], 1);
            with(values, &mut x);
            let (d, dv) = operand(other, [rows, channels], 2);
            let mut sums = vec![0.0; pixels * channels];
            for i in 0..rows {
                for c in 0..channels {
                    sums[largest(&windows, (&x, &xv), i, c) * channels + c] += at(&d, &dv, i, c);
                }
            }
            let (yv, want) = output([pixels, channels], form, |i, c| sums[i * channels + c]);
            out.push(Case {
                label: format!("{} {values:?} {kind:?}", label("max_pool2d_grad", counts, &windows)),
                command: command(counts, &windows, (id(0), xv), (id(1), dv), (id(2), yv)),
                buffers: vec![x, d, vec![0.0; want.len()]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
