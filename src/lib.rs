//! advect: a GPU compute-shader engine for flow-matching robot policies.
#![warn(missing_docs)]

pub mod bench;
pub mod data;
pub mod device;
pub mod flow;
pub mod graph;
pub mod kernel;
pub mod nn;
pub mod policy;
pub mod report;
pub mod selftest;
pub mod train;

/// The README's example, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
