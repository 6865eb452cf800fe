//! Tests of the graph floor: derivatives, fusion, memory, stages.

#[path = "../common/mod.rs"]
mod common;
mod convolution;
mod engine;
mod fusion;
mod gradients;
mod guidance;
mod memory;
mod oracle;
mod staging;
mod stale;
mod transformer;
