//! What an integrator does besides integrating.

use super::Batch;
use crate::graph::{Fusion, Precision, Program};
use crate::kernel::BufferId;
use std::time::Duration;

/// Most attempted steps of an adaptive solver, where nothing else is said.
pub const MAX_STEPS: usize = 10_000;

/// Adds commands after the integration: from (program, batch, result, request buffers) to the buffer that is read.
pub type Finish<'a> =
    &'a dyn Fn(&mut Program, Batch, BufferId, &[(&'static str, BufferId)]) -> crate::graph::Result<BufferId>;

/// What an integrator does besides integrating.
#[derive(Clone, Copy)]
pub struct IntegrateOptions<'a> {
    /// A grid other than equal steps (or, for an adaptive solver, its first and last time).
    pub times: Option<&'a [f64]>,
    /// Keep all states (fixed-step solvers).
    pub trajectory: bool,
    /// Stage what does not depend on the state (leave on, but to compare).
    pub staging: bool,
    /// What follows the integration.
    pub finish: Option<Finish<'a>>,
    /// Most attempted steps of an adaptive solver.
    pub max_steps: usize,
    /// How the steps are scheduled on the device.
    pub fusion: Fusion,
    /// How weights are stored.
    pub precision: Precision,
    /// How long a run may take ([`Integrator::set_deadline`](super::Integrator::set_deadline)).
    pub deadline: Option<Duration>,
}

impl Default for IntegrateOptions<'_> {
    fn default() -> Self {
        IntegrateOptions {
            times: None,
            trajectory: false,
            staging: true,
            finish: None,
            max_steps: MAX_STEPS,
            fusion: Fusion::Auto,
            precision: Precision::F32,
            deadline: None,
        }
    }
}
