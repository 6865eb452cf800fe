//! Blocks: the rows that a resident plan covers. A run sends a batch through it block after block.

use super::Batch;
use crate::device::{Cpu, Device};
use crate::flow::Result;
use crate::graph::{Plan, Session};
use std::sync::Arc;

/// Rows of a block on the CPU: activations of a 256-wide network stay in a core's second-level cache.
const BLOCK: usize = 64;

/// The block on a CPU, and the threads that each take some of them.
pub(super) fn on_cpu(cpu: &Cpu, batch: Batch) -> (Batch, usize) {
    let rows = batch.rows();
    let threads = if rows < 16 { 1 } else { cpu.threads().min(rows.div_ceil(8)) };
    let per_block = rows.div_ceil(threads).min(BLOCK);
    // Rows of one request share its work; else every row brings its request along.
    let block = match batch.requests {
        1 => Batch { requests: 1, samples: per_block },
        _ => Batch { requests: per_block, samples: 1 },
    };
    (block, threads.min(rows.div_ceil(per_block)))
}

/// The plan of a block, resident on a device, and the block. On a GPU the block is as much of the batch as its memory and its bindings
/// take: all of it, or a half, a quarter, ...
pub(super) fn resident(
    device: &Device,
    batch: Batch,
    mut block: Batch,
    make: impl Fn(Batch) -> crate::graph::Result<Plan>,
) -> Result<(Batch, Session)> {
    loop {
        let made = make(block).and_then(|plan| Session::new(device, Arc::new(plan)));
        let error = match made {
            Ok(session) => return Ok((block, session)),
            Err(error) => error,
        };
        block = match (device, half(batch, block)) {
            (Device::Gpu(_), Some(less)) if error.is_too_large() => less,
            _ => return Err(error.into()),
        };
    }
}

/// Half of a block, rounded up; none of one row.
fn half(batch: Batch, block: Batch) -> Option<Batch> {
    match block {
        Batch { requests: 1, samples: 1 } => None,
        Batch { requests: 1, samples } if batch.requests > 1 => {
            // A part of a request's samples: every row brings its request along.
            Some(Batch { requests: samples.div_ceil(2), samples: 1 })
        }
        Batch { requests: 1, samples } => Some(Batch { requests: 1, samples: samples.div_ceil(2) }),
        Batch { requests, samples } => Some(Batch { requests: requests.div_ceil(2), samples }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_halve_down_to_one_row() {
        for (batch, want) in [([13, 3], 6), ([1, 100], 7), ([64, 1], 6), ([1, 1], 0)] {
            let batch = Batch { requests: batch[0], samples: batch[1] };
            let (mut block, mut halvings) = (batch, 0);
            while let Some(less) = half(batch, block) {
                assert!(
                    less.rows() < block.rows() && less.rows() >= block.rows() / 2,
                    "{block:?} to {less:?}"
                );
                // Blocks begin at a request, or have one row for each request, or there is but one.
                assert!(batch.requests == 1 || less.samples == 1 || less.samples == batch.samples);
                (block, halvings) = (less, halvings + 1);
            }
            assert_eq!((block.rows(), halvings), (1, want), "{batch:?}");
        }
    }
}
