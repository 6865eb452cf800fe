//! Cases of `sumsq`: one and many partial sums, an offset, lengths around the workgroup's.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::sumsq::{command, partials};
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    SIZES
        .into_iter()
        .chain([0, 255, 256, 257, 513, 4096, 4097, 12_345, 100_001, 1_200_003])
        .map(|n| {
            let x = values(n + 5, 1);
            let groups = partials(n);
            let chunk = n.div_ceil(groups).next_multiple_of(256);
            let want = (0..groups)
                .map(|g| {
                    let run = &x[5..][(g * chunk).min(n)..((g + 1) * chunk).min(n)];
                    run.iter().map(|v| f64::from(*v).powi(2)).sum()
                })
                .chain([f64::NAN])
                .collect();
            let want = [vec![f64::NAN; 3], want].concat();
            Case {
                label: format!("sumsq {n}"),
                command: command((n, groups), (BufferId(0), 5), (BufferId(1), 3)),
                buffers: vec![x, vec![0.0; 3 + groups + 1]],
                expect: vec![(1, want)],
                exact: false,
                tolerance: 1e-6,
            }
        })
        .collect()
}
