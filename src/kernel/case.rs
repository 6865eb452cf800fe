//! Test cases of kernels: a command, its inputs and what an f64 oracle expects. The self-test and the test suite run
//! them on the twin and on WGSL with poisoned outputs and canaries.

use super::{Arg, Command};
use crate::device::{Access, Team};

/// What an output holds before the kernel runs: a quiet NaN with a payload.
pub const POISON: u32 = 0x7fc0_dead;
/// What follows every buffer.
pub const CANARY: u32 = 0xcafe_f00d;
/// How many canary words follow every buffer.
pub const CANARIES: usize = 64;

/// One kernel call with inputs and expectation.
pub struct Case {
    /// Kernel and shape, for the table.
    pub label: String,
    /// The call; its argument buffers are numbered 0, 1, ... in `buffers`.
    pub command: Command,
    /// The contents of each buffer. For a buffer that is only written the contents are replaced by poison.
    pub buffers: Vec<Vec<f32>>,
    /// Buffer number and its expected contents; NaN: the kernel must leave this element alone. In `exact` cases the
    /// values are the u32 words.
    pub expect: Vec<(usize, Vec<f64>)>,
    /// Compare words (integers) instead of floats.
    pub exact: bool,
    /// Largest relative L2 error allowed.
    pub tolerance: f64,
}

/// Why a case failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// The error against the oracle or the other executor is too large.
    #[error("{label}: relative error {found:.2e}, needed at most {needed:.2e}")]
    Error {
        /// Which case.
        label: String,
        /// The error found.
        found: f64,
        /// The tolerance.
        needed: f64,
    },
    /// An element outside the output was written.
    #[error("{label}: wrote outside its output, buffer {buffer} element {element}")]
    Outside {
        /// Which case.
        label: String,
        /// The buffer.
        buffer: usize,
        /// The first element.
        element: usize,
    },
    /// An output element was never written or is not finite.
    #[error("{label}: left buffer {buffer} element {element} unwritten or not finite")]
    Unwritten {
        /// Which case.
        label: String,
        /// The buffer.
        buffer: usize,
        /// The first element.
        element: usize,
    },
}

impl Case {
    /// The buffers as the kernel finds them: poison where it only writes, canaries behind each.
    pub fn prepared(&self) -> Vec<Vec<f32>> {
        let mut buffers = self.buffers.clone();
        for (id, access) in self.command.args.iter().zip(self.command.kernel.access) {
            if *access == Access::Write {
                buffers[id.0 as usize].fill(f32::from_bits(POISON));
            }
        }
        for b in &mut buffers {
            b.extend(std::iter::repeat_n(f32::from_bits(CANARY), CANARIES));
        }
        buffers
    }

    /// Runs the twin on `threads` threads (of the current rayon pool); the buffers afterwards, canaries included.
    pub fn run_twin(&self, threads: usize) -> Vec<Vec<f32>> {
        let mut buffers = self.prepared();
        let mut taken: Vec<Vec<f32>> = buffers.iter_mut().map(std::mem::take).collect();
        {
            // Each buffer is bound once writable or any number of times read-only.
            let mut slots: Vec<Option<&mut Vec<f32>>> = taken.iter_mut().map(Some).collect();
            let mut writable: Vec<Option<&mut Vec<f32>>> = self.command.args.iter().map(|_| None).collect();
            for (k, (id, access)) in self.command.args.iter().zip(self.command.kernel.access).enumerate() {
                if *access != Access::Read {
                    writable[k] = slots[id.0 as usize].take();
                }
            }
            let slots: Vec<Option<&Vec<f32>>> = slots.into_iter().map(|s| s.map(|s| &*s)).collect();
            let mut args: Vec<Arg<'_>> = self
                .command
                .args
                .iter()
                .zip(writable)
                .map(|(id, w)| match w {
                    Some(w) => Arg::Write(w.as_mut_slice()),
                    None => Arg::Read(slots[id.0 as usize].map(Vec::as_slice).unwrap_or(&[])),
                })
                .collect();
            Team::lead(threads, |team| {
                (self.command.kernel.twin)(&self.command.params, &mut args, &team.into())
            });
        }
        taken
    }

    /// Checks buffers (with canaries) against the oracle; the largest relative L2 error.
    pub fn check(&self, got: &[Vec<f32>]) -> Result<f64, CaseError> {
        let label = || self.label.clone();
        let mut worst = 0.0f64;
        for (b, buffer) in got.iter().enumerate() {
            let n = self.buffers[b].len();
            if let Some(e) = buffer[n..].iter().position(|v| v.to_bits() != CANARY) {
                return Err(CaseError::Outside { label: label(), buffer: b, element: n + e });
            }
        }
        for (b, want) in &self.expect {
            let (mut diff, mut norm) = (0.0f64, 0.0f64);
            let before = &self.prepared()[*b];
            for (e, (&g, &w)) in got[*b].iter().zip(want).enumerate() {
                if w.is_nan() {
                    if g.to_bits() != before[e].to_bits() {
                        return Err(CaseError::Outside { label: label(), buffer: *b, element: e });
                    }
                } else if self.exact {
                    diff += f64::from(u8::from(f64::from(g.to_bits()) != w));
                    norm = 1.0;
                } else {
                    if !g.is_finite() {
                        return Err(CaseError::Unwritten { label: label(), buffer: *b, element: e });
                    }
                    diff += (f64::from(g) - w).powi(2);
                    norm += w * w;
                }
            }
            let error = if norm > 0.0 { (diff / norm).sqrt() } else { diff.sqrt() };
            worst = worst.max(error);
            if error > self.tolerance {
                return Err(CaseError::Error { label: label(), found: error, needed: self.tolerance });
            }
        }
        Ok(worst)
    }
}
