//! (placeholder until the device floor lands)

/// How a kernel uses a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Every element is written, none is read.
    Write,
    /// Read and written.
    ReadWrite,
}
