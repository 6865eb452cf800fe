//! Samplers that are no solver of an ODE: x <- F(x, clock_s, request) for s = 0, 1, ... (denoising diffusion, mean
//! velocities, stochastic flows, two-pass regressions).
//!
//! The clock is one row of numbers for every step (a time, coefficients); what depends on it alone, or on it and the request, is
//! computed for all steps at once before the loop, as for a solver's times.

use super::Batch;
use super::fixed::{INPUTS, names};
use crate::graph::staged::{Staged, Tail, check_inputs};
use crate::graph::{Graph, ParamLayout, Program, Result, Shape, Value};
use crate::kernel::{BufferId, View, copy};

/// A map of the state, described as a graph, and the numbers that tell one step from another.
pub trait Recurrence {
    /// Columns of the state.
    fn dim(&self) -> usize;

    /// Names and columns of the inputs that belong to a request: one row per request.
    fn request(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    /// One row for every step, all of the same length.
    fn clock(&self) -> Vec<Vec<f32>>;

    /// Columns of standard normal noise that every step reads.
    fn noise(&self) -> usize {
        0
    }

    /// The next state [rows, dim], of what the state, the step's clock [1, columns], the noise and the request are.
    fn next(&self, g: &mut Graph, x: &Step<'_>) -> Result<Value>;
}

/// What one step reads.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The state, [rows, dim].
    pub state: Value,
    /// The step's numbers, [1, columns].
    pub clock: Value,
    /// Standard normal noise [rows, columns]; there if [`Recurrence::noise`] says so.
    pub noise: Option<Value>,
    /// One value per entry of [`Recurrence::request`].
    pub request: &'a [Value],
}

/// Columns of a sample's start: the state, then the noise of each step.
pub(super) fn start_cols(recurrence: &dyn Recurrence) -> usize {
    recurrence.dim() + recurrence.clock().len() * recurrence.noise()
}

/// Adds the steps to `program`; `start` is [rows, start_cols]. With `trajectory` every state is kept.
pub(super) fn build(
    program: &mut Program,
    recurrence: &dyn Recurrence,
    (layout, params): (&ParamLayout, BufferId),
    requests: &[(&'static str, BufferId)],
    batch: Batch,
    [trajectory, staging]: [bool; 2],
    start: BufferId,
) -> Result<BufferId> {
    let (rows, dim, clock) = (batch.rows(), recurrence.dim(), recurrence.clock());
    let columns = clock.first().map_or(0, Vec::len);
    let noise_cols = recurrence.noise();
    let width = dim + noise_cols;
    let mut g = Graph::new();
    // Noise lies beside the state: both change at every step.
    let both = g.input(INPUTS.state, Shape::matrix(rows, width))?;
    let row = g.input(INPUTS.time, Shape::matrix(1, columns))?;
    let mut request = Vec::new();
    for (name, cols) in recurrence.request() {
        let input = g.input(name, Shape::matrix(batch.requests, cols))?;
        request.push(g.repeat_rows(input, batch.samples)?);
    }
    let (state, noise) = match noise_cols {
        0 => (both, None),
        n => (g.slice(both, 0, dim)?, Some(g.slice(both, dim, n)?)),
    };
    let next = recurrence.next(&mut g, &Step { state, clock: row, noise, request: &request })?;
    let allowed: Vec<&str> =
        [INPUTS.state, INPUTS.time].into_iter().chain(recurrence.request().iter().map(|r| r.0)).collect();
    check_inputs(&g, &allowed)?;
    if clock.is_empty() || clock.iter().any(|r| r.len() != columns || columns == 0) {
        return Err(crate::graph::error::shape_error("recurrence", &[g.shape(row)], "rows of one length"));
    }
    if [g.shape(next).rows(), g.shape(next).cols()] != [rows, dim] {
        return Err(crate::graph::error::shape_error("recurrence", &[g.shape(next)], "the state's shape"));
    }
    let mut staged = Staged::new(&g, next, INPUTS, clock.len(), (layout, params), staging)?;

    program.phase("load");
    let all: Vec<f32> = clock.concat();
    let times = program.constant(&all)?;
    staged.lower_load(program, INPUTS.time, times)?;
    program.phase("request");
    staged.lower_request(program, requests)?;
    program.phase("steps");
    let result = program.resident(names::RESULT, rows * dim)?;
    let kept = match trajectory {
        true => Some(program.resident(names::TRAJECTORY, (clock.len() + 1) * rows * dim)?),
        false => None,
    };
    let place = |program: &mut Program, cols: usize, from: (BufferId, View), to: (BufferId, View)| {
        program.push(copy::command([rows, cols], 0, cols, from, to))
    };
    let whole = start_cols(recurrence);
    let mut x = (start, View::strided(0, whole));
    for (s, row) in clock.iter().enumerate() {
        program.split_here();
        if let Some(kept) = kept {
            place(program, dim, x, (kept, View::dense(s * rows * dim, dim)))?;
        }
        let at = match noise_cols {
            0 => x.0,
            n => {
                let both = program.temporary(rows * width)?;
                place(program, dim, x, (both, View::strided(0, width)))?;
                let noise = (start, View::strided(dim + s * n, whole));
                place(program, n, noise, (both, View::strided(dim, width)))?;
                both
            }
        };
        let mut inputs = requests.to_vec();
        inputs.push((INPUTS.state, at));
        inputs.push((INPUTS.time, program.constant(row)?));
        let out = if s + 1 == clock.len() { result } else { program.temporary(rows * dim)? };
        staged.lower_evaluation(program, s, &inputs, Tail::Store, (out, 0))?;
        x = (out, View::dense(0, dim));
    }
    if let Some(kept) = kept {
        place(program, dim, x, (kept, View::dense(clock.len() * rows * dim, dim)))?;
    }
    Ok(result)
}
