// gather: rows of a table by number: y[r, c] = table[index[r], c], for r < rows and c < cols.
// index: u32 words [rows], each below the table's rows; table [.., cols] and y [rows, cols] dense.
// One thread per element. Called by objectives whose draws are entries of a table (steps of a diffusion, pairs of times).
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    cols: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
    y[e] = table[index[e / p.cols] * p.cols + e % p.cols];
}
