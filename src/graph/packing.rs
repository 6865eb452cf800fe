//! Weights packed once per load for kernels that read several columns at a time: on the CPU for products of many rows, on
//! GPUs for fused sampling.

use super::Result;
use super::plan::{Plan, Program};
use crate::kernel::matmul::{self, Call, Form, Mode};
use crate::kernel::pack_weights::{self, Layout};
use crate::kernel::{BufferId, View};

/// The phase that packs the weights: to be run after the parameters have changed.
pub const PACK: &str = "pack";
/// The resident buffer of packed weights.
pub const PACKED: &str = "packed weights";
/// Rows from which a packed product is faster than one that reads each weight row once.
const LEAST_ROWS: usize = 17;
/// Columns and depth below which there is nothing to gain.
const LEAST_SIDE: usize = 16;

/// A matrix (or a bias, as one row) among the parameters. Units: elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrix {
    form: Form,
    offset: usize,
    ld: usize,
    n: usize,
    k: usize,
}

impl Matrix {
    /// The right side of a product.
    pub(super) fn weight(call: &Call) -> Matrix {
        let [_, n, k] = call.size;
        let view = &call.b.1;
        Matrix { form: call.form, offset: view.offset as usize, ld: view.row_stride as usize, n, k }
    }

    /// n adjacent elements as a matrix of one row.
    pub(super) fn row(n: usize, offset: usize) -> Matrix {
        Matrix { form: Form::NN, offset, ld: n, n, k: 1 }
    }
}

/// Where each matrix lies in the packed buffer, in elements.
pub(super) struct Pack {
    layout: Layout,
    matrices: Vec<(Matrix, usize)>,
    pub(super) elements: usize,
}

impl Pack {
    pub(super) fn new(layout: Layout) -> Pack {
        Pack { layout, matrices: Vec::new(), elements: 0 }
    }

    /// Gives a matrix its place, if it has none yet.
    pub(super) fn add(&mut self, matrix: Matrix) {
        if !self.matrices.iter().any(|(m, _)| *m == matrix) {
            self.matrices.push((matrix, self.elements));
            self.elements += self.layout.len([matrix.n, matrix.k]);
        }
    }

    /// The first element of a matrix that was added.
    pub(super) fn at(&self, matrix: Matrix) -> usize {
        self.matrices.iter().find(|(m, _)| *m == matrix).map_or(0, |(_, at)| *at)
    }

    /// The buffer for all of them.
    pub(super) fn buffer(&self, program: &mut Program) -> Result<BufferId> {
        program.resident(PACKED, self.elements)
    }

    /// Adds the phase that packs them from `params`.
    pub(super) fn lower(&self, program: &mut Program, params: BufferId, packed: BufferId) -> Result<()> {
        program.phase(PACK);
        for (m, at) in &self.matrices {
            let view = View::strided(m.offset, m.ld);
            program.push(pack_weights::command(
                self.layout,
                m.form,
                [m.n, m.k],
                (params, view),
                (packed, *at),
            ))?;
        }
        Ok(())
    }
}

/// On the CPU, lets the products of the phases `phases` with weights in `params` read them packed, where rows are many enough. The
/// phases must not write `params`.
pub fn pack_products(program: &mut Program, phases: &[&str], params: BufferId) -> Result<()> {
    if program.target.gpu {
        return Ok(());
    }
    let mut pack = Pack::new(Layout::Panels);
    let mut found: Vec<(usize, Call)> = Vec::new();
    for range in phases.iter().filter_map(|p| program.phase_range(p)) {
        for at in range {
            let Some(call) = Call::of(&program.commands[at]) else { continue };
            let [m, n, k] = call.size;
            let plain = call.form != Form::TN && call.epilogue.mode == Mode::Plain && call.b.0 == params;
            if plain && m >= LEAST_ROWS && n.min(k) >= LEAST_SIDE {
                pack.add(Matrix::weight(&call));
                found.push((at, call));
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let packed = pack.buffer(program)?;
    let empty = program.empty();
    for (at, call) in &found {
        let place = pack.at(Matrix::weight(call));
        program.commands[*at] = matmul::packed_command(call, (packed, place), empty);
    }
    pack.lower(program, params, packed)
}

/// Whether two plans pack the same matrices in the same way.
pub(crate) fn same(a: &Plan, phase: usize, b: &Plan, other: usize) -> bool {
    let words = |plan: &Plan, phase: usize| -> Vec<Vec<u32>> {
        plan.commands[plan.phases[phase].range.clone()].iter().map(|c| c.params.clone()).collect()
    };
    words(a, phase) == words(b, other)
}
