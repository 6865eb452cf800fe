//! Flow matching: paths, time laws, couplings, solvers, integrators, guidance, log-likelihood.

pub mod adaptive;
mod batch;
pub mod coupling;
pub mod field;
pub mod fixed;
pub mod guidance;
pub mod integrator;
pub mod log_prob;
pub mod manifold;
pub mod path;
pub mod recurrence;
pub mod solver;
pub mod tableau;
pub mod time_law;

pub use batch::Batch;
pub use coupling::Coupling;
pub use field::Field;
pub use guidance::{Guided, Jacobian};
pub use integrator::{IntegrateOptions, Integrator};
pub use path::Path;
pub use recurrence::{Recurrence, Step};
pub use solver::Solver;
pub use time_law::TimeLaw;

use crate::graph::GraphError;

/// What can go wrong when a flow is described or integrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// A solver's text that cannot be read.
    #[error(
        "solver {text:?}: {reason}; needed euler:N, midpoint:N, heun:N, rk4:N, rk4_38:N, bosh3:RTOL[:ATOL], dopri5:RTOL[:ATOL], tsit5:RTOL[:ATOL], or where the objective has them ddim:N, ddpm:N, sde:N"
    )]
    Solver {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A time grid that does not rise (or fall) strictly, or has fewer than two times.
    #[error("time grid: {reason}")]
    Times {
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter of a path or a time law out of its range.
    #[error("{what}: found {found}, needed {needed}")]
    Range {
        /// Which parameter.
        what: &'static str,
        /// Its value.
        found: f64,
        /// Its range.
        needed: &'static str,
    },
    /// Manifolds that do not fit an action.
    #[error("manifolds {found:?}: needed ones within an action's {dim} values, in order and without overlap")]
    Manifolds {
        /// The manifolds.
        found: Vec<manifold::Placement>,
        /// Values of an action.
        dim: usize,
    },
    /// A cost of pairing two rows that is NaN or infinite.
    #[error("the cost of pairing row {row} with row {col} is {found}, needed a finite number")]
    Cost {
        /// The row.
        row: usize,
        /// The column.
        col: usize,
        /// The cost.
        found: f32,
    },
    /// A cost matrix, or the rows that it is made of, of the wrong size.
    #[error("{what}: found {found} numbers, needed {needed}")]
    Length {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: String,
    },
    /// Something that this solver does not offer.
    #[error("{solver} does not offer {what}")]
    Unsupported {
        /// The solver.
        solver: String,
        /// What was asked for.
        what: &'static str,
    },
    /// An adaptive solver did not reach the end.
    #[error(
        "{solver}: {unfinished} of {rows} samples did not reach the end (the first: number {first}; {steps} steps tried): needed a larger tolerance, more steps, or a solver with fixed steps"
    )]
    Unfinished {
        /// The solver.
        solver: String,
        /// Samples that did not.
        unfinished: usize,
        /// All samples.
        rows: usize,
        /// The first that did not, from 0.
        first: usize,
        /// The most steps that one of them tried.
        steps: usize,
    },
    /// The field became NaN or infinite.
    #[error("the flow is not finite in {count} of {total} samples (the first: number {first})")]
    NonFinite {
        /// How many samples have a value that is NaN or infinite.
        count: usize,
        /// Of how many.
        total: usize,
        /// The first such sample, from 0.
        first: usize,
    },
    /// The graph or the device failed.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Result of the flow floor.
pub type Result<T> = std::result::Result<T, FlowError>;
