// attention: softmax(scale q k^T) v for every batch entry and head, with an online softmax over tiles of keys (Milakov &
// Gimelshein 2018, Dao 2022): out[i, :] = [o_i | lse_i] with s_ij = scale q_i . k_j, lse_i = ln sum_j exp(s_ij) and
// o_i = sum_j exp(s_ij - lse_i) v_j. q is [batch * q_tokens, heads * dim], k and v [batch / k_batch_div * k_tokens, heads *
// dim], out [batch * q_tokens, heads * dim + heads]. Causal: query i sees keys 0 ..= i. Called by the graph op Attention.
// tile: a workgroup has R queries of one head, L lanes each, and holds them in workgroup memory (dim <= DMAX). quad: so, by loads of
// four, several at a time; offsets and distances of the rows of q, k and v, and dim, are multiples of 4.
// row: an invocation per query and head, any dim, for software rasterisers.
//! variants form=quad,tile,row
//! where quad: R=8 L=8 TK=32 DMAX=128
//! where tile: R=8 L=8 TK=32 DMAX=128
//! where row: R=64 L=1 TK=8 DMAX=0
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/attention.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
#if form_quad
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
#endif
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const LEAST = -1.0e30;

#if form_quad
// A row of queries takes one place more than it has: rows begin in other banks.
const LD = $(DMAX / 4 + 1)u;

var<workgroup> queries: array<vec4<f32>, $(R * (DMAX / 4 + 1))>;
var<workgroup> weights: array<f32, $(R * TK)>;
// The largest score of each lane, then the sum of its weights.
var<workgroup> tops: array<f32, $(R * L)>;
var<workgroup> parts: array<f32, $(R * L)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.q_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = query_of(id / tiles, (id % tiles) * $(R)u + r);
    // In fours. A query that sees no key takes the first ones for its own, and weighs them 0.
    let fours = p.dim >> 2u;
    let last = max(own.keys, 1u) - 1u;
    let k_row = select(0u, own.k_row, own.keys > 0u);
    let k_at = (p.k_at + k_row * p.k_ld + own.head * p.dim) >> 2u;
    let v_at = (p.v_at + k_row * p.v_ld + own.head * p.dim) >> 2u;
    for (var d = lane; d < fours; d += $(L)u) {
        if own.keys > 0u {
            queries[r * LD + d] = p.scale * q[((p.q_at + own.row * p.q_ld + own.head * p.dim) >> 2u) + d];
        }
    }
#for c in 0..DMAX/4/L
    var sum$c = vec4<f32>();
#end
    var top = LEAST;
    var total = 0.0;
    for (var j0 = 0u; j0 < p.k_tokens; j0 += $(TK)u) {
        workgroupBarrier();
        // Keys past the end repeat the last one.
#for u in 0..TK/L
        let k$u = k_at + min(j0 + lane + $(u * L)u, last) * (p.k_ld >> 2u);
        var dot$u = vec4<f32>();
#end
        for (var d = 0u; d < fours; d++) {
            let x = queries[r * LD + d];
#for u in 0..TK/L
            dot$u = fma(x, k[k$u + d], dot$u);
#end
        }
        var larger = LEAST;
#for u in 0..TK/L
        let seen$u = j0 + lane + $(u * L)u < own.keys;
        let score$u = select(LEAST, (dot$(u).x + dot$(u).y) + (dot$(u).z + dot$(u).w), seen$u);
        larger = max(larger, score$u);
#end
        tops[slot] = larger;
        workgroupBarrier();
        larger = top;
#for l in 0..L
        larger = max(larger, tops[r * $(L)u + $(l)u]);
#end
        var part = 0.0;
#for u in 0..TK/L
        let weight$u = select(0.0, m_exp_neg(larger - score$u), seen$u);
        weights[r * $(TK)u + lane + $(u * L)u] = weight$u;
        part += weight$u;
#end
        parts[slot] = part;
        workgroupBarrier();
        let shrink = m_exp_neg(larger - top);
        top = larger;
        total *= shrink;
#for l in 0..L
        total += parts[r * $(L)u + $(l)u];
#end
        // Fours of keys: what is too many weighs 0.
        let n = min($(TK)u, max(own.keys, j0) - j0);
#for c in 0..DMAX/4/L
        if $(c * L)u < fours {
            let d = v_at + min(lane + $(c * L)u, fours - 1u);
            sum$c *= shrink;
            for (var t = 0u; t < n; t += 4u) {
#for e in 0..4
                sum$c = fma(vec4<f32>(weights[r * $(TK)u + t + $(e)u]), v[d + min(j0 + t + $(e)u, last) * (p.v_ld >> 2u)], sum$c);
#end
            }
        }
#end
    }
    if own.keys > 0u {
        let to = p.out_at + own.row * p.out_ld;
#for c in 0..DMAX/4/L
        if lane + $(c * L)u < fours {
            let o = sum$c / total;
#for e in 0..4
            out[to + own.head * p.dim + (lane + $(c * L)u) * 4u + $(e)u] = o[$e];
#end
        }
#end
        if lane == 0u {
            out[to + p.heads * p.dim + own.head] = top + m_log(total);
        }
    }
}
#endif
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
#endif
#if form_row
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
