//! variants rows=one,four load=vec4,scalar sum=tree,subgroup
//! where one: TM=1
//! where four: TM=4
//! where tree: LANES=16 TN=4
//! where subgroup: LANES=64 TN=2
// matvec: C = epilogue(A B^T) for up to TM rows of A [m, k] against weights B [n, k]; C is [m, n]; row-major with
// leading dimension and offset. A workgroup owns TN columns.
// tree: LANES adjacent invocations share a column: each strides along k, then the partial sums are added in a fixed tree in
// workgroup memory. subgroup: all LANES invocations share all TN columns, subgroups add their sums, and those are added in order;
// for subgroups of any size, and as repeatable as the device's subgroupAdd (whose order it alone fixes).
// The vec4 variants need offsets and leading dimensions of A and B, and k, that are multiples of 4.
// Called by the graph op Matmul for batch 1 to 4; see src/kernel/matmul.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
#if load_vec4
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

#if sum_tree
// Partial sums of the rows (in the components) by lane.
var<workgroup> partial: array<vec4<f32>, $(LANES * TN)>;

@compute @workgroup_size($(LANES * TN))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j = (tile % p.groups_n) * $(TN)u + lane / $(LANES)u;
    let first = lane % $(LANES)u;
    // Rows and columns past the end repeat the last one and are never stored.
    let at_b = p.b_offset + min(j, p.n - 1u) * p.b_ld;
#for r in 0..TM
    let at_a$r = p.a_offset + min(i0 + $(r)u, p.m - 1u) * p.a_ld;
#end
#if load_vec4
#for r in 0..TM
    var acc$r = vec4<f32>();
#end
    for (var d = first; d < (p.k >> 2u); d += $(LANES)u) {
        let w = b[(at_b >> 2u) + d];
#for r in 0..TM
        acc$r = fma(a[(at_a$r >> 2u) + d], w, acc$r);
#end
    }
    var sum = vec4<f32>();
#for r in 0..TM
    sum[$r] = (acc$r.x + acc$r.y) + (acc$r.z + acc$r.w);
#end
#else
    var sum = vec4<f32>();
    for (var d = first; d < p.k; d += $(LANES)u) {
        let w = b[at_b + d];
#for r in 0..TM
        sum[$r] = fma(a[at_a$r + d], w, sum[$r]);
#end
    }
#endif
    partial[lane] = sum;
    for (var step = $(LANES / 2)u; step > 0u; step >>= 1u) {
        workgroupBarrier();
        if first < step {
            sum += partial[lane + step];
            partial[lane] = sum;
        }
    }
    workgroupBarrier();
    // The first TM lanes of a column write one row each.
    if first < $(TM)u && i0 + first < p.m && j < p.n {
        let product = partial[lane - first][first];
        c[p.c_offset + (i0 + first) * p.c_ld + j] = finish(i0 + first, j, product);
    }
}
#else
// Sums of the subgroups, columns side by side, for each the rows; as many subgroups as invocations at most.
var<workgroup> partial: array<f32, $(LANES * TN * TM)>;

@compute @workgroup_size($LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j0 = (tile % p.groups_n) * $(TN)u;
    // Rows and columns past the end repeat the last one and are never stored.
#for q in 0..TN
    let at_b$q = p.b_offset + min(j0 + $(q)u, p.n - 1u) * p.b_ld;
#end
#for r in 0..TM
    let at_a$r = p.a_offset + min(i0 + $(r)u, p.m - 1u) * p.a_ld;
#end
    // The loop is the same for all invocations, so that they are together again when subgroups add.
#for q in 0..TN
#for r in 0..TM
#if load_vec4
    var acc$(q)_$r = vec4<f32>();
#else
    var acc$(q)_$r = 0.0;
#endif
#end
#end
#if load_vec4
    let depth = p.k >> 2u;
#else
    let depth = p.k;
#endif
    for (var d0 = 0u; d0 < depth; d0 += $(LANES)u) {
        let d = d0 + lane;
        if d < depth {
#for q in 0..TN
#if load_vec4
            let w$q = b[(at_b$q >> 2u) + d];
#else
            let w$q = b[at_b$q + d];
#endif
#end
#for r in 0..TM
#if load_vec4
            let x$r = a[(at_a$r >> 2u) + d];
#else
            let x$r = a[at_a$r + d];
#endif
#for q in 0..TN
            acc$(q)_$r = fma(x$r, w$q, acc$(q)_$r);
#end
#end
        }
    }
#for q in 0..TN
#for r in 0..TM
#if load_vec4
    let sum$(q)_$r = subgroupAdd((acc$(q)_$r.x + acc$(q)_$r.y) + (acc$(q)_$r.z + acc$(q)_$r.w));
#else
    let sum$(q)_$r = subgroupAdd(acc$(q)_$r);
#endif
#end
#end
    if place == 0u {
#for q in 0..TN
#for r in 0..TM
        partial[subgroup * $(TN * TM)u + $(q * TM + r)u] = sum$(q)_$r;
#end
#end
    }
    workgroupBarrier();
    // One invocation for each column and row.
    let i = i0 + lane % $(TM)u;
    let j = j0 + lane / $(TM)u;
    if lane < $(TN * TM)u && i < p.m && j < p.n {
        var product = 0.0;
        for (var s = 0u; s < subgroups; s++) {
            product += partial[s * $(TN * TM)u + lane];
        }
        c[p.c_offset + i * p.c_ld + j] = finish(i, j, product);
    }
}
#endif
