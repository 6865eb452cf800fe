//! Policies: what a checkpoint means, its normalisers, sampling (free, guided, after a prefix, the best of several) and
//! log-likelihood.

pub mod angles;
pub mod best_of;
pub mod checkpoint;
pub(crate) mod checksum;
mod continuing;
pub mod error;
pub mod fleet;
pub mod guided;
mod lerobot;
pub mod likelihood;
pub mod normalizer;
pub mod pairs;
pub mod prefix;
pub mod relative;
pub mod sampler;
pub mod source;
pub mod spec;
pub mod stream;

pub use crate::objective::Objective;
pub use angles::{ActionAngle, AngleUnit, Angles};
pub use best_of::{BestOf, Choice};
pub use checkpoint::{Policy, Weights};
pub use error::{PolicyError, Result};
pub use fleet::{Fleet, Share};
pub use guided::{GuidedOptions, GuidedSampler};
pub use lerobot::{Imported, find_checkpoint};
pub use likelihood::{Likelihood, LogProbOptions};
pub use normalizer::{NormError, NormKind, Normalizer, Scope};
pub use prefix::{PrefixSampler, PrefixSpec};
pub use relative::RelativeTo;
pub use sampler::{Noise, NoiseKey, RowOutcome, RowStatus, Sampler, SamplerOptions};
pub use source::{ChunkSource, Previous};
pub use spec::{NoiseLaw, PolicySpec, Provenance, TimeConvention};
pub use stream::Stream;
