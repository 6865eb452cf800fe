//! variants form=nn,nt,tn rows=rows1,rows8
//! where LANES=8 RN=4 TN=32
//! where rows1: TM=1
//! where rows8: TM=8
// matmul_soft: C = epilogue(A B) in registers alone, without workgroup memory or barriers: for software rasterisers.
// A is [m, k] (tn: [k, m]), B is [k, n] (nt: [n, k]), C is [m, n]; row-major with leading dimension and offset.
// A workgroup owns TM rows and TN columns: the rows are the same in all lanes, so that their loads are scalar
// ones; lane l owns the columns l, l + LANES, ... Fixed order of summation.
// Called by the graph op Matmul; see src/kernel/matmul.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

@compute @workgroup_size($LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j0 = (tile % p.groups_n) * $(TN)u + lane;
    if i0 >= p.m {
        return;
    }
    // Rows and columns past the end repeat the last one and are never stored.
#if form_tn
    let step_a = p.a_ld;
#for r in 0..TM
    var at_a$r = p.a_offset + min(i0 + $(r)u, p.m - 1u);
#end
#else
    let step_a = 1u;
#for r in 0..TM
    var at_a$r = p.a_offset + min(i0 + $(r)u, p.m - 1u) * p.a_ld;
#end
#endif
#if form_nt
    let step_b = 1u;
#for q in 0..RN
    var at_b$q = p.b_offset + min(j0 + $(q * LANES)u, p.n - 1u) * p.b_ld;
#end
#else
    let step_b = p.b_ld;
#for q in 0..RN
    var at_b$q = p.b_offset + min(j0 + $(q * LANES)u, p.n - 1u);
#end
#endif
#for r in 0..TM
    var acc$r = vec4<f32>();
#end
    for (var d = 0u; d < p.k; d++) {
        let w = vec4<f32>(b[at_b0], b[at_b1], b[at_b2], b[at_b3]);
#for r in 0..TM
        acc$r += a[at_a$r] * w;
        at_a$r += step_a;
#end
#for q in 0..RN
        at_b$q += step_b;
#end
    }
    // One row at a time through the first accumulator: a single copy of the epilogue in the code.
    for (var r = 0u; r < min($(TM)u, p.m - i0); r++) {
        let at = p.c_offset + (i0 + r) * p.c_ld;
        for (var j = j0; j < min(p.n, j0 + $(TN)u); j += $(LANES)u) {
            c[at + j] = finish(i0 + r, j, acc0.x);
            acc0 = acc0.yzwx;
        }
#for r in 0..TM-1
        acc$r = acc$(r + 1);
#end
    }
}
