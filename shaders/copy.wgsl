// copy: y[i, j] = x[i, j - start] for start <= j < start + len, else 0, over [rows, cols] of y.
// x is read through a view of len columns; y is at y.offset, rows y.row_stride apart.
// Called by the graph ops Concat, Slice, Repeat and Pad.
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    start: u32,
    len: u32,
    x: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
    let i = e / p.cols;
    let j = e % p.cols;
    var out = 0.0;
    // Columns before start wrap around and are too large.
    if j - p.start < p.len {
        out = x[view_at(p.x, i, j - p.start)];
    }
    y[view_at(p.y, i, j)] = out;
}
