//! Cases of each kernel over the test sizes 1, 7, 31, 33, 65 and odd shapes: one file per kernel.

use crate::kernel::case::Case;
use crate::kernel::{Target, View};

pub mod adamw;
pub mod binary;
pub mod denormalize;
pub mod draw;
pub mod ode_combine;
pub mod ode_control;
pub mod path;
pub mod sumsq;
pub mod tick;
pub mod window;

/// The sizes that every kernel is tried at.
pub const SIZES: [usize; 5] = [1, 7, 31, 33, 65];

/// The cases of a kernel for a target (which decides the variants).
pub type Cases = fn(&Target) -> Vec<Case>;

/// Every kernel's cases: to add a kernel, add its file and its line.
pub static CASES: &[(&str, Cases)] = &[
    ("binary", binary::cases),
    ("window", window::cases),
    ("path", path::cases),
    ("ode_combine", ode_combine::cases),
    ("ode_control", ode_control::cases),
    ("denormalize", denormalize::cases),
    ("sumsq", sumsq::cases),
    ("tick", tick::cases),
    ("adamw", adamw::cases),
    ("draw", draw::cases),
];

/// Deterministic test values, roughly standard normal, exact in f32.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
    (0..n)
        .map(|_| {
            let mut sum = 0.0f32;
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                sum += (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            }
            sum * 1.7
        })
        .collect()
}

/// Reads element (i, j) of a view, in f64.
pub fn at(buffer: &[f32], view: &View, i: usize, j: usize) -> f64 {
    f64::from(buffer[view.at(i, j)])
}
