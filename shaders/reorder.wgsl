// reorder: rows in another order: y[i, :] = x[index[(step % turns) rows + i], :], step being the low word of the state's.
// index: [turns, rows] u32, one set of row numbers for each of `turns` steps, clamped to x's rows; x: [source, cols],
// y: [rows, cols], dense. Called by the couplings, which pair noise with windows, and by objectives that draw rows of tables or of
// given pairs.
#include "shared/linear_id.wgsl"
#include "shared/state.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    source: u32,
    turns: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> state: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
    let i = e / p.cols;
    let j = e % p.cols;
    let turn = state[STATE_STEP] % p.turns;
    let row = min(index[turn * p.rows + i], p.source - 1u);
    y[e] = x[row * p.cols + j];
}
