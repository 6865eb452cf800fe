//! Exact minibatch optimal transport on the host.

use super::{Assignment, BatchShape, assign};
use crate::flow::{FlowError, Result};
use crate::kernel::pair_cost::{self, PairShape};

/// cost[i, j] = |x_i - y_j|^2 + condition_weight |z_i - z_j|^2, into `cost` \[batch, batch\]; x and y \[batch, dim\], z
/// \[batch, request\]. The same numbers as the CPU's `pair_cost`.
///
/// # Errors
/// [`FlowError::Length`] if one of the four is shorter or longer than that.
pub fn cost(
    shape: &BatchShape,
    condition_weight: f32,
    [x, y, z]: [&[f32]; 3],
    cost: &mut [f32],
) -> Result<()> {
    let n = shape.batch;
    let lengths =
        [("x", x.len(), shape.dim), ("y", y.len(), shape.dim), ("observations", z.len(), shape.request)];
    for (what, found, cols) in lengths.into_iter().chain([("cost matrix", cost.len(), n)]) {
        if found != n * cols {
            return Err(FlowError::Length { what, found, needed: format!("{n} x {cols}") });
        }
    }
    // Observations that weigh nothing need not be compared.
    let extra = if condition_weight > 0.0 { shape.request } else { 0 };
    let shape = PairShape { rows: n, cols: n, dim: shape.dim, extra, weight: condition_weight };
    pair_cost::fill(&shape, [x, y], [z, z], cost);
    Ok(())
}

/// The optimal pairing: the row of y for every row of x (see [`cost`]).
///
/// # Errors
/// As [`assign`].
pub fn pair(shape: &BatchShape, condition_weight: f32, rows: [&[f32]; 3]) -> Result<Assignment> {
    let mut matrix = vec![0.0; shape.batch * shape.batch];
    cost(shape, condition_weight, rows, &mut matrix)?;
    assign(&matrix, shape.batch)
}
