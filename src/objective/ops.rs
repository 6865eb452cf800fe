//! Pieces of loss graphs that objectives share.

use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::math::Activation;

/// x0 + t (x1 - x0), t [rows, 1]: the straight path.
pub(crate) fn straight(g: &mut Graph, x0: Value, x1: Value, t: Value) -> Result<Value> {
    let u = g.sub(x1, x0)?;
    g.fma(u, t, x0)
}

/// x by what its values count, where some count less.
pub(crate) fn counted(g: &mut Graph, x: Value, counts: Option<Value>) -> Result<Value> {
    match counts {
        Some(counts) => g.mul(x, counts),
        None => Ok(x),
    }
}

/// The mean square of a - b, each value by the square of what it counts.
pub(crate) fn mse(g: &mut Graph, a: Value, b: Value, counts: Option<Value>) -> Result<Value> {
    let (a, b) = (counted(g, a, counts)?, counted(g, b, counts)?);
    g.mse(a, b)
}

/// [`split_rows`] of what there may be.
pub(crate) fn split_counts(
    g: &mut Graph,
    counts: Option<Value>,
    every: usize,
    lead: usize,
) -> Result<[Option<Value>; 2]> {
    match counts {
        Some(counts) => Ok(split_rows(g, counts, every, lead)?.map(Some)),
        None => Ok([None, None]),
    }
}

/// Of every `every` consecutive rows the first `lead`, and the others.
pub(crate) fn split_rows(g: &mut Graph, x: Value, every: usize, lead: usize) -> Result<[Value; 2]> {
    let (rows, cols) = (g.shape(x).rows(), g.shape(x).cols());
    let groups = rows / every.max(1);
    let wide = g.reshape(x, Shape::matrix(groups, every * cols))?;
    let mut part = |start: usize, n: usize| {
        let part = g.slice(wide, start * cols, n * cols)?;
        g.reshape(part, Shape::matrix(groups * n, cols))
    };
    Ok([part(0, lead)?, part(lead, every - lead)?])
}

/// The sum of squares of every row, [rows, 1].
pub(crate) fn row_squares(g: &mut Graph, x: Value) -> Result<Value> {
    let squares = g.map(Activation::Square, x)?;
    g.row_sum(squares, 1.0)
}

/// The mean of all elements, [1, 1].
pub(crate) fn mean(g: &mut Graph, x: Value) -> Result<Value> {
    let (rows, cols) = (g.shape(x).rows(), g.shape(x).cols());
    let sums = g.row_sum(x, 1.0 / (rows * cols) as f32)?;
    g.col_sum(sums, rows, 1.0)
}

/// The smaller of a and b.
pub(crate) fn min(g: &mut Graph, a: Value, b: Value) -> Result<Value> {
    let excess = g.sub(a, b)?;
    let excess = g.map(Activation::Relu, excess)?;
    g.sub(a, excess)
}

/// x within [-limit, limit].
pub(crate) fn clip(g: &mut Graph, x: Value, limit: f32) -> Result<Value> {
    // relu(x + l) - relu(x - l) - l
    let low = g.affine(x, 1.0, limit)?;
    let low = g.map(Activation::Relu, low)?;
    let high = g.affine(x, 1.0, -limit)?;
    let high = g.map(Activation::Relu, high)?;
    let both = g.sub(low, high)?;
    g.affine(both, 1.0, -limit)
}
