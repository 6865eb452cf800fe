//! Cases of `window`: clamping at both ends of episodes, relative actions, offsets before and after the observation.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::window::{WindowShape, affine, command};
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (s, &batch) in SIZES.iter().enumerate() {
        for (history, o, horizon, a, action_offset) in
            [(1, 1, 1, 1, 0), (2, 5, 8, 2, -1), (3, 7, 5, 3, 0), (2, 31, 4, 7, 2)]
        {
            let shape = WindowShape { batch, history, obs_dim: o, horizon, action_dim: a, action_offset };
            // Three episodes; every row is the newest observation of a window.
            let episodes = [(0usize, 3usize), (4, 4), (5, 22)];
            let rows = 23;
            let table: Vec<[u32; 3]> = episodes
                .iter()
                .flat_map(|&(f, l)| (f..=l).map(move |r| [r as u32, f as u32, l as u32]))
                .collect();
            let index: Vec<u32> = (0..batch).map(|i| ((i * 11 + s) % rows) as u32).collect();
            let (obs, action) = (values(rows * o, 3), values(rows * a, 4));
            let positive = |n, seed| values(n, seed).iter().map(|v| 0.5 + v.abs()).collect::<Vec<_>>();
            let (oo, os) = (values(o, 5), positive(o, 6));
            let (ao, as_) = (values(horizon * a, 7), positive(horizon * a, 8));
            // Half of the cases have a clip, which cuts some of the values.
            let clip: Vec<f32> = if history == 2 { os.iter().map(|s| 0.4 * s).collect() } else { Vec::new() };
            let relative: Vec<Option<usize>> = (0..a).map(|d| (d % 2 == 0).then_some((d * 3) % o)).collect();
            let (mut want_obs, mut want_action) = (Vec::new(), Vec::new());
            for &w in &index {
                let [newest, first, last] = table[w as usize].map(|v| v as i64);
                for h in 0..history {
                    let row = (newest - (history - 1 - h) as i64).max(first) as usize;
                    for d in 0..o {
                        let v = (f64::from(obs[row * o + d]) - f64::from(oo[d])) * f64::from(os[d]);
                        let most = clip.get(d).map_or(f64::INFINITY, |c| f64::from(*c));
                        want_obs.push(v.clamp(-most, most));
                    }
                }
                for h in 0..horizon {
                    let row = (newest + i64::from(action_offset) + h as i64).clamp(first, last) as usize;
                    for d in 0..a {
                        let anchor = relative[d].map_or(0.0, |r| f64::from(obs[newest as usize * o + r]));
                        let x = f64::from(action[row * a + d]) - anchor;
                        want_action.push((x - f64::from(ao[h * a + d])) * f64::from(as_[h * a + d]));
                    }
                }
            }
            let id = [0, 1, 2, 3, 4, 5, 6].map(BufferId);
            let words = |v: &[u32]| v.iter().map(|v| f32::from_bits(*v)).collect::<Vec<_>>();
            out.push(Case {
                label: format!("window {shape:?}"),
                command: command(&shape, id[0], id[1], id[2], id[3], id[4], id[5], id[6]),
                buffers: vec![
                    words(&index),
                    words(table.as_flattened()),
                    obs,
                    action,
                    affine([&oo, &os, &clip], [&ao, &as_], &relative),
                    vec![0.0; want_obs.len()],
                    vec![0.0; want_action.len()],
                ],
                expect: vec![(5, want_obs), (6, want_action)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
