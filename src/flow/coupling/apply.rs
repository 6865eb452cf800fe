//! A coupling as commands of a training step: the noise rows put in the order of the chunks that they go with.

use super::sinkhorn::Problem;
use super::{BatchShape, Coupling};
use crate::graph::{Program, Result};
use crate::kernel::{BufferId, reorder};

/// The resident buffer that the host writes the exact pairings into: [turns, batch] (u32), the noise row of every chunk; the
/// step with number n reads row n % turns.
pub const PAIRS: &str = "pairs";

/// The rows of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// x0 \[batch, dim\].
    pub noise: BufferId,
    /// x1 \[batch, dim\].
    pub chunk: BufferId,
    /// Normalised observations \[batch, request\].
    pub request: BufferId,
    /// The run's state: seed and step.
    pub state: BufferId,
}

impl Coupling {
    /// Appends what pairs the rows; returns the noise \[batch, dim\] in the order of the chunks. Noise row j counts as drawn with
    /// observation j. `stream` is that of the draws from a plan, `turns` the number of steps that [`PAIRS`] has rows for.
    ///
    /// # Errors
    /// A batch whose square is too large for a buffer.
    pub fn apply(
        &self,
        p: &mut Program,
        shape: &BatchShape,
        rows: &Rows,
        stream: u32,
        turns: usize,
    ) -> Result<BufferId> {
        let BatchShape { batch, dim, .. } = *shape;
        let (index, turns) = match *self {
            Coupling::Independent => return Ok(rows.noise),
            Coupling::ExactOt { .. } => (p.resident(PAIRS, turns * batch)?, turns),
            Coupling::Sinkhorn { reg, iterations, condition_weight } => {
                let problem = Problem { shape: *shape, reg, iterations, condition_weight };
                let plan = problem.plan(p, rows.chunk, rows.noise, rows.request)?;
                let index = p.temporary(batch)?;
                problem.draw(p, &plan, stream, rows.state, index)?;
                (index, 1)
            }
        };
        let paired = p.temporary(batch * dim)?;
        p.push(reorder::command([batch, dim], batch, (index, turns), rows.state, rows.noise, paired))?;
        Ok(paired)
    }
}
