//! How many rows are computed together.

/// Requests (observations) and samples for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of requests.
    pub requests: usize,
    /// Samples per request; row r belongs to request r / samples.
    pub samples: usize,
}

impl Batch {
    /// All rows.
    pub fn rows(&self) -> usize {
        self.requests * self.samples
    }
}
