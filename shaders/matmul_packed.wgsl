// matmul_packed: C = epilogue(A B) with B [k, n] packed by pack_weights in panels of 32 columns ([n / 32][k][32], zeros where B ends).
// A is [m, k], C is [m, n]; row-major with leading dimension and offset; b_offset is where the first panel starts, b_ld a panel's
// length, both multiples of 4. A workgroup owns 8 rows and 256 columns; an invocation 8 rows and 4 adjacent columns, in registers.
// Fixed order of summation. Called by the planner where weights are packed once and multiplied often; see src/graph/packing.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * 8u;
    let j0 = (tile % p.groups_n) * 256u + 4u * lane;
    if i0 >= p.m || j0 >= p.n {
        return;
    }
    // Rows past the end repeat the last one and are never stored.
#for r in 0..8
    var at_a$r = p.a_offset + min(i0 + $(r)u, p.m - 1u) * p.a_ld;
    var acc$r = vec4<f32>();
#end
    var at_b = (p.b_offset + (j0 / 32u) * p.b_ld + j0 % 32u) / 4u;
    for (var d = 0u; d < p.k; d++) {
        let w = b[at_b];
        at_b += 8u;
#for r in 0..8
        acc$r = fma(vec4<f32>(a[at_a$r]), w, acc$r);
        at_a$r += 1u;
#end
    }
    // One row at a time through the first accumulator: a single copy of the epilogue in the code.
    for (var r = 0u; r < min(8u, p.m - i0); r++) {
        let at = p.c_offset + (i0 + r) * p.c_ld;
        for (var e = 0u; e < min(4u, p.n - j0); e++) {
            c[at + j0 + e] = finish(i0 + r, j0 + e, acc0.x);
            acc0 = acc0.yzwx;
        }
#for r in 0..7
        acc$r = acc$(r + 1);
#end
    }
}
