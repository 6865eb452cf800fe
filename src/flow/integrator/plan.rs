//! From a scheme to a plan: noise, the scheme's own phases, fused or packed products, what follows the integration.

use super::scheme::Scheme;
use super::{Batch, IntegrateOptions, KEYED_NOISE, KEYS, NOISE, NOISE_STREAM, STATE};
use crate::device::Device;
use crate::flow::fixed::{self, FixedSpec, names};
use crate::flow::{Solver, adaptive, recurrence};
use crate::graph::packing::{self, PACKED};
use crate::graph::{ParamLayout, Plan, Program, rows};
use crate::kernel::ode_control::ControlParams;
use crate::kernel::{Target, draw};

/// The plan of a scheme for a batch on a device.
pub(super) fn plan(
    device: &Device,
    scheme: &Scheme<'_>,
    layout: &ParamLayout,
    batch: Batch,
    options: &IntegrateOptions<'_>,
) -> crate::graph::Result<Plan> {
    let target = Target::of(device);
    let mut program = Program::new(target);
    let (rows, cols) = (batch.rows(), scheme.start_cols());
    let start = program.resident(names::START, rows * cols)?;
    let state = program.resident(STATE, crate::kernel::state::WORDS)?;
    let empty = program.empty();
    program.phase(NOISE);
    program.push(draw::continued(draw::Law::Normal, rows * cols, NOISE_STREAM, state, empty, (start, 0)))?;
    let keys = program.resident(KEYS, draw::KEY * batch.requests)?;
    program.phase(KEYED_NOISE);
    let each = [batch.requests, batch.samples * cols];
    program.push(draw::keyed(draw::Law::Normal, each, NOISE_STREAM, keys, empty, (start, 0)))?;
    let result = match *scheme {
        Scheme::Flow { field, solver: Solver::Fixed { method, .. }, times } => {
            let spec = FixedSpec {
                tableau: method.tableau(),
                times,
                trajectory: options.trajectory,
                staging: options.staging,
            };
            fixed::build(&mut program, field, layout, batch, &spec, start)?
        }
        Scheme::Flow { field, solver: Solver::Adaptive { method, rtol, atol }, times } => {
            let tableau = method.tableau();
            let control = ControlParams::new(tableau.order, rtol, atol, times[1] as f32);
            adaptive::build(&mut program, field, layout, batch, tableau, &control, start)?
        }
        Scheme::Flow { solver: Solver::Discrete { .. }, .. } => {
            return Err(crate::graph::error::shape_error("integrator", &[], "a solver of an ODE"));
        }
        Scheme::Steps(steps) => {
            let request = scheme.request();
            let (params, requests) = fixed::resident_inputs(&mut program, &request, layout, batch)?;
            let flags = [options.trajectory, options.staging];
            recurrence::build(&mut program, steps, (layout, params), &requests, batch, flags, start)?
        }
    };
    if !options.trajectory && cols == scheme.dim() {
        rows::fuse(&mut program, "steps", [start, result], [rows, cols], options.fusion, options.precision)?;
    }
    let params = program.named(names::PARAMS)?;
    if program.named(PACKED).is_err() {
        let phases = ["request", "steps", "load", "start", "step"];
        // On the CPU all of them, so that no sum of a row depends on how many rows there are, whatever the batch lets be computed once.
        let phases = if program.target.gpu { &phases[..2] } else { &phases[..] };
        packing::pack_products(&mut program, phases, params, options.precision)?;
    }
    if let Some(finish) = options.finish {
        program.phase("finish");
        let mut requests = Vec::new();
        for (name, _) in scheme.request() {
            requests.push((name, program.named(name)?));
        }
        requests.push((STATE, state));
        finish(&mut program, batch, result, &requests)?;
    }
    program.finish()
}
