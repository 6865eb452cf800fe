//! Cases of `denormalize`: repeated observations, relative dimensions, columns that carry nothing, and the count of non-finite
//! outputs.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::denormalize::{DenormShape, command};
use crate::kernel::state::{NON_FINITE, State};
use crate::kernel::window::affine;
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for (samples_per_obs, horizon, a, history, o) in [(1, 1, 1, 1, 1), (4, 8, 2, 2, 5), (33, 5, 7, 3, 31)]
        {
            let shape = DenormShape { rows, samples_per_obs, horizon, action_dim: a, history, obs_dim: o };
            let tall = horizon * a;
            let n = rows * tall;
            let x = values(n, 1);
            let obs = values(rows.div_ceil(samples_per_obs) * history * o, 2);
            // Every third column carries nothing.
            let scale = |(i, v): (usize, &f32)| if i % 3 == 1 { 0.0 } else { 0.5 + v.abs() };
            let (ao, scale) =
                (values(tall, 3), values(tall, 4).iter().enumerate().map(scale).collect::<Vec<_>>());
            let relative: Vec<Option<usize>> = (0..a).map(|d| (d % 2 == 0).then_some((d * 3) % o)).collect();
            let words = affine([&values(o, 5), &values(o, 6), &[]], [&ao, &scale], &relative);
            let want = (0..n)
                .map(|e| {
                    let (q, m) = (e % tall, e / tall / samples_per_obs);
                    let anchor =
                        relative[q % a].map_or(0.0, |d| f64::from(obs[(m * history + history - 1) * o + d]));
                    let x = if scale[q] == 0.0 { 0.0 } else { f64::from(x[e]) / f64::from(scale[q]) };
                    x + f64::from(ao[q]) + anchor
                })
                .collect();
            let mut broken = x.clone();
            broken[0] = f32::NAN;
            broken[n - 1] = f32::INFINITY;
            broken[n / 2] = f32::NEG_INFINITY;
            // What the network says of a column that carries nothing is not looked at.
            let count =
                broken.iter().enumerate().filter(|(e, v)| !v.is_finite() && scale[e % tall] != 0.0).count();
            let mut before = State::new(7, 9);
            before.non_finite = 40;
            let mut after = [f64::NAN; 16];
            after[NON_FINITE] = 40.0 + count as f64;
            let id = [0, 1, 2, 3, 4].map(BufferId);
            for (x, expect, exact) in [(x, (3, want), false), (broken, (4, after.to_vec()), true)] {
                out.push(Case {
                    label: format!("denormalize {shape:?} broken {exact}"),
                    command: command(&shape, id[0], id[1], id[2], id[3], id[4]),
                    buffers: vec![x, words.clone(), obs.clone(), vec![0.0; n], before.words()],
                    expect: vec![expect],
                    exact,
                    tolerance: 1e-6,
                });
            }
        }
    }
    out
}
