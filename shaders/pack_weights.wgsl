// pack_weights: y = B as [k4, n4] with zeros where B ends, for kernels that read four columns at a time; one thread an element.
// k4, n4: k and n rounded up to multiples of 4. B is [n, k] (turned = 1: y is its transpose) or [k, n], row-major with leading
// dimension and offset; y is dense from its offset. Called once per load for ode_rows and ode_latency.
#include "shared/linear_id.wgsl"

struct Params {
    n: u32,
    k: u32,
    n4: u32,
    k4: u32,
    b_offset: u32,
    b_ld: u32,
    y_offset: u32,
    turned: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.k4 * p.n4 {
        return;
    }
    let d = e / p.n4;
    let j = e % p.n4;
    var v = 0.0;
    if d < p.k && j < p.n {
        v = b[p.b_offset + select(d * p.b_ld + j, j * p.b_ld + d, p.turned != 0u)];
    }
    y[p.y_offset + e] = v;
}
