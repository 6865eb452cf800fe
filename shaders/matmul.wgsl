//! variants form=nn,nt,tn tile=large,small load=vec4,scalar
//! where large: TM=64 TN=64 TK=16 RM=8
//! where small: TM=32 TN=32 TK=16 RM=4
// matmul: C = epilogue(A B), tiles of TM x TN staged through workgroup memory in slabs of TK along k.
// A is [m, k] (tn: [k, m]), B is [k, n] (nt: [n, k]), C is [m, n]; row-major with leading dimension and offset.
// One invocation owns RM x 4 outputs and stages one 4x4 block of A or B per slab; the next slab is fetched into
// registers while the present one is multiplied. Workgroup memory is k-major in vec4 along m (n), its blocks
// swizzled by 2 (k / 4) so that neither the transposing stores nor the loads meet bank conflicts.
// The vec4 variants need offsets, leading dimensions and contiguous extents that are multiples of 4.
// Fixed order of summation. Called by the graph op Matmul; see src/kernel/matmul.rs.
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
#if load_vec4
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;
#else
@group(0) @binding(5) var<storage, read_write> c: array<f32>;
#endif

// Blocks of four along m and n.
const BM = $(TM / 4)u;
const BN = $(TN / 4)u;

var<workgroup> tile_a: array<vec4<f32>, $(TK * TM / 4)>;
var<workgroup> tile_b: array<vec4<f32>, $(TK * TN / 4)>;

#if load_scalar
// Four adjacent elements of a row of A (B), zero from `limit` on.
fn row4_a(at: u32, column: u32, limit: u32) -> vec4<f32> {
    var v = vec4<f32>();
#for e in 0..4
    if column + $(e)u < limit { v[$e] = a[at + column + $(e)u]; }
#end
    return v;
}

fn row4_b(at: u32, column: u32, limit: u32) -> vec4<f32> {
    var v = vec4<f32>();
#for e in 0..4
    if column + $(e)u < limit { v[$e] = b[at + column + $(e)u]; }
#end
    return v;
}
#else
fn row4_a(at: u32, column: u32, limit: u32) -> vec4<f32> {
    if column < limit { return a[(at + column) >> 2u]; }
    return vec4<f32>();
}

fn row4_b(at: u32, column: u32, limit: u32) -> vec4<f32> {
    if column < limit { return b[(at + column) >> 2u]; }
    return vec4<f32>();
}
#endif

// Four vectors of a 4x4 block.
struct Block {
    v0: vec4<f32>,
    v1: vec4<f32>,
    v2: vec4<f32>,
    v3: vec4<f32>,
}

// Block at rows (of the logical operand) `x`.. and depths `d`..; after `turned`, vector i holds depth d + i.
fn fetch_a(x: u32, d: u32) -> Block {
    var out: Block;
#if form_tn
    // [k, m]: adjacent along m.
#for i in 0..4
    if d + $(i)u < p.k { out.v$i = row4_a(p.a_offset + (d + $(i)u) * p.a_ld, x, p.m); }
#end
#else
    // [m, k]: adjacent along k; rows past the end repeat the last one and are never stored.
#for i in 0..4
    out.v$i = row4_a(p.a_offset + min(x + $(i)u, p.m - 1u) * p.a_ld, d, p.k);
#end
#endif
    return out;
}

fn fetch_b(x: u32, d: u32) -> Block {
    var out: Block;
#if form_nt
    // [n, k]: adjacent along k.
#for i in 0..4
    out.v$i = row4_b(p.b_offset + min(x + $(i)u, p.n - 1u) * p.b_ld, d, p.k);
#end
#else
    // [k, n]: adjacent along n.
#for i in 0..4
    if d + $(i)u < p.k { out.v$i = row4_b(p.b_offset + (d + $(i)u) * p.b_ld, x, p.n); }
#end
#endif
    return out;
}

fn turned(q: Block) -> Block {
    return Block(
        vec4<f32>(q.v0.x, q.v1.x, q.v2.x, q.v3.x),
        vec4<f32>(q.v0.y, q.v1.y, q.v2.y, q.v3.y),
        vec4<f32>(q.v0.z, q.v1.z, q.v2.z, q.v3.z),
        vec4<f32>(q.v0.w, q.v1.w, q.v2.w, q.v3.w),
    );
}

@compute @workgroup_size($(TM / RM * TN / 4))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j0 = (tile % p.groups_n) * $(TN)u;
    if i0 >= p.m || j0 >= p.n {
        return;
    }
    // What this invocation stages: the first TM * TK / 16 of them a block of A, the others one of B.
    let stages_a = lane < $(TM * TK / 16)u;
    let slot = select(lane - $(TM * TK / 16)u, lane, stages_a);
#if form_tn
    let block_a = slot % BM;
    let depth_a = slot / BM;
#else
    let block_a = slot / $(TK / 4)u;
    let depth_a = slot % $(TK / 4)u;
#endif
#if form_nt
    let block_b = slot / $(TK / 4)u;
    let depth_b = slot % $(TK / 4)u;
#else
    let block_b = slot % BN;
    let depth_b = slot / BN;
#endif
    // What it owns: rows i0 + ty * RM.., columns j0 + tx * 4...
    let tx = lane % BN;
    let ty = lane / BN;
#for i in 0..RM
    var acc$i = vec4<f32>();
#end

    var staged: Block;
    if stages_a {
        staged = fetch_a(i0 + block_a * 4u, depth_a * 4u);
    } else {
        staged = fetch_b(j0 + block_b * 4u, depth_b * 4u);
    }
    for (var k0 = 0u; k0 < p.k; k0 += $(TK)u) {
        workgroupBarrier();
        if stages_a {
#if form_tn
            let t = staged;
#else
            let t = turned(staged);
#endif
            let at = depth_a * 4u * BM + (block_a ^ (2u * depth_a));
#for i in 0..4
            tile_a[at + $(i)u * BM] = t.v$i;
#end
        } else {
#if form_nt
            let t = turned(staged);
#else
            let t = staged;
#endif
            let at = depth_b * 4u * BN + (block_b ^ (2u * depth_b));
#for i in 0..4
            tile_b[at + $(i)u * BN] = t.v$i;
#end
        }
        workgroupBarrier();
        let next = k0 + $(TK)u;
        if next < p.k {
            if stages_a {
                staged = fetch_a(i0 + block_a * 4u, next + depth_a * 4u);
            } else {
                staged = fetch_b(j0 + block_b * 4u, next + depth_b * 4u);
            }
        }
#for d in 0..TK/4
        {
            let xb = tx ^ $(2 * d)u;
#for q in 0..RM/4
            let xa$q = (ty * $(RM / 4)u + $(q)u) ^ $(2 * d)u;
#end
#for s in 0..4
            let vb$s = tile_b[$(4 * d + s)u * BN + xb];
#for q in 0..RM/4
            let va$(s)_$q = tile_a[$(4 * d + s)u * BM + xa$q];
            acc$(4 * q) = fma(va$(s)_$q.xxxx, vb$s, acc$(4 * q));
            acc$(4 * q + 1) = fma(va$(s)_$q.yyyy, vb$s, acc$(4 * q + 1));
            acc$(4 * q + 2) = fma(va$(s)_$q.zzzz, vb$s, acc$(4 * q + 2));
            acc$(4 * q + 3) = fma(va$(s)_$q.wwww, vb$s, acc$(4 * q + 3));
#end
#end
        }
#end
    }

    // One row at a time through the first accumulator, one element at a time through its first component: a single
    // copy of the epilogue in the code, no indexed registers.
    let j = j0 + tx * 4u;
    for (var r = 0u; r < $(RM)u; r++) {
        let i = i0 + ty * $(RM)u + r;
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
#for r in 0..RM-1
        acc$r = acc$(r + 1);
#end
    }
}
