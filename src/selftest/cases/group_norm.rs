//! Cases of `group_norm`: every tile, odd widths, one group and one channel per group, and everything that may follow.

use super::oracle::activation;
use super::{OPERANDS, Operand, at, id, operand, output, values};
use crate::kernel::case::Case;
use crate::kernel::group_norm::{After, Groups, command};
use crate::kernel::math::Activation;
use crate::kernel::{Target, View};

/// The eps of the cases.
pub(super) const EPS: f32 = 1e-5;

/// Samples, steps, channels, groups.
pub(super) const SHAPES: [[usize; 4]; 10] = [
    [1, 7, 1, 1],
    [2, 16, 16, 8],
    [3, 5, 24, 4],
    [65, 4, 6, 2],
    [7, 1, 33, 3],
    [33, 2, 8, 1],
    [2, 31, 65, 5],
    [1, 16, 256, 8],
    [5, 3, 62, 31],
    [1, 129, 28, 4],
];

/// Rows and columns of the elements of group `g`, counted over all samples.
pub(super) fn members(shape: &Groups, g: usize) -> impl Iterator<Item = (usize, usize)> {
    let (width, steps) = (shape.channels / shape.groups, shape.steps);
    let (row, column) = (g / shape.groups * steps, g % shape.groups * width);
    (0..steps * width).map(move |e| (row + e / width, column + e % width))
}

/// The group of an element, counted over all samples.
pub(super) fn group_of(shape: &Groups, i: usize, j: usize) -> usize {
    i / shape.steps * shape.groups + j / (shape.channels / shape.groups)
}

/// Mean and reciprocal deviation of a group, in f64.
pub(super) fn statistics(x: &[f32], view: &View, shape: &Groups, g: usize) -> (f64, f64) {
    let all: Vec<f64> = members(shape, g).map(|(i, j)| at(x, view, i, j)).collect();
    let n = all.len() as f64;
    let mean = all.iter().sum::<f64>() / n;
    let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, 1.0 / (variance + f64::from(EPS)).sqrt())
}

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, [samples, steps, channels, groups]) in SHAPES.into_iter().enumerate() {
        let shape = Groups { samples, steps, channels, groups };
        let size = [samples * steps, channels];
        for parts in 0..8 {
            let kind = [Operand::Dense, Operand::Gaps][(n + parts) % 2];
            let (mut x, xv) = operand(kind, size, 1);
            x.iter_mut().for_each(|v| *v += 1.5);
            let (w, b) = (values(channels + 5, 2), values(channels + 2, 3));
            let (scale, sv) = operand(OPERANDS[(n + parts) % OPERANDS.len()], size, 4);
            let (shift, tv) = operand(OPERANDS[(2 * n + parts + 1) % OPERANDS.len()], size, 5);
            let act = [Activation::Identity, Activation::Mish, Activation::Silu, Activation::Mish][parts % 4];
            let has = |part: usize| parts == 7 || (parts >= part && (parts + n) % 3 != 2);
            let after = After {
                weight: (parts > 0).then_some((id(1), 5)),
                bias: (parts > 1).then_some((id(2), 2)),
                act,
                scale: has(3).then_some((id(3), sv)),
                shift: has(5).then_some((id(4), tv)),
            };
            let of_groups: Vec<_> = (0..samples * groups).map(|g| statistics(&x, &xv, &shape, g)).collect();
            let (yv, want) = output(size, parts, |i, j| {
                let (mean, rstd) = of_groups[group_of(&shape, i, j)];
                let mut y = (at(&x, &xv, i, j) - mean) * rstd;
                if parts > 0 {
                    y *= f64::from(w[5 + j]);
                }
                if parts > 1 {
                    y += f64::from(b[2 + j]);
                }
                y = activation(act, 0, y);
                if has(3) {
                    y *= at(&scale, &sv, i, j);
                }
                if has(5) { y + at(&shift, &tv, i, j) } else { y }
            });
            out.push(Case {
                label: format!(
                    "group_norm {samples}x{steps}x{channels} in {groups}, parts {parts}, {kind:?}"
                ),
                command: command(EPS, shape, (id(0), xv), &after, (id(5), yv), id(1)),
                buffers: vec![x, w, b, scale, shift, vec![0.0; want.len()]],
                expect: vec![(5, want)],
                exact: false,
                tolerance: 1e-5,
            });
        }
    }
    out
}
