//! Policies: what a checkpoint means, its normalisers, sampling and log-likelihood.

pub mod checkpoint;
pub mod error;
pub mod normalizer;
pub mod objective;
pub mod relative;
pub mod sampler;
pub mod source;
pub mod spec;

pub use checkpoint::{Policy, Weights};
pub use error::{PolicyError, Result};
pub use normalizer::{NormError, NormKind, Normalizer, Scope};
pub use objective::Objective;
pub use relative::RelativeTo;
pub use sampler::{LogProbOptions, Noise, NoiseKey, Sampler, SamplerOptions};
pub use source::{ChunkSource, Previous};
pub use spec::{NoiseLaw, PolicySpec, Provenance, TimeConvention};
