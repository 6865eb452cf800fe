//! variants form=nn,nt,tn tile=huge,large,small,flat load=vec4,scalar
//! where huge: TM=128 TN=128 TK=16 RM=8 RN=8
//! where large: TM=64 TN=64 TK=16 RM=8 RN=4
//! where small: TM=32 TN=32 TK=16 RM=4 RN=4
//! where flat: TM=16 TN=128 TK=16 RM=4 RN=4
// matmul: C = epilogue(A B), tiles of TM x TN staged through workgroup memory in slabs of TK along k.
// A is [m, k] (tn: [k, m]), B is [k, n] (nt: [n, k]), C is [m, n]; row-major with leading dimension and offset.
// One invocation owns RM x RN outputs and stages blocks of 4x4 of A or B for each slab; the next slab is fetched into
// registers while the present one is multiplied. Workgroup memory is k-major in vec4 along m (n), its blocks
// swizzled by 2 (k / 4) so that neither the transposing stores nor the loads meet bank conflicts.
// The vec4 variants need offsets, leading dimensions and contiguous extents that are multiples of 4.
// Fixed order of summation. Called by the graph op Matmul; see src/kernel/matmul.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
#include "shared/matmul_tile.wgsl"
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
#if load_vec4
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;
#else
@group(0) @binding(5) var<storage, read_write> c: array<f32>;
#endif

@compute @workgroup_size($(TM / RM * TN / RN))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j0 = (tile % p.groups_n) * $(TN)u;
    if i0 >= p.m || j0 >= p.n {
        return;
    }
    let k_first = 0u;
    let k_end = p.k;
#include "shared/matmul_slabs.wgsl"

    // Four outputs at a time through the first accumulator, one element at a time through its first component: a single
    // copy of the epilogue in the code, no indexed registers.
    for (var q = 0u; q < $(RM * RN / 4)u; q++) {
        let i = i0 + ty * $(RM)u + q / $(RN / 4)u;
        let j = j0 + tx * 4u + (q % $(RN / 4)u) * $(4 * TN / RN)u;
        if i < p.m && j < p.n {
            let at = p.c_offset + i * p.c_ld + j;
#if load_vec4
            var out = vec4<f32>();
            for (var e = 0u; e < 4u; e++) {
                out = vec4<f32>(out.yzw, finish(i, j + e, acc0.x));
                acc0 = acc0.yzwx;
            }
            c[at >> 2u] = out;
#else
            for (var e = 0u; e < min(4u, p.n - j); e++) {
                c[at + e] = finish(i, j + e, acc0.x);
                acc0 = acc0.yzwx;
            }
#endif
        }
#for q in 0..RM*RN/4-1
        acc$q = acc$(q + 1);
#end
    }
}
