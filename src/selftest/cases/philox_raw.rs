//! Cases of `philox_raw`: Random123's known answers, repeated to several sizes.

use super::{SIZES, id};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::philox_raw::command;

/// Counter, key, answer.
pub(crate) const KNOWN: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
    ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
    ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
    (
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
        [0xa409_3822, 0x299f_31d0],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
    ),
];

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    SIZES
        .iter()
        .map(|&n| {
            let all = || (0..n).map(|i| &KNOWN[i % 3]);
            let words = |w: u32| f32::from_bits(w);
            Case {
                label: format!("philox_raw {n}"),
                command: command(n, id(0), id(1), id(2)),
                buffers: vec![
                    all().flat_map(|k| k.0.map(words)).collect(),
                    all().flat_map(|k| k.1.map(words)).collect(),
                    vec![0.0; 4 * n],
                ],
                expect: vec![(2, all().flat_map(|k| k.2.map(f64::from)).collect())],
                exact: true,
                tolerance: 0.0,
            }
        })
        .collect()
}
