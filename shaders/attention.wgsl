// attention: softmax(scale q k^T) v for every batch entry and head, with an online softmax over tiles of keys (Milakov &
// Gimelshein 2018, Dao 2022): out[i, :] = [o_i | lse_i] with s_ij = scale q_i . k_j, lse_i = ln sum_j exp(s_ij) and
// o_i = sum_j exp(s_ij - lse_i) v_j. q is [batch * q_tokens, heads * dim], k and v [batch / k_batch_div * k_tokens, heads *
// dim], out [batch * q_tokens, heads * dim + heads]. Causal: query i sees keys 0 ..= i. Called by the graph op Attention.
// tile: a workgroup has R queries of one head, L lanes each, and holds them in workgroup memory (dim <= DMAX).
// row: an invocation per query and head, any dim, for software rasterisers.
//! variants form=tile,row
//! where tile: R=8 L=8 TK=32 DMAX=128
//! where row: R=64 L=1 TK=8 DMAX=0
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/attention.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const LEAST = -1.0e30;

#if form_tile
var<workgroup> queries: array<f32, $(R * DMAX)>;
var<workgroup> sums: array<f32, $(R * DMAX)>;
var<workgroup> weights: array<f32, $(R * TK)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.q_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = query_of(id / tiles, (id % tiles) * $(R)u + r);
    let at = r * $(DMAX)u;
    for (var d = lane; d < p.dim; d += $(L)u) {
        if own.keys > 0u {
            queries[at + d] = p.scale * q[p.q_at + own.row * p.q_ld + own.head * p.dim + d];
        }
        sums[at + d] = 0.0;
    }
    var top = LEAST;
    var total = 0.0;
    let k_at = p.k_at + own.k_row * p.k_ld + own.head * p.dim;
    let v_at = p.v_at + own.k_row * p.v_ld + own.head * p.dim;
    for (var j0 = 0u; j0 < p.k_tokens; j0 += $(TK)u) {
        workgroupBarrier();
        for (var t = lane; t < $(TK)u; t += $(L)u) {
            var score = LEAST;
            if j0 + t < own.keys {
                score = 0.0;
                let kj = k_at + (j0 + t) * p.k_ld;
                for (var d = 0u; d < p.dim; d++) {
                    score += queries[at + d] * k[kj + d];
                }
            }
            weights[r * $(TK)u + t] = score;
        }
        workgroupBarrier();
        var larger = top;
        for (var t = 0u; t < $(TK)u; t++) {
            larger = max(larger, weights[r * $(TK)u + t]);
        }
        workgroupBarrier();
        for (var t = lane; t < $(TK)u; t += $(L)u) {
            weights[r * $(TK)u + t] = select(0.0, m_exp_neg(larger - weights[r * $(TK)u + t]), j0 + t < own.keys);
        }
        workgroupBarrier();
        let shrink = m_exp_neg(larger - top);
        top = larger;
        var part = 0.0;
        for (var t = 0u; t < $(TK)u; t++) {
            part += weights[r * $(TK)u + t];
        }
        total = total * shrink + part;
        let n = min($(TK)u, max(own.keys, j0) - j0);
        for (var d = lane; d < p.dim; d += $(L)u) {
            var sum = sums[at + d] * shrink;
            for (var t = 0u; t < n; t++) {
                sum += weights[r * $(TK)u + t] * v[v_at + (j0 + t) * p.v_ld + d];
            }
            sums[at + d] = sum;
        }
    }
    if own.keys > 0u {
        let to = p.out_at + own.row * p.out_ld;
        for (var d = lane; d < p.dim; d += $(L)u) {
            out[to + own.head * p.dim + d] = sums[at + d] / total;
        }
        if lane == 0u {
            out[to + p.heads * p.dim + own.head] = top + m_log(total);
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
    let q_at = p.q_at + own.row * p.q_ld + own.head * p.dim;
    let k_at = p.k_at + own.k_row * p.k_ld + own.head * p.dim;
    let v_at = p.v_at + own.k_row * p.v_ld + own.head * p.dim;
    let to = p.out_at + own.row * p.out_ld + own.head * p.dim;
    for (var d = 0u; d < p.dim; d++) {
        out[to + d] = 0.0;
    }
    var top = LEAST;
    var total = 0.0;
    for (var j0 = 0u; j0 < own.keys; j0 += $(TK)u) {
        // Keys past the end repeat the last one and weigh nothing.
        let last = own.keys - 1u;
#for t in 0..TK
        let j$t = min(j0 + $(t)u, last);
        var s$t = 0.0;
#end
        for (var d = 0u; d < p.dim; d++) {
            let x = q[q_at + d];
#for t in 0..TK
            s$t += x * k[k_at + j$t * p.k_ld + d];
#end
        }
        var larger = top;
#for t in 0..TK
        s$t *= p.scale;
        larger = max(larger, s$t);
#end
        let shrink = m_exp_neg(larger - top);
        top = larger;
        total *= shrink;
#for t in 0..TK
        s$t = select(0.0, m_exp_neg(top - s$t), j0 + $(t)u <= last);
        total += s$t;
#end
        for (var d = 0u; d < p.dim; d++) {
            var sum = out[to + d] * shrink;
#for t in 0..TK
            sum += s$t * v[v_at + j$t * p.v_ld + d];
#end
            out[to + d] = sum;
        }
    }
    for (var d = 0u; d < p.dim; d++) {
        out[to + d] /= total;
    }
    out[p.out_at + own.row * p.out_ld + p.heads * p.dim + own.head] = top + m_log(total);
}
#endif
