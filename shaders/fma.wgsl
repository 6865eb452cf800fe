// fma: y[i, j] = x[i, j] * s[i, j] + b[i, j] with every operand read through a broadcasting view (the affine part of a
// norm, FiLM). y is [rows, cols] at y.offset, rows y.row_stride apart. Called by the graph ops Film, Norm and their derivatives.
// flat: rows == 1, so element e lies at offset + e * col_stride; view: any views.
//! variants form=flat,view
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    pad0: u32,
    pad1: u32,
    x: View,
    s: View,
    b: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
#if form_flat
    y[p.y.offset + e] = x[p.x.offset + e * p.x.col_stride] * s[p.s.offset + e * p.s.col_stride] + b[p.b.offset + e * p.b.col_stride];
#else
    let i = e / p.cols;
    let j = e % p.cols;
    y[view_at(p.y, i, j)] = x[view_at(p.x, i, j)] * s[view_at(p.s, i, j)] + b[view_at(p.b, i, j)];
#endif
}
