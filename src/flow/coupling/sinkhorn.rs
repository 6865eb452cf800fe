//! Entropic optimal transport on the device: commands for the cost, the potentials and a draw from the plan.

use super::BatchShape;
use crate::graph::{Program, Result};
use crate::kernel::pair_cost::{self, PairShape};
use crate::kernel::{BufferId, pair_draw, sinkhorn};

/// The rows that are paired, and how closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Sizes.
    pub shape: BatchShape,
    /// Regularisation, in the units of the cost.
    pub reg: f32,
    /// Updates of both potentials.
    pub iterations: u32,
    /// Weight of the squared distance of the observations.
    pub condition_weight: f32,
}

/// A plan: entry (i, j) is exp(u\[i\] + v\[j\] - cost[i, j] / reg). Its rows have mass 1 / batch up to rounding, its columns once the
/// iterations have converged.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// \[batch, batch\].
    pub cost: BufferId,
    /// Potential of the rows in units of reg, \[batch\].
    pub u: BufferId,
    /// Potential of the columns in units of reg, \[batch\].
    pub v: BufferId,
}

impl Problem {
    /// The sizes of the cost matrix.
    fn pairs(&self) -> PairShape {
        let BatchShape { batch, dim, request } = self.shape;
        let extra = if self.condition_weight > 0.0 { request } else { 0 };
        PairShape { rows: batch, cols: batch, dim, extra, weight: self.condition_weight }
    }

    /// Appends the plan of x and y \[batch, dim\], with observations z \[batch, request\] of both: starts at potentials of 0, and
    /// updates columns, then rows, at every iteration.
    ///
    /// # Errors
    /// A batch whose square is too large for a buffer.
    pub fn plan(&self, p: &mut Program, x: BufferId, y: BufferId, z: BufferId) -> Result<Plan> {
        let n = self.shape.batch;
        // Both updates read rows: the columns' read the transposed cost, which is that of y and x.
        let (cost, turned) = (p.temporary(n * n)?, p.temporary(n * n)?);
        p.push(pair_cost::command(&self.pairs(), [x, y], [z, z], cost))?;
        p.push(pair_cost::command(&self.pairs(), [y, x], [z, z], turned))?;
        let (u, v) = (p.temporary(n)?, p.temporary(n)?);
        let (scale, shift) = (1.0 / self.reg, -(n as f64).ln() as f32);
        let mut rows = p.constant(&vec![0.0; n])?;
        for _ in 0..self.iterations {
            p.push(sinkhorn::command([n, n], scale, shift, turned, rows, v))?;
            p.push(sinkhorn::command([n, n], scale, shift, cost, v, u))?;
            rows = u;
        }
        Ok(Plan { cost, u, v })
    }

    /// Appends the drawing of a row of y for every row of x from the plan, into `index` \[batch\] (u32); the uniforms are those
    /// of `stream` at `state`'s seed and step.
    ///
    /// # Errors
    /// As [`Program::push`].
    pub fn draw(
        &self,
        p: &mut Program,
        plan: &Plan,
        stream: u32,
        state: BufferId,
        index: BufferId,
    ) -> Result<()> {
        let n = self.shape.batch;
        let uv = [plan.u, plan.v];
        p.push(pair_draw::command([n, n], 1.0 / self.reg, stream, plan.cost, uv, state, index))
    }
}
