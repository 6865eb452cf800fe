//! What became of each row of a run: a row that fails takes its own result with it and no other's.

use crate::flow::{FlowError, Result, Solver};
use crate::kernel::ode_control::{Flag, RECORD};
use serde::Serialize;
use std::fmt;

/// How the integration of one row ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowStatus {
    /// At the end time; where the integration is followed by physical units, with finite values.
    #[default]
    Done,
    /// A value of the result is NaN or infinite.
    NonFinite,
    /// An adaptive solver had not reached the end after the most steps that it may try.
    OutOfSteps,
    /// An adaptive solver would have needed a step below the smallest one: the field is too steep there, or not finite.
    StepTooSmall,
}

impl RowStatus {
    /// Whether the row's result may be used.
    pub fn is_done(self) -> bool {
        self == RowStatus::Done
    }
}

impl fmt::Display for RowStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowStatus::Done => "done",
            RowStatus::NonFinite => "a value is NaN or infinite",
            RowStatus::OutOfSteps => "the solver ran out of steps",
            RowStatus::StepTooSmall => "the solver needed a step below the smallest",
        })
    }
}

/// One row of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RowOutcome {
    /// How it ended. The results of a row that is not done are NaN.
    pub status: RowStatus,
    /// Steps that moved it: of an adaptive solver the accepted ones.
    pub steps: u32,
    /// Steps that an adaptive solver tried and took back.
    pub rejected: u32,
}

impl RowOutcome {
    /// From an adaptive solver's control record.
    pub(super) fn of_record(record: &[f32; RECORD]) -> RowOutcome {
        let [steps, rejected, flag] = [record[3], record[4], record[5]].map(f32::to_bits);
        let status = match flag {
            f if f == Flag::Done as u32 => RowStatus::Done,
            f if f == Flag::Failed as u32 => RowStatus::StepTooSmall,
            _ => RowStatus::OutOfSteps,
        };
        RowOutcome { status, steps, rejected }
    }
}

/// Nothing if all rows are done, else an error that counts those that are not and names the first.
pub(crate) fn all_done(rows: &[RowOutcome], solver: Solver) -> Result<()> {
    let Some(first) = rows.iter().position(|row| !row.status.is_done()) else { return Ok(()) };
    let adaptive = |row: &&RowOutcome| matches!(row.status, RowStatus::OutOfSteps | RowStatus::StepTooSmall);
    match rows.iter().filter(adaptive).count() {
        0 => Err(FlowError::NonFinite {
            count: rows.iter().filter(|row| !row.status.is_done()).count(),
            total: rows.len(),
            first,
        }),
        unfinished => Err(FlowError::Unfinished {
            solver: solver.to_string(),
            unfinished,
            rows: rows.len(),
            first: rows.iter().position(|row| adaptive(&row)).unwrap_or(first),
            steps: rows
                .iter()
                .filter(adaptive)
                .map(|row| row.steps as usize + row.rejected as usize)
                .max()
                .unwrap_or(0),
        }),
    }
}
