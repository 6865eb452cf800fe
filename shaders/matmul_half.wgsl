//! variants rows=one,four
//! where LANES=16 TN=4
//! where one: TM=1
//! where four: TM=4
// matmul_half: C = epilogue(A B^T) for few rows of A [m, k] against weights B [n, k] in half precision; sums in single precision.
// B is packed by pack_weights: rows of b_ld halves (a multiple of 8, zeros from k on) from half b_offset (a multiple of 8). C is
// [m, n]; A and C row-major with leading dimension and offset. LANES adjacent invocations share an output column: each
// strides along k, eight at a time, then the partial sums are added in a fixed tree in workgroup memory. A workgroup owns TM rows
// and TN columns. Called by the planner where a product is bound by reading its weights; see src/graph/packing.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

// Partial sums of the rows (in the components) by lane.
var<workgroup> partial: array<vec4<f32>, $(LANES * TN)>;

@compute @workgroup_size($(LANES * TN))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    let i0 = (tile / p.groups_n) * $(TM)u;
    let j = (tile % p.groups_n) * $(TN)u + lane / $(LANES)u;
    let first = lane % $(LANES)u;
    // Rows and columns past the end repeat the last one and are never stored.
    let at_b = (p.b_offset + min(j, p.n - 1u) * p.b_ld) >> 3u;
#for r in 0..TM
    let at_a$r = p.a_offset + min(i0 + $(r)u, p.m - 1u) * p.a_ld;
#end
    var sum = vec4<f32>();
    for (var d = 8u * first; d < p.k; d += $(8 * LANES)u) {
        let w = b[at_b + (d >> 3u)];
        let low = vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
        let high = vec4<f32>(unpack2x16float(w.z), unpack2x16float(w.w));
        // Past the end of A's row lies what must not count, be it not a number.
        let left = p.k - d;
        for (var e = 0u; e < min(8u, left); e++) {
            let v = select(high[e & 3u], low[e & 3u], e < 4u);
#for r in 0..TM
            sum[$r] = fma(a[at_a$r + d + e], v, sum[$r]);
#end
        }
    }
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
