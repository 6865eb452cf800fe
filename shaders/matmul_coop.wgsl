//! variants unit=m16,m16wide,m8,m8narrow
//! where TM=64 TN=64 TK=32
//! where m16: S=16 W=32
//! where m16wide: S=16 W=64
//! where m8: S=8 W=32
//! where m8narrow: S=8 W=8 TM=32 TN=32
// matmul_coop: C = epilogue(A B^T) by the matrix units: inputs rounded to half precision, sums in single precision.
// A is [m, k] in single precision, offset, leading dimension and k multiples of 4. B is [n, k] in half precision as pack_weights lays it out:
// rows of b_ld halves (a multiple of 8, zeros from k on) from half b_offset. C is [m, n]; row-major with leading dimension and offset.
// A workgroup of four subgroups of W invocations owns TM x TN outputs, a subgroup a quarter of them in matrices of S x S. Slabs of TK along
// k go through workgroup memory as halves; the next slab is fetched into registers while the present one is multiplied. The sums leave
// the units through workgroup memory, one matrix of each subgroup at a time.
// Subgroups are W consecutive invocations; no subgroup operation is used, for a driver crashes on modules that have both.
// Of the forms of load and store those with a T are row-major, the others column-major.
// Fixed order of summation. Called by the planner for products with weights in half precision; see src/kernel/matmul/coop.rs.
enable f16;
enable wgpu_cooperative_matrix;

#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

alias UnitA = coop_mat$(S)x$(S)<f16, A>;
alias UnitB = coop_mat$(S)x$(S)<f16, B>;
alias UnitC = coop_mat$(S)x$(S)<f32, C>;

// A row of a slab takes eight halves more than it has: rows begin in other banks.
const LD = $(TK + 8)u;

var<workgroup> tile_a: array<f16, $(TM * (TK + 8))>;
var<workgroup> tile_b: array<f16, $(TN * (TK + 8))>;
var<workgroup> sums: array<f32, $(4 * S * S)>;

// Four of a row of A at depth d, zero where there are none.
fn fetch_a(i: u32, d: u32) -> vec4<f16> {
    if i < p.m && d < p.k {
        return vec4<f16>(a[(p.a_offset + i * p.a_ld + d) >> 2u]);
    }
    return vec4<f16>();
}

fn fetch_b(j: u32, d: u32) -> vec4<f16> {
    if j < p.n && d < p.b_ld {
        return b[(p.b_offset + j * p.b_ld + d) >> 2u];
    }
    return vec4<f16>();
}

@compute @workgroup_size($(4 * W))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j0 = (tile % p.groups_n) * $(TN)u;
    // No early end of what lies outside C: naga wants the units' operations where no invocation has returned.
    // The quarter of this subgroup, and its part of the way out.
    let subgroup = lane / $(W)u;
    let row = (subgroup / 2u) * $(TM / 2)u;
    let column = (subgroup % 2u) * $(TN / 2)u;
    let out = subgroup * $(S * S)u;
    for (var e = lane; e < $(4 * S * S)u; e += $(4 * W)u) {
        sums[e] = 0.0;
    }
    workgroupBarrier();
#for r in 0..TM/2/S
#for q in 0..TN/2/S
    var acc$(r)_$q = coopLoadT<UnitC>(&sums[out], $(S)u);
#end
#end
    // What this invocation stages: every so many fours of a slab's A and B.
#for f in 0..TM*TK/16/W
    let x$f = (lane + $(4 * f * W)u) / $(TK / 4)u;
    let d$f = (lane + $(4 * f * W)u) % $(TK / 4)u * 4u;
    var a$f = fetch_a(i0 + x$f, d$f);
    var b$f = fetch_b(j0 + x$f, d$f);
#end
    for (var k0 = 0u; k0 < p.k; k0 += $(TK)u) {
        workgroupBarrier();
#for f in 0..TM*TK/16/W
#for e in 0..4
        tile_a[x$f * LD + d$f + $(e)u] = a$f[$e];
        tile_b[x$f * LD + d$f + $(e)u] = b$f[$e];
#end
#end
        workgroupBarrier();
        let next = k0 + $(TK)u;
        if next < p.k {
#for f in 0..TM*TK/16/W
            a$f = fetch_a(i0 + x$f, next + d$f);
            b$f = fetch_b(j0 + x$f, next + d$f);
#end
        }
#for d in 0..TK/S
#for r in 0..TM/2/S
        let ua$(d)_$r = coopLoadT<UnitA>(&tile_a[(row + $(r * S)u) * LD + $(d * S)u], LD);
#end
#for q in 0..TN/2/S
        let ub$(d)_$q = coopLoad<UnitB>(&tile_b[(column + $(q * S)u) * LD + $(d * S)u], LD);
#for r in 0..TM/2/S
        acc$(r)_$q = coopMultiplyAdd(ua$(d)_$r, ub$(d)_$q, acc$(r)_$q);
#end
#end
#end
    }
#for r in 0..TM/2/S
#for q in 0..TN/2/S
    workgroupBarrier();
    coopStoreT(acc$(r)_$q, &sums[out], $(S)u);
    workgroupBarrier();
    put(i0 + row + $(r * S)u, j0 + column + $(q * S)u, out, lane % $(W)u);
#end
#end
}

// A matrix of sums through the epilogue to its place.
fn put(i0: u32, j0: u32, out: u32, lane: u32) {
    for (var e = lane; e < $(S * S)u; e += $(W)u) {
        let i = i0 + e / $(S)u;
        let j = j0 + e % $(S)u;
        if i < p.m && j < p.n {
            c[p.c_offset + i * p.c_ld + j] = finish(i, j, sums[out + e]);
        }
    }
}
