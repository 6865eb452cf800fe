//! Tests of the graph floor: derivatives, fusion, memory, stages.

mod convolution;
mod engine;
mod fusion;
mod gradients;
mod guidance;
mod memory;
mod oracle;
mod staging;
mod transformer;
