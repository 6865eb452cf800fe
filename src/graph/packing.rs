//! Weights packed once per load for kernels that read several columns at a time: on the CPU for products of many rows, on
//! GPUs for fused sampling.

use super::Result;
use super::plan::{Plan, Program};
use crate::kernel::matmul::{self, Call, Form, MatrixUnit, Mode};
use crate::kernel::pack_weights::{self, Layout, Store};
use crate::kernel::{BufferId, View};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The phase that packs the weights: to be run after the parameters have changed.
pub const PACK: &str = "pack";
/// The resident buffer of packed weights.
pub const PACKED: &str = "packed weights";
/// Rows below which weights in half precision are faster on the CPU than packed ones.
const LEAST_ROWS: usize = 12;
/// Rows up to which a GPU waits for the weights rather than for its arithmetic.
const MOST_HALF_ROWS: usize = 16;
/// Columns and depth below which a GPU has nothing to gain.
const LEAST_SIDE: usize = 16;

/// How weights are stored for sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision where a product is bound by reading its weights: few rows, or steps fused into one dispatch. Sums and
    /// activations stay in single precision; a weight is rounded by up to 1 part in 2,048, and beyond 65,504 not representable.
    /// On a GPU that was opened with cooperative matrices, products of more rows are done by matrix units, which round the rows
    /// likewise; sums stay in single precision.
    F16,
}

impl Precision {
    /// How a packed weight is stored.
    pub(super) fn store(self) -> Store {
        if self == Precision::F16 { Store::Half } else { Store::Full }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Precision, String> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err(format!("found {text:?}, needed f32 or f16")),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Precision::F16 { "f16" } else { "f32" })
    }
}

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

/// Where each matrix lies in the packed buffer, in words.
#[derive(Default)]
pub(super) struct Pack {
    matrices: Vec<(Matrix, (Layout, Store), usize)>,
    pub(super) words: usize,
}

impl Pack {
    /// Where a matrix lies, in words; it gets its place if it has none yet.
    pub(super) fn add(&mut self, matrix: Matrix, (layout, store): (Layout, Store)) -> usize {
        if let Some(at) = self.at(matrix, (layout, store)) {
            return at;
        }
        let at = self.words;
        self.matrices.push((matrix, (layout, store), at));
        self.words += layout.words(store, [matrix.n, matrix.k]);
        at
    }

    /// The first word of a matrix, if it has been added.
    pub(super) fn at(&self, matrix: Matrix, kind: (Layout, Store)) -> Option<usize> {
        self.matrices.iter().find(|(m, k, _)| (*m, *k) == (matrix, kind)).map(|(_, _, at)| *at)
    }

    /// The buffer for all of them.
    pub(super) fn buffer(&self, program: &mut Program) -> Result<BufferId> {
        program.resident(PACKED, self.words)
    }

    /// Adds the phase that packs them from `params`.
    pub(super) fn lower(&self, program: &mut Program, params: BufferId, packed: BufferId) -> Result<()> {
        program.phase(PACK);
        for (m, kind, at) in &self.matrices {
            let view = View::strided(m.offset, m.ld);
            program.push(pack_weights::command(*kind, m.form, [m.n, m.k], (params, view), (packed, *at)))?;
        }
        Ok(())
    }
}

/// How a product reads its packed weights.
enum Way {
    /// In half precision, for few rows.
    Half,
    /// In half precision, by matrix units.
    Units(MatrixUnit),
    /// In panels.
    Panels,
}

/// Lets the products of the phases `phases` with weights in `params` read them packed: on the CPU in panels, however many rows there
/// are, since their tiles add an element's terms in one order whatever is beside it; in half precision, if that is asked for, where they are so few that reading the weights is what takes the time, and where
/// there are more and the device was opened with matrix units. The phases must not write `params`.
pub fn pack_products(
    program: &mut Program,
    phases: &[&str],
    params: BufferId,
    precision: Precision,
) -> Result<()> {
    let mut pack = Pack::default();
    let mut found: Vec<(usize, Call, usize, Way)> = Vec::new();
    // Units that software imitates are slower than products without (docs/perf-log.md).
    let units = program.target.matrix.filter(|_| !program.target.software);
    for range in phases.iter().filter_map(|p| program.phase_range(p)) {
        for at in range {
            let Some(call) = Call::of(&program.commands[at]) else { continue };
            let [m, n, k] = call.size;
            let cpu = !program.target.gpu;
            let plain = call.epilogue.mode == Mode::Plain && n.min(k) >= LEAST_SIDE;
            if call.form == Form::TN || call.b.0 != params || !(cpu || plain) {
                continue;
            }
            let few = if program.target.gpu { m <= MOST_HALF_ROWS } else { m < LEAST_ROWS };
            let way = match (few, precision, units) {
                (true, Precision::F16, _) if plain => Way::Half,
                (false, Precision::F16, Some(unit)) if matmul::coop_fits(&call) => Way::Units(unit),
                _ if cpu => Way::Panels,
                _ => continue,
            };
            let kind = match way {
                Way::Panels => (Layout::Panels, Store::Full),
                Way::Half | Way::Units(_) => (Layout::Columns, Store::Half),
            };
            let place = pack.add(Matrix::weight(&call), kind);
            found.push((at, call, place, way));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let packed = pack.buffer(program)?;
    let empty = program.empty();
    for (at, call, place, way) in &found {
        program.commands[*at] = match way {
            Way::Half => matmul::half_command(call, (packed, 2 * place), empty),
            Way::Units(unit) => matmul::coop_command(*unit, call, (packed, 2 * place), empty),
            Way::Panels => matmul::packed_command(call, (packed, *place), empty),
        };
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
