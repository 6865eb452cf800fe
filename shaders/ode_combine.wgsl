// ode_combine: y = x + h sum_s c_s K_s, the linear combination of a Runge-Kutta step; one thread per element.
// x, y: [rows, cols] dense from their offsets; K: [stages, rows, cols] from k_offset; h: a scalar, or (per_row) row i's at
// h_offset + i h_stride. A stage with c_s = 0 is not read: it may not have been computed. Called by the samplers.
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    stages: u32,
    per_row: u32,
    h: f32,
    h_offset: u32,
    h_stride: u32,
    x_offset: u32,
    k_offset: u32,
    y_offset: u32,
    pad0: u32,
    pad1: u32,
    coefficients: array<vec4<f32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> h: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    let n = p.rows * p.cols;
    if e >= n {
        return;
    }
    var step = p.h;
    if p.per_row != 0u {
        step = h[p.h_offset + (e / p.cols) * p.h_stride];
    }
    var sum = x[p.x_offset + e];
    for (var s = 0u; s < p.stages; s++) {
        let c = p.coefficients[s / 4u][s % 4u];
        if c != 0.0 {
            sum += step * c * k[p.k_offset + s * n + e];
        }
    }
    y[p.y_offset + e] = sum;
}
