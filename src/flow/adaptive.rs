//! Adaptive integration as a program: every sample has its own time and step size, on the device.
//!
//! Phases: `load`, `request`, `start` (the first evaluation), `step` (one attempted step of every sample that still moves).

use super::Batch;
use super::field::Field;
use super::fixed::{INPUTS, field_graph, names, resident_inputs};
use super::tableau::Tableau;
use crate::graph::staged::{FieldInputs, Staged, Tail};
use crate::graph::{ParamLayout, Program, Result};
use crate::kernel::binary::{self, BinaryOp};
use crate::kernel::ode_combine::{self, StepSize};
use crate::kernel::ode_control::{self, COUNTS, ControlParams, RECORD};
use crate::kernel::{BufferId, View, copy};

/// Names of the buffers that a host writes before and reads after.
pub mod adaptive_names {
    /// Control records, [rows, 8].
    pub const CONTROL: &str = "control";
    /// Samples that still move, samples that failed.
    pub const ACTIVE: &str = "active";
}

/// First step size as a part of the whole interval; the controller corrects it within a few steps.
pub const FIRST_STEP: f32 = 0.05;

/// Adds the integration to `program`; `start` holds x at the first time.
pub fn build(
    program: &mut Program,
    field: &dyn Field,
    layout: &ParamLayout,
    batch: Batch,
    tableau: &Tableau,
    control: &ControlParams,
    start: BufferId,
) -> Result<BufferId> {
    let (rows, dim) = (batch.rows(), field.dim());
    let stages = tableau.b.len();
    let (graph, v) = field_graph(field, batch, rows)?;
    let (params, requests) = resident_inputs(program, &field.request(), layout, batch)?;
    let inputs = FieldInputs { time_per_sample: true, ..INPUTS };
    let mut staged = Staged::new(&graph, v, inputs, 1, (layout, params), true)?;
    let ctl = program.resident(adaptive_names::CONTROL, rows * RECORD)?;
    let active = program.resident(adaptive_names::ACTIVE, COUNTS)?;
    let x = program.resident(names::RESULT, rows * dim)?;
    let ks = program.resident("stages", stages * rows * dim)?;
    let empty = program.empty();
    let dense = View::dense(0, dim);
    let record = |word: usize| View { col_stride: 0, ..View::strided(word, RECORD) };

    program.phase("load");
    staged.lower_load(program, INPUTS.time, empty)?;
    program.phase("request");
    staged.lower_request(program, &requests)?;
    program.phase("start");
    program.push(copy::command([rows, dim], 0, dim, (start, dense), (x, dense)))?;
    let evaluate = |program: &mut Program, i: usize, state: BufferId| -> Result<()> {
        // t_i = t + c_i h of every sample.
        let time = program.temporary(rows)?;
        let c = tableau.c[i] as f32;
        program.push(binary::command(
            BinaryOp::Add,
            [1.0, c, 0.0],
            [rows, 1],
            (ctl, record(0)),
            (ctl, record(1)),
            (time, View::dense(0, 1)),
        ))?;
        let mut inputs = requests.clone();
        inputs.extend([(INPUTS.state, state), (INPUTS.time, time)]);
        staged.lower_evaluation(program, 0, &inputs, Tail::Store, (ks, i * rows * dim))
    };
    evaluate(program, 0, x)?;
    program.phase("step");
    let mut at = x;
    for i in 1..stages {
        let next = program.temporary(rows * dim)?;
        let coefficients: Vec<f32> = tableau.a[i].iter().map(|v| *v as f32).collect();
        program.push(ode_combine::command(
            [rows, dim],
            &coefficients,
            StepSize::PerRow(ctl, 1, RECORD),
            (x, 0),
            (ks, 0),
            (next, 0),
            empty,
        ))?;
        evaluate(program, i, next)?;
        at = next;
    }
    // All pairs here end at the proposed state itself: the last stage's state is the step, and its velocity the next
    // step's first (first same as last).
    let error: Vec<f32> = tableau.error.iter().map(|v| *v as f32).collect();
    program.push(ode_control::command(control, [rows, dim], stages, &error, true, x, at, ks, ctl, active))?;
    Ok(x)
}
