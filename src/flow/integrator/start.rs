//! Where the state of a run starts.

/// Where the state starts.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Given, [rows, dim].
    Given(&'a [f32]),
    /// Standard normal, named by a seed and the number of the request: the same on every device.
    Noise {
        /// Seed.
        seed: u64,
        /// Number of the request.
        request: u64,
    },
    /// The same noise from a later element on: that of a part of a larger batch.
    Part {
        /// Seed.
        seed: u64,
        /// Number of the request.
        request: u64,
        /// First element: the first row's number in the larger batch times the columns of the start.
        first: u64,
    },
    /// Standard normal, one key for each request of the batch: what a request gets does not depend on the others.
    Keys(&'a [NoiseKey]),
}

/// Names the noise of one request: element e (from 0, over the request's samples and columns) is the same on every device
/// and in every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoiseKey {
    /// Seed.
    pub seed: u64,
    /// Number of the request.
    pub request: u64,
}

/// Stream of the sampling noise.
pub const NOISE_STREAM: u32 = 1;
