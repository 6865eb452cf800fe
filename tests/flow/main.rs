//! Integrating velocity fields: fused solvers and manifolds. On the CPU and through WGSL on whatever adapter there is; where
//! there is none the tests say NOT RUN, and fail with ADVECT_REQUIRE_GPU=1.

#[path = "../common/mod.rs"]
mod common;
mod fused;
mod manifold;
