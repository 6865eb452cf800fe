//! Static shapes of graph values.

use std::fmt;

/// Up to four dimensions, row-major. Kernels see `rows()` x `cols()`: the last dimension is the columns, all others
/// together the rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: u8,
}

impl Shape {
    /// A shape from its dimensions; `None` when there are more than four.
    pub fn new(dims: &[usize]) -> Option<Shape> {
        let mut out = Shape { dims: [1; 4], rank: dims.len() as u8 };
        out.dims.get_mut(..dims.len())?.copy_from_slice(dims);
        Some(out)
    }

    /// A matrix.
    pub const fn matrix(rows: usize, cols: usize) -> Shape {
        Shape { dims: [rows, cols, 1, 1], rank: 2 }
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Number of elements; `usize::MAX` where it is more than that.
    pub fn len(&self) -> usize {
        product(self.dims())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last dimension (1 for a scalar).
    pub fn cols(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// The product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.dims().split_last().map_or(1, |(_, rest)| product(rest))
    }

    /// The same shape with the last dimension replaced.
    pub fn with_cols(mut self, cols: usize) -> Shape {
        match self.rank {
            0 => return Shape { dims: [cols, 1, 1, 1], rank: 1 },
            r => self.dims[r as usize - 1] = cols,
        }
        self
    }
}

/// What does not fit stays too large for every buffer, so that the bounds that follow refuse it.
fn product(dims: &[usize]) -> usize {
    match dims.contains(&0) {
        true => 0,
        false => dims.iter().fold(1, |n, dim| n.saturating_mul(*dim)),
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}
