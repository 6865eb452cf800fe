// matmul_join: C = epilogue(sum over s < k of P[s]), with P[s] the parts of a product that matmul_split wrote.
// P is [k, m, n], a part a_ld elements after the one before, from a_offset on; C is [m, n], row-major with leading dimension and offset.
// One invocation per element, four running sums: loads in flight, and a fixed order of summation.
// Called after matmul_split; see src/kernel/matmul/join.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let element = linear_group(group, groups) * 64u + lane;
    if element >= p.m * p.n {
        return;
    }
    var at = p.a_offset + element;
    var s0 = 0.0;
    var s1 = 0.0;
    var s2 = 0.0;
    var s3 = 0.0;
    var s = 0u;
    for (; s + 3u < p.k; s += 4u) {
        s0 += parts[at];
        s1 += parts[at + p.a_ld];
        s2 += parts[at + 2u * p.a_ld];
        s3 += parts[at + 3u * p.a_ld];
        at += 4u * p.a_ld;
    }
    for (; s < p.k; s++) {
        s0 += parts[at];
        at += p.a_ld;
    }
    let i = element / p.n;
    let j = element % p.n;
    c[p.c_offset + i * p.c_ld + j] = finish(i, j, (s0 + s1) + (s2 + s3));
}
