//! Chunks for robots: noise by keys, sources that continue a chunk, the best of several candidates, control. On the CPU and
//! through WGSL on whatever adapter there is; where there is none the tests say NOT RUN, and fail with ADVECT_REQUIRE_GPU=1.

mod best_of;
mod blocks;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod deadline;
mod fleet;
mod guided;
mod keys;
mod prefix;
mod rows;
mod toy;
