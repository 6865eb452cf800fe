//! Training: runs, objectives, couplings, poses, and the plan of a step. On the CPU and through WGSL on whatever adapter
//! there is; where there is none the tests say NOT RUN, and fail with ADVECT_REQUIRE_GPU=1.

mod absurd;
mod alarms;
mod angles;
mod columns;
#[path = "../common/mod.rs"]
mod common;
mod coupling;
mod fused;
mod objectives;
mod padding;
mod plan;
mod poses;
mod runs;
mod threads;
mod torch;
mod turns;
mod windows;
#[allow(dead_code)]
#[path = "../../examples/closed_loop/world.rs"]
mod world;
