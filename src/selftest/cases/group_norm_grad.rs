//! Cases of `group_norm_grad` against the closed form in f64.

use super::group_norm::{EPS, SHAPES, group_of, members, statistics};
use super::{OPERANDS, Operand, at, id, operand, output};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::group_norm::Groups;
use crate::kernel::group_norm_grad::command;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [samples, steps, channels, groups] in SHAPES {
        let shape = Groups { samples, steps, channels, groups };
        let (size, width) = ([samples * steps, channels], channels / groups);
        // A group of two elements or fewer has a gradient that is all cancellation.
        if steps * width < 3 {
            continue;
        }
        for (k, of_d) in OPERANDS.into_iter().enumerate() {
            let (mut x, xv) = operand([Operand::Dense, Operand::Gaps][k % 2], size, 1);
            x.iter_mut().for_each(|v| *v += 0.5);
            let (d, dv) = operand(of_d, size, 2);
            let of_groups: Vec<_> = (0..samples * groups)
                .map(|g| {
                    let n = (steps * width) as f64;
                    let (mean, rstd) = statistics(&x, &xv, &shape, g);
                    let hat = |i: usize, j: usize| (at(&x, &xv, i, j) - mean) * rstd;
                    let d_mean = members(&shape, g).map(|(i, j)| at(&d, &dv, i, j)).sum::<f64>() / n;
                    let slope =
                        members(&shape, g).map(|(i, j)| at(&d, &dv, i, j) * hat(i, j)).sum::<f64>() / n;
                    [mean, rstd, d_mean, slope]
                })
                .collect();
            let (yv, want) = output(size, k, |i, j| {
                let [mean, rstd, d_mean, slope] = of_groups[group_of(&shape, i, j)];
                rstd * (at(&d, &dv, i, j) - d_mean - (at(&x, &xv, i, j) - mean) * rstd * slope)
            });
            let norm = want.iter().filter(|v| !v.is_nan()).map(|v| v * v).sum::<f64>().sqrt();
            if norm < 1e-2 {
                continue;
            }
            out.push(Case {
                label: format!("group_norm_grad {samples}x{steps}x{channels} in {groups}, {of_d:?}"),
                command: command(EPS, shape, (id(0), xv), (id(1), dv), (id(2), yv)),
                buffers: vec![x, d, vec![0.0; want.len()]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 1e-5,
            });
        }
    }
    out
}
