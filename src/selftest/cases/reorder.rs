//! Cases of `reorder`: one order and several, a step past the table's end, row numbers past the matrix's.

use super::{ROWS, id, values};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::reorder::command;
use crate::kernel::state::State;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for [rows, cols] in ROWS {
        for (turns, step) in [(1, 5u64), (4, 2), (7, (1 << 32) + 10)] {
            let source = rows + 3;
            let x = values(source * cols, 1);
            let index: Vec<u32> =
                (0..turns * rows).map(|e| (e * e * 7 + e) as u32 % (source as u32 + 2)).collect();
            let turn = step as u32 as usize % turns;
            let mut want: Vec<f64> = (0..rows * cols)
                .map(|e| {
                    let row = (index[turn * rows + e / cols] as usize).min(source - 1);
                    f64::from(x[row * cols + e % cols])
                })
                .collect();
            want.push(f64::NAN);
            out.push(Case {
                label: format!("reorder {rows}x{cols}, {turns} turns"),
                command: command([rows, cols], source, (id(0), turns), id(1), id(2), id(3)),
                buffers: vec![
                    index.iter().map(|i| f32::from_bits(*i)).collect(),
                    State::new(1, step).words(),
                    x,
                    vec![0.0; rows * cols + 1],
                ],
                expect: vec![(3, want)],
                exact: false,
                tolerance: 0.0,
            });
        }
    }
    out
}
