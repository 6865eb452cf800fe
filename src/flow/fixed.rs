//! Fixed-step integration as a program: phases `load` (per checkpoint), `request` (per observation), `steps`.

use super::Batch;
use super::field::Field;
use super::tableau::Tableau;
use crate::graph::staged::{FieldInputs, Staged, Tail, check_inputs};
use crate::graph::{Graph, ParamLayout, Program, Result, Shape, Value};
use crate::kernel::ode_combine::{self, StepSize};
use crate::kernel::{BufferId, View, copy};

/// Names of the resident buffers of an integrator's program.
pub mod names {
    /// The parameters, flat.
    pub const PARAMS: &str = "params";
    /// The start, [rows, dim].
    pub const START: &str = "start";
    /// The end, [rows, dim].
    pub const RESULT: &str = "result";
    /// All states, [steps + 1, rows, dim].
    pub const TRAJECTORY: &str = "trajectory";
}

/// The input names of a field's graph.
pub(super) const INPUTS: FieldInputs<'static> =
    FieldInputs { state: "state", time: "time", time_per_sample: false };

/// What a program integrates.
#[derive(Clone, Copy)]
pub struct FixedSpec<'a> {
    /// The method.
    pub tableau: &'a Tableau,
    /// The grid.
    pub times: &'a [f64],
    /// Keep every state.
    pub trajectory: bool,
    /// Compute ahead of the loop what does not depend on the state.
    pub staging: bool,
}

/// A field's graph with its request inputs repeated to `batch`'s rows; `time_rows` is 1 or the rows.
pub(super) fn field_graph(field: &dyn Field, batch: Batch, time_rows: usize) -> Result<(Graph, Value)> {
    let mut g = Graph::new();
    let state = g.input(INPUTS.state, Shape::matrix(batch.rows(), field.dim()))?;
    let time = g.input(INPUTS.time, Shape::matrix(time_rows, 1))?;
    let mut request = Vec::new();
    for (name, cols) in field.request() {
        let input = g.input(name, Shape::matrix(batch.requests, cols))?;
        request.push(g.repeat_rows(input, batch.samples)?);
    }
    let v = field.velocity(&mut g, state, time, &request)?;
    let allowed: Vec<&str> =
        [INPUTS.state, INPUTS.time].into_iter().chain(field.request().iter().map(|r| r.0)).collect();
    check_inputs(&g, &allowed)?;
    if g.shape(v).rows() != batch.rows() || g.shape(v).cols() != field.dim() {
        return Err(crate::graph::error::shape_error(
            "field",
            &[g.shape(v)],
            "a velocity of the state's shape",
        ));
    }
    Ok((g, v))
}

/// Resident buffers common to both kinds of integrator: parameters and request inputs.
pub(super) fn resident_inputs(
    program: &mut Program,
    request: &[(&'static str, usize)],
    layout: &ParamLayout,
    batch: Batch,
) -> Result<(BufferId, Vec<(&'static str, BufferId)>)> {
    let params = program.resident(names::PARAMS, layout.len().max(1))?;
    let mut inputs = Vec::new();
    for &(name, cols) in request {
        inputs.push((name, program.resident(name, batch.requests * cols)?));
    }
    Ok((params, inputs))
}

/// Adds the integration to `program`, which may already hold a phase that fills `start`.
pub fn build(
    program: &mut Program,
    field: &dyn Field,
    layout: &ParamLayout,
    batch: Batch,
    spec: &FixedSpec<'_>,
    start: BufferId,
) -> Result<BufferId> {
    let (rows, dim) = (batch.rows(), field.dim());
    let Tableau { c, a, b, .. } = *spec.tableau;
    let steps = spec.times.len() - 1;
    // Equal times (the end of a step, the start of the next) are evaluated from one row.
    let mut times: Vec<f32> = Vec::new();
    let mut row_of = |t: f64| {
        let t = t as f32;
        times.iter().position(|x| x.to_bits() == t.to_bits()).unwrap_or_else(|| {
            times.push(t);
            times.len() - 1
        })
    };
    let mut evaluation: Vec<Vec<usize>> = Vec::new();
    for w in spec.times.windows(2) {
        evaluation.push(c.iter().map(|c| row_of(w[0] + c * (w[1] - w[0]))).collect());
    }
    let (graph, v) = field_graph(field, batch, 1)?;
    let (params, requests) = resident_inputs(program, &field.request(), layout, batch)?;
    let mut staged = Staged::new(&graph, v, INPUTS, times.len(), (layout, params), spec.staging)?;

    program.phase("load");
    let time_buffer = program.constant(&times)?;
    staged.lower_load(program, INPUTS.time, time_buffer)?;
    program.phase("request");
    staged.lower_request(program, &requests)?;
    program.phase("steps");
    let result = program.resident(names::RESULT, rows * dim)?;
    let trajectory = match spec.trajectory {
        true => Some(program.resident(names::TRAJECTORY, (steps + 1) * rows * dim)?),
        false => None,
    };
    let keep = |program: &mut Program, s: usize, x: BufferId| match trajectory {
        Some(t) => program.push(copy::command(
            [rows, dim],
            0,
            dim,
            (x, View::dense(0, dim)),
            (t, View::dense(s * rows * dim, dim)),
        )),
        None => Ok(()),
    };
    keep(program, 0, start)?;
    // k_j is needed on its own unless only the very next stage (or the step) uses it, and alone.
    let alone =
        |j: usize, row: &[f64]| row[j] != 0.0 && row.iter().enumerate().all(|(i, v)| i == j || *v == 0.0);
    let uses = |j: usize| {
        a.iter().filter(|r| r.get(j).is_some_and(|v| *v != 0.0)).count() + usize::from(b[j] != 0.0)
    };
    let empty = program.empty();
    let mut x = start;
    for s in 0..steps {
        program.split_here();
        let h = spec.times[s + 1] - spec.times[s];
        let next = if s + 1 == steps { result } else { program.temporary(rows * dim)? };
        let ks = program.temporary(b.len() * rows * dim)?;
        let mut at = x;
        for i in 0..b.len() {
            let mut inputs = requests.clone();
            inputs.push((INPUTS.state, at));
            let last = i + 1 == b.len();
            let row: &[f64] = if last { b } else { a[i + 1] };
            let time = time_at(program, times[evaluation[s][i]])?;
            inputs.push((INPUTS.time, time));
            if alone(i, row) && uses(i) == 1 {
                let out = if last { next } else { program.temporary(rows * dim)? };
                let tail = Tail::Step { base: x, h: (h * row[i]) as f32 };
                staged.lower_evaluation(program, evaluation[s][i], &inputs, tail, (out, 0))?;
                at = out;
                continue;
            }
            staged.lower_evaluation(program, evaluation[s][i], &inputs, Tail::Store, (ks, i * rows * dim))?;
            let out = if last { next } else { program.temporary(rows * dim)? };
            let coefficients: Vec<f32> = row.iter().take(i + 1).map(|v| *v as f32).collect();
            program.push(ode_combine::command(
                [rows, dim],
                &coefficients,
                StepSize::Scalar(h as f32),
                (x, 0),
                (ks, 0),
                (out, 0),
                empty,
            ))?;
            at = out;
        }
        x = next;
        keep(program, s + 1, x)?;
    }
    Ok(result)
}

/// A one-element buffer with a time, for fields whose time could not be staged.
fn time_at(program: &mut Program, t: f32) -> Result<BufferId> {
    program.constant(&[t])
}
