//! Cases of `prefix`: no delay, delays within the chunk and beyond it.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::prefix::{Buffers, command};
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for [horizon, dim] in [[1, 1], [7, 1], [3, 11], [16, 2], [33, 3]] {
            for weight in [1.0f32, 1.125] {
                let n = rows * horizon * dim;
                let delays: Vec<u32> = (0..rows as u32).map(|r| (r * 5) % (horizon as u32 + 3)).collect();
                let t: Vec<f32> = (0..rows).map(|r| ((r * 37) % 101) as f32 / 101.0).collect();
                let (x1, xt, ut) = (values(n, 1), values(n, 2), values(n, 3));
                let decided = |e: usize| (e / dim % horizon) < delays[e / (dim * horizon)] as usize;
                let of = |f: &dyn Fn(usize) -> f64, n: usize| (0..n).map(f).collect::<Vec<f64>>();
                let want_xt = of(&|e| f64::from(if decided(e) { x1[e] } else { xt[e] }), n);
                let want_ut = of(&|e| if decided(e) { 0.0 } else { f64::from(weight) * f64::from(ut[e]) }, n);
                let want_mask = of(&|e| if decided(e) { 0.0 } else { f64::from(weight) }, n);
                let want_times =
                    of(&|a| if decided(a * dim) { 1.0 } else { f64::from(t[a / horizon]) }, rows * horizon);
                let id = [0, 1, 2, 3, 4, 5, 6].map(BufferId);
                let buffers = Buffers {
                    delay: id[0],
                    t: id[1],
                    x1: id[2],
                    xt: id[3],
                    ut: id[4],
                    times: id[5],
                    mask: id[6],
                };
                out.push(Case {
                    label: format!("prefix {rows}x{horizon}x{dim}, weight {weight}"),
                    command: command([rows, horizon, dim], weight, &buffers),
                    buffers: vec![
                        delays.iter().map(|d| f32::from_bits(*d)).collect(),
                        t,
                        x1,
                        xt,
                        ut,
                        vec![0.0; rows * horizon],
                        vec![0.0; n],
                    ],
                    expect: vec![(3, want_xt), (4, want_ut), (5, want_times), (6, want_mask)],
                    exact: false,
                    tolerance: 1e-6,
                });
            }
        }
    }
    out
}
