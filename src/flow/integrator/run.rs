//! One run of a compiled integrator: its inputs are checked, then its lanes take the blocks of the batch.

use super::lane::Shared;
use super::{Integrator, RowOutcome, Start, all_done};
use crate::device::Deadline;
use crate::flow::{FlowError, Result};
use crate::graph::GraphError;
use rayon::prelude::*;

impl Integrator {
    /// Integrates: `requests` has one slice [requests, columns] per input of the field, `out` is [rows, output columns],
    /// `trajectory` (if compiled in) [steps + 1, rows, dim].
    ///
    /// # Errors
    /// [`FlowError::NonFinite`] or [`FlowError::Unfinished`] if a row failed ([`Integrator::outcomes`] says which; the others'
    /// results hold); arrays of another length; a failing device.
    pub fn run(
        &mut self,
        start: Start<'_>,
        requests: &[&[f32]],
        out: &mut [f32],
        trajectory: Option<&mut [f32]>,
    ) -> Result<()> {
        self.run_each(start, requests, out, trajectory)?;
        self.all_done()
    }

    /// An error that names the first row of the last run that failed, if one did.
    pub(crate) fn all_done(&self) -> Result<()> {
        all_done(self.outcomes(), self.solver)
    }

    /// What became of each row in the last run, \[rows\]; none if there was no run yet, or the last one failed as a whole.
    pub fn outcomes(&self) -> &[RowOutcome] {
        if self.ran { &self.outcomes } else { &[] }
    }

    /// A new call begins: what became of the rows of the one before is no longer told, whatever comes of this one.
    pub(crate) fn forget_outcomes(&mut self) {
        self.ran = false;
    }

    /// As [`Integrator::run`], but a row that fails is no error: its result is NaN, and its outcome \[rows\] says why.
    ///
    /// # Errors
    /// Arrays of another length; a failing device.
    pub fn run_each(
        &mut self,
        start: Start<'_>,
        requests: &[&[f32]],
        out: &mut [f32],
        trajectory: Option<&mut [f32]>,
    ) -> Result<&[RowOutcome]> {
        self.forget_outcomes();
        self.check(start, requests, out, trajectory.as_deref())?;
        self.limit(self.deadline.map(Deadline::after));
        let run = self.run_blocks(start, requests, out, trajectory);
        self.limit(None);
        if let Err(error) = run {
            // Part of it may be there, or what the caller had from an earlier run: neither must pass for this one's.
            out.fill(f32::NAN);
            return Err(error);
        }
        self.ran = true;
        Ok(&self.outcomes)
    }

    /// When the lanes' calls to come must be over.
    fn limit(&mut self, deadline: Option<Deadline>) {
        self.lanes.iter_mut().for_each(|lane| lane.session.set_deadline(deadline));
    }

    fn run_blocks(
        &mut self,
        start: Start<'_>,
        requests: &[&[f32]],
        out: &mut [f32],
        mut trajectory: Option<&mut [f32]>,
    ) -> Result<()> {
        let (rows, block_rows) = (self.batch.rows(), self.block.rows());
        let shared = Shared {
            requests,
            start,
            batch: self.batch,
            block: self.block,
            dim: self.dim,
            start_cols: self.start_cols,
            t0: self.t0,
            t1: self.t1,
            max_steps: self.max_steps,
            steps: self.steps,
        };
        let cols = self.lanes[0].output_cols;
        let want = trajectory.is_some();
        let keep = if want { (self.steps + 1) * self.dim } else { 0 };
        let mut kept = vec![0.0f32; keep * rows];
        let lanes = self.lanes.len();
        let blocks = rows.div_ceil(block_rows);
        let per_lane = blocks.div_ceil(lanes) * block_rows;
        if lanes == 1 {
            shared.lane(&mut self.lanes[0], 0, rows, out, &mut kept, &mut self.outcomes)?;
        } else if let Some(cpu) = &self.cpu {
            let rows = out.par_chunks_mut(per_lane * cols).zip(self.outcomes.par_chunks_mut(per_lane));
            let work = self.lanes.par_iter_mut().zip(rows).enumerate();
            let empty_or = |n: usize| n.max(1);
            if want {
                let work = work.zip(kept.par_chunks_mut(empty_or(per_lane * keep)));
                cpu.install(|| {
                    work.try_for_each(|((i, (lane, (out, outcomes))), kept)| {
                        shared.lane(lane, i * per_lane, out.len() / cols, out, kept, outcomes)
                    })
                })?;
            } else {
                cpu.install(|| {
                    work.try_for_each(|(i, (lane, (out, outcomes)))| {
                        shared.lane(lane, i * per_lane, out.len() / cols, out, &mut [], outcomes)
                    })
                })?;
            }
        }
        if let Some(all) = trajectory.as_mut() {
            self.scatter(&kept, all);
        }
        Ok(())
    }

    /// From blocks of [steps + 1, rows of the block, dim] to [steps + 1, rows, dim].
    fn scatter(&self, kept: &[f32], all: &mut [f32]) {
        let (rows, times) = (self.batch.rows(), self.steps + 1);
        let mut at = 0;
        for first in (0..rows).step_by(self.block.rows()) {
            let n = self.block.rows().min(rows - first);
            for s in 0..times {
                let to = (s * rows + first) * self.dim;
                all[to..to + n * self.dim].copy_from_slice(&kept[at..at + n * self.dim]);
                at += n * self.dim;
            }
        }
    }

    fn check(
        &self,
        start: Start<'_>,
        requests: &[&[f32]],
        out: &[f32],
        trajectory: Option<&[f32]>,
    ) -> Result<()> {
        let length = |name: &str, found: usize, needed: usize| match found == needed {
            true => Ok(()),
            false => Err(FlowError::Graph(GraphError::Length { name: name.into(), found, needed })),
        };
        let rows = self.batch.rows();
        if let Start::Given(x) = start {
            length("start", x.len(), rows * self.start_cols)?;
        }
        if let Start::Keys(keys) = start {
            length("noise keys", keys.len(), self.batch.requests)?;
        }
        length("request inputs", requests.len(), self.lanes[0].requests.len())?;
        for (data, (_, cols)) in requests.iter().zip(&self.lanes[0].requests) {
            length("a request input", data.len(), self.batch.requests * cols)?;
        }
        length("result", out.len(), rows * self.lanes[0].output_cols)?;
        if let Some(t) = trajectory {
            if self.lanes[0].trajectory.is_none() {
                return Err(FlowError::Unsupported {
                    solver: self.solver.to_string(),
                    what: "a trajectory, which was not compiled in",
                });
            }
            length("trajectory", t.len(), (self.steps + 1) * rows * self.dim)?;
        }
        Ok(())
    }
}
