//! What is integrated: a field by a solver, or the steps of a recurrence.

use crate::flow::recurrence::{self, Recurrence};
use crate::flow::{Field, Solver};

/// What a plan computes between the start and the result.
pub(super) enum Scheme<'a> {
    /// A field, by a solver over a grid of times.
    Flow { field: &'a dyn Field, solver: Solver, times: &'a [f64] },
    /// Steps that are no solver's.
    Steps(&'a dyn Recurrence),
}

impl Scheme<'_> {
    /// Columns of the state.
    pub(super) fn dim(&self) -> usize {
        match self {
            Scheme::Flow { field, .. } => field.dim(),
            Scheme::Steps(steps) => steps.dim(),
        }
    }

    /// Columns of the start: the state, and the noise of a noisy recurrence's steps.
    pub(super) fn start_cols(&self) -> usize {
        match self {
            Scheme::Flow { field, .. } => field.dim(),
            Scheme::Steps(steps) => recurrence::start_cols(*steps),
        }
    }

    /// Names and columns of the request's inputs.
    pub(super) fn request(&self) -> Vec<(&'static str, usize)> {
        match self {
            Scheme::Flow { field, .. } => field.request(),
            Scheme::Steps(steps) => steps.request(),
        }
    }

    /// Steps from start to end.
    pub(super) fn steps(&self) -> usize {
        match self {
            Scheme::Flow { times, .. } => times.len() - 1,
            Scheme::Steps(steps) => steps.clock().len(),
        }
    }

    /// First and last time.
    pub(super) fn span(&self) -> (f64, f64) {
        match self {
            Scheme::Flow { times, .. } => (times[0], times[times.len() - 1]),
            Scheme::Steps(_) => (0.0, 1.0),
        }
    }

    /// The solver; of a recurrence, Euler's of as many steps.
    pub(super) fn solver(&self) -> Solver {
        match self {
            Scheme::Flow { solver, .. } => *solver,
            Scheme::Steps(steps) => Solver::euler(steps.clock().len()),
        }
    }
}
