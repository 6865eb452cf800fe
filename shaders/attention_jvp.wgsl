// attention_jvp: the tangent of attention's result y = [o | lse] in one pass over the keys. With p_ij = exp(scale q_i . k_j -
// lse_i) and the scores' tangents ds_ij = scale (tq_i . k_j + q_i . tk_j): tlse_i = sum_j p_ij ds_ij,
// to_i = sum_j p_ij (ds_ij v_j + tv_j) - tlse_i o_i. out = [to | tlse] is shaped like y; tangents whose flag is not set are zero.
// Shapes as in attention.wgsl. Called by the graph op AttentionJvp.
// tile: a workgroup has R queries of one head, L lanes each (dim <= DMAX); row: an invocation per query and head, any dim.
//! variants form=tile,row
//! where tile: R=8 L=8 TK=32 DMAX=128
//! where row: R=64 L=1 TK=4 DMAX=0
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/attention.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> y: array<f32>;
@group(0) @binding(5) var<storage, read> tq: array<f32>;
@group(0) @binding(6) var<storage, read> tk: array<f32>;
@group(0) @binding(7) var<storage, read> tv: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

// exp(score - lse) and that times the score's tangent, for a query and a key.
fn weigh(own: Query, j: u32, lse: f32) -> vec2<f32> {
    let first = own.head * p.dim;
    let q_at = p.q_at + own.row * p.q_ld + first;
    let tq_at = p.tq_at + own.row * p.tq_ld + first;
    let k_at = p.k_at + (own.k_row + j) * p.k_ld + first;
    let tk_at = p.tk_at + (own.k_row + j) * p.tk_ld + first;
    var score = 0.0;
    var slope = 0.0;
    for (var c = 0u; c < p.dim; c++) {
        score += q[q_at + c] * k[k_at + c];
    }
    if (p.flags & HAS_TQ) != 0u {
        for (var c = 0u; c < p.dim; c++) {
            slope += tq[tq_at + c] * k[k_at + c];
        }
    }
    if (p.flags & HAS_TK) != 0u {
        for (var c = 0u; c < p.dim; c++) {
            slope += q[q_at + c] * tk[tk_at + c];
        }
    }
    let weight = m_exp(p.scale * score - lse);
    return vec2<f32>(weight, weight * p.scale * slope);
}

#if form_tile
var<workgroup> sums: array<f32, $(R * DMAX)>;
var<workgroup> weights: array<f32, $(R * TK)>;
var<workgroup> slopes: array<f32, $(R * TK)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.q_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = query_of(id / tiles, (id % tiles) * $(R)u + r);
    let here = own.keys > 0u;
    let first = own.head * p.dim;
    let at = r * $(DMAX)u;
    for (var c = lane; c < p.dim; c += $(L)u) {
        sums[at + c] = 0.0;
    }
    let y_at = p.y_at + own.row * p.y_ld;
    var lse = 0.0;
    if here {
        lse = y[y_at + p.heads * p.dim + own.head];
    }
    var tlse = 0.0;
    for (var j0 = 0u; j0 < p.k_tokens; j0 += $(TK)u) {
        workgroupBarrier();
        for (var t = lane; t < $(TK)u; t += $(L)u) {
            var both = vec2<f32>(0.0);
            if j0 + t < own.keys {
                both = weigh(own, j0 + t, lse);
            }
            weights[r * $(TK)u + t] = both.x;
            slopes[r * $(TK)u + t] = both.y;
        }
        workgroupBarrier();
        for (var t = 0u; t < $(TK)u; t++) {
            tlse += slopes[r * $(TK)u + t];
        }
        let n = min($(TK)u, max(own.keys, j0) - j0);
        for (var c = lane; c < p.dim; c += $(L)u) {
            var sum = sums[at + c];
            for (var t = 0u; t < n; t++) {
                let row = own.k_row + j0 + t;
                sum += slopes[r * $(TK)u + t] * v[p.v_at + row * p.v_ld + first + c];
                if (p.flags & HAS_TV) != 0u {
                    sum += weights[r * $(TK)u + t] * tv[p.tv_at + row * p.tv_ld + first + c];
                }
            }
            sums[at + c] = sum;
        }
    }
    if here {
        let to = p.out_at + own.row * p.out_ld;
        for (var c = lane; c < p.dim; c += $(L)u) {
            out[to + first + c] = sums[at + c] - tlse * y[y_at + first + c];
        }
        if lane == 0u {
            out[to + p.heads * p.dim + own.head] = tlse;
        }
    }
}
#else
@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let e = linear_group(group, groups) * $(R)u + slot;
    if e >= p.batch * p.heads * p.q_tokens {
        return;
    }
    let own = query_of(e / p.q_tokens, e % p.q_tokens);
    let first = own.head * p.dim;
    let y_at = p.y_at + own.row * p.y_ld;
    let to = p.out_at + own.row * p.out_ld;
    let lse = y[y_at + p.heads * p.dim + own.head];
    for (var c = 0u; c < p.dim; c++) {
        out[to + first + c] = 0.0;
    }
    var tlse = 0.0;
    for (var j0 = 0u; j0 < own.keys; j0 += $(TK)u) {
        let last = own.keys - 1u;
#for t in 0..TK
        let j$t = min(j0 + $(t)u, last);
        let w$t = select(vec2<f32>(0.0), weigh(own, j$t, lse), j0 + $(t)u <= last);
        tlse += w$t.y;
#end
        for (var c = 0u; c < p.dim; c++) {
            var sum = out[to + first + c];
#for t in 0..TK
            sum += w$t.y * v[p.v_at + (own.k_row + j$t) * p.v_ld + first + c];
#end
            if (p.flags & HAS_TV) != 0u {
#for t in 0..TK
                sum += w$t.x * tv[p.tv_at + (own.k_row + j$t) * p.tv_ld + first + c];
#end
            }
            out[to + first + c] = sum;
        }
    }
    for (var c = 0u; c < p.dim; c++) {
        out[to + first + c] -= tlse * y[y_at + first + c];
    }
    out[to + p.heads * p.dim + own.head] = tlse;
}
#endif
