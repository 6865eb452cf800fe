//! Cases of `window_mask`: rows before and past their episode, windows drawn twice.

use super::SIZES;
use crate::kernel::case::Case;
use crate::kernel::window::WindowShape;
use crate::kernel::window_mask::command;
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (s, &batch) in SIZES.iter().enumerate() {
        for (horizon, a, action_offset) in [(1, 1, 0), (8, 2, -1), (5, 3, 0), (4, 7, 2), (33, 1, -3)] {
            let shape = WindowShape { batch, history: 1, obs_dim: 1, horizon, action_dim: a, action_offset };
            // Three episodes; every row is the newest observation of a window.
            let episodes = [(0u32, 3u32), (4, 4), (5, 22)];
            let table: Vec<[u32; 3]> =
                episodes.iter().flat_map(|&(f, l)| (f..=l).map(move |r| [r, f, l])).collect();
            let index: Vec<u32> = (0..batch).map(|i| ((i * 11 + s) % table.len()) as u32).collect();
            let weight = 1.25f32;
            let mut want = Vec::new();
            for &w in &index {
                let [newest, first, last] = table[w as usize].map(i64::from);
                for h in 0..horizon as i64 {
                    let row = newest + i64::from(action_offset) + h;
                    let inside = first <= row && row <= last;
                    want.extend(vec![if inside { f64::from(weight) } else { 0.0 }; a]);
                }
            }
            let id = [0, 1, 2].map(BufferId);
            let words = |v: &[u32]| v.iter().map(|v| f32::from_bits(*v)).collect::<Vec<_>>();
            out.push(Case {
                label: format!("window_mask {batch}x{horizon}x{a}, offset {action_offset}"),
                command: command(&shape, weight, id[0], id[1], id[2]),
                buffers: vec![words(&index), words(table.as_flattened()), vec![0.0; want.len()]],
                expect: vec![(2, want)],
                exact: false,
                tolerance: 0.0,
            });
        }
    }
    out
}
