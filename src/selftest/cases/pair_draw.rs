//! Cases of `pair_draw`: every tile; flat and steep plans; the drawn columns against running sums in f64.

use super::{ROWS, id, values};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::pair_draw::command;
use crate::kernel::philox::{counter, key, uniform_block};
use crate::kernel::state::State;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let (seed, step, stream) = (0x1234_5678_9abc_def0_u64, (3 << 32) + 5, 9);
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for scale in [0.0, 0.3, 12.0] {
            let cost: Vec<f32> = values(rows * cols, 1).iter().map(|c| 2.0 * c * c).collect();
            let v = values(cols, 2);
            let term =
                |i: usize, j: usize| f64::from(v[j]) - f64::from(scale) * f64::from(cost[i * cols + j]);
            // A plan's row has mass 1 / rows.
            let u: Vec<f32> = (0..rows)
                .map(|i| -(rows as f64 * (0..cols).map(|j| term(i, j).exp()).sum::<f64>()).ln() as f32)
                .collect();
            let column = |i: usize| {
                let uniform = f64::from(uniform_block(counter(i as u64 / 4, step), key(seed, stream))[i % 4]);
                let total: f64 = (0..cols).map(|j| term(i, j).exp()).sum();
                let mut running = 0.0;
                (0..cols).find(|j| {
                    running += term(i, *j).exp();
                    uniform * total < running
                })
            };
            let mut want: Vec<f64> = (0..rows).map(|i| column(i).unwrap_or(cols - 1) as f64).collect();
            want.push(f64::NAN);
            out.push(Case {
                label: format!("pair_draw {rows}x{cols} scale {scale}"),
                command: command([rows, cols], scale, stream, id(0), [id(1), id(2)], id(3), id(4)),
                buffers: vec![cost, u, v, State::new(seed, step).words(), vec![0.0; rows + 1]],
                expect: vec![(4, want)],
                exact: true,
                tolerance: 0.0,
            });
        }
    }
    out
}
