// The kernels that compute whole tiles of C: bindings 3 to 5 and the entry point. Needs `Params` as `p`, A by `fetch_a`, `finish` of
// shared/matmul_finish.wgsl and shared/linear_id.wgsl.
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
