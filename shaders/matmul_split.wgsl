//! variants form=nn,nt,tn tile=large,small,flat load=vec4,scalar
//! where large: TM=64 TN=64 TK=16 RM=8 RN=4
//! where small: TM=32 TN=32 TK=16 RM=4 RN=4
//! where flat: TM=16 TN=128 TK=16 RM=4 RN=4
// matmul_split: the parts of A B by slices of k, C[s, m, n] = A[:, slice s] B[slice s, :], in tiles as shaders/matmul.wgsl.
// A is [m, k] (tn: [k, m]), B is [k, n] (nt: [n, k]), row-major with leading dimension and offset; C is dense. A slice is `slice`
// deep, a multiple of TK; the last one ends at k. Workgroups go over the tiles of the first slice, then over those of the second, ...
// The vec4 variants need what those of matmul need.
// Fixed order of summation. Called with matmul_join where the tiles of C alone cannot fill a GPU; see src/kernel/matmul/split.rs.
#include "shared/linear_id.wgsl"

struct Params {
    m: u32,
    n: u32,
    k: u32,
    form: u32,
    a_offset: u32,
    a_ld: u32,
    b_offset: u32,
    b_ld: u32,
    groups_n: u32,
    tiles: u32,
    slice: u32,
    slices: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
#include "shared/matmul_rows.wgsl"
#include "shared/matmul_tile.wgsl"
#if load_vec4
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;
#else
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
#endif

@compute @workgroup_size($(TM / RM * TN / RN))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let part = linear_group(group, groups);
    let s = part / p.tiles;
    let tile = part % p.tiles;
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j0 = (tile % p.groups_n) * $(TN)u;
    if s >= p.slices {
        return;
    }
    let k_first = s * p.slice;
    let k_end = min(p.k, k_first + p.slice);
#include "shared/matmul_slabs.wgsl"

    for (var q = 0u; q < $(RM * RN / 4)u; q++) {
        let i = i0 + ty * $(RM)u + q / $(RN / 4)u;
        let j = j0 + tx * 4u + (q % $(RN / 4)u) * $(4 * TN / RN)u;
        if i < p.m && j < p.n {
            let at = (s * p.m + i) * p.n + j;
#if load_vec4
            c[at >> 2u] = acc0;
#else
            for (var e = 0u; e < min(4u, p.n - j); e++) {
                c[at + e] = acc0.x;
                acc0 = acc0.yzwx;
            }
#endif
        }
#for q in 0..RM*RN/4-1
        acc$q = acc$(q + 1);
#end
    }
}
