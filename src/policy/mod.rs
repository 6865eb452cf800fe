//! (see docs/architecture.md)

pub mod normalizer;
pub mod relative;

pub use normalizer::{NormError, NormKind, Normalizer, Scope};
pub use relative::RelativeTo;
