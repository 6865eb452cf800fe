//! (see docs/architecture.md)

pub mod math;
pub mod philox;
