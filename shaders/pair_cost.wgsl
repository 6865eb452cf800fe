// pair_cost: y[i, j] = |a_i - b_j|^2 + weight |c_i - d_j|^2, the cost of pairing row i with row j.
// a: [rows, dim], b: [cols, dim], c: [rows, extra], d: [cols, extra], y: [rows, cols], all dense; extra may be 0 (c and d are
// then not read). Differences are squared, not expanded: equal rows cost exactly 0. One invocation per pair.
// Called by the minibatch couplings.
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    dim: u32,
    extra: u32,
    weight: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read> d: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
    let i = e / p.cols;
    let j = e % p.cols;
    var own = 0.0;
    for (var k = 0u; k < p.dim; k += 1u) {
        let apart = a[i * p.dim + k] - b[j * p.dim + k];
        own += apart * apart;
    }
    var other = 0.0;
    for (var k = 0u; k < p.extra; k += 1u) {
        let apart = c[i * p.extra + k] - d[j * p.extra + k];
        other += apart * apart;
    }
    y[e] = own + p.weight * other;
}
