// attention_grad_q: the gradient of attention by its queries. With p_ij = exp(scale q_i . k_j - lse_i) from y = [o | lse], the
// cotangent d = [do | dlse] of y and delta_i = do_i . o_i - dlse_i: out_i = scale sum_j p_ij (do_i . v_j - delta_i) k_j.
// Shapes as in attention.wgsl; out is [batch * q_tokens, heads * dim]. Called by the graph op AttentionGrad.
// tile: a workgroup has R queries of one head, L lanes each (dim <= DMAX); quad: so, by loads of four, several at a time: offsets and
// distances of the rows of q, k, v, y and d, and dim, are multiples of 4; row: an invocation per query and head, any dim.
//! variants form=quad,tile,row
//! where quad: R=8 L=8 TK=32 DMAX=128
//! where tile: R=8 L=8 TK=32 DMAX=128
//! where row: R=64 L=1 TK=4 DMAX=0
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/attention.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
#if form_quad
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> d: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> y: array<f32>;
@group(0) @binding(5) var<storage, read> d: array<f32>;
#endif
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

#if form_quad
// A row takes one place more than it has: rows begin in other banks.
const LD = $(DMAX / 4 + 1)u;

var<workgroup> queries: array<vec4<f32>, $(R * (DMAX / 4 + 1))>;
var<workgroup> cotangents: array<vec4<f32>, $(R * (DMAX / 4 + 1))>;
var<workgroup> parts: array<f32, $(R * L)>;
var<workgroup> weights: array<f32, $(R * TK)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.q_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = query_of(id / tiles, (id % tiles) * $(R)u + r);
    let here = own.keys > 0u;
    // In fours. A query that sees no key takes the first ones for its own, and weighs them 0.
    let fours = p.dim >> 2u;
    let last = max(own.keys, 1u) - 1u;
    let k_row = select(0u, own.k_row, here);
    let row = select(0u, own.row, here);
    let first = own.head * p.dim;
    let y_at = p.y_at + row * p.y_ld;
    let d_at = p.d_at + row * p.d_ld;
    let k_at = (p.k_at + k_row * p.k_ld + first) >> 2u;
    let v_at = (p.v_at + k_row * p.v_ld + first) >> 2u;
    var part = 0.0;
    for (var c = lane; c < fours; c += $(L)u) {
        let cotangent = d[((d_at + first) >> 2u) + c];
        queries[r * LD + c] = p.scale * q[((p.q_at + row * p.q_ld + first) >> 2u) + c];
        cotangents[r * LD + c] = cotangent;
        part += dot(cotangent, y[((y_at + first) >> 2u) + c]);
    }
    parts[slot] = part;
#for c in 0..DMAX/4/L
    var sum$c = vec4<f32>();
#end
    workgroupBarrier();
    let at = p.heads * p.dim + own.head;
    let lse = y[(y_at + at) >> 2u][(y_at + at) & 3u];
    var delta = -d[(d_at + at) >> 2u][(d_at + at) & 3u];
#for l in 0..L
    delta += parts[r * $(L)u + $(l)u];
#end
    for (var j0 = 0u; j0 < p.k_tokens; j0 += $(TK)u) {
        workgroupBarrier();
        // Keys past the end repeat the last one.
#for u in 0..TK/L
        let key$u = min(j0 + lane + $(u * L)u, last);
        let k$u = k_at + key$u * (p.k_ld >> 2u);
        let v$u = v_at + key$u * (p.v_ld >> 2u);
        var score$u = vec4<f32>();
        var slope$u = vec4<f32>();
#end
        for (var c = 0u; c < fours; c++) {
            let x = queries[r * LD + c];
            let e = cotangents[r * LD + c];
#for u in 0..TK/L
            score$u = fma(x, k[k$u + c], score$u);
            slope$u = fma(e, v[v$u + c], slope$u);
#end
        }
#for u in 0..TK/L
        let total$u = (score$(u).x + score$(u).y) + (score$(u).z + score$(u).w);
        let along$u = (slope$(u).x + slope$(u).y) + (slope$(u).z + slope$(u).w);
        weights[r * $(TK)u + lane + $(u * L)u] = select(0.0, m_exp(total$u - lse) * (along$u - delta), j0 + lane + $(u * L)u < own.keys);
#end
        workgroupBarrier();
        // Fours of keys: what is too many weighs 0.
        let n = min($(TK)u, max(own.keys, j0) - j0);
#for c in 0..DMAX/4/L
        if $(c * L)u < fours {
            let to = k_at + min(lane + $(c * L)u, fours - 1u);
            for (var t = 0u; t < n; t += 4u) {
#for e in 0..4
                sum$c = fma(vec4<f32>(weights[r * $(TK)u + t + $(e)u]), k[to + min(j0 + t + $(e)u, last) * (p.k_ld >> 2u)], sum$c);
#end
            }
        }
#end
    }
    if here {
#for c in 0..DMAX/4/L
        if lane + $(c * L)u < fours {
            let o = p.scale * sum$c;
#for e in 0..4
            out[p.out_at + own.row * p.out_ld + first + (lane + $(c * L)u) * 4u + $(e)u] = o[$e];
#end
        }
#end
    }
}
#endif
#if form_tile
var<workgroup> queries: array<f32, $(R * DMAX)>;
var<workgroup> cotangents: array<f32, $(R * DMAX)>;
var<workgroup> sums: array<f32, $(R * DMAX)>;
var<workgroup> weights: array<f32, $(R * TK)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.q_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = query_of(id / tiles, (id % tiles) * $(R)u + r);
    let here = own.keys > 0u;
    let at = r * $(DMAX)u;
    let y_at = p.y_at + own.row * p.y_ld;
    let d_at = p.d_at + own.row * p.d_ld;
    let first = own.head * p.dim;
    for (var c = lane; c < p.dim; c += $(L)u) {
        if here {
            queries[at + c] = p.scale * q[p.q_at + own.row * p.q_ld + first + c];
            cotangents[at + c] = d[d_at + first + c];
        }
        sums[at + c] = 0.0;
    }
    workgroupBarrier();
    var lse = 0.0;
    var delta = 0.0;
    if here {
        lse = y[y_at + p.heads * p.dim + own.head];
        delta = -d[d_at + p.heads * p.dim + own.head];
        for (var c = 0u; c < p.dim; c++) {
            delta += cotangents[at + c] * y[y_at + first + c];
        }
    }
    let k_at = p.k_at + own.k_row * p.k_ld + first;
    let v_at = p.v_at + own.k_row * p.v_ld + first;
    for (var j0 = 0u; j0 < p.k_tokens; j0 += $(TK)u) {
        workgroupBarrier();
        for (var t = lane; t < $(TK)u; t += $(L)u) {
            var weight = 0.0;
            if j0 + t < own.keys {
                var score = 0.0;
                var slope = -delta;
                let kj = k_at + (j0 + t) * p.k_ld;
                let vj = v_at + (j0 + t) * p.v_ld;
                for (var c = 0u; c < p.dim; c++) {
                    score += queries[at + c] * k[kj + c];
                    slope += cotangents[at + c] * v[vj + c];
                }
                weight = m_exp(score - lse) * slope;
            }
            weights[r * $(TK)u + t] = weight;
        }
        workgroupBarrier();
        let n = min($(TK)u, max(own.keys, j0) - j0);
        for (var c = lane; c < p.dim; c += $(L)u) {
            var sum = sums[at + c];
            for (var t = 0u; t < n; t++) {
                sum += weights[r * $(TK)u + t] * k[k_at + (j0 + t) * p.k_ld + c];
            }
            sums[at + c] = sum;
        }
    }
    if here {
        for (var c = lane; c < p.dim; c += $(L)u) {
            out[p.out_at + own.row * p.out_ld + first + c] = p.scale * sums[at + c];
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
    let first = own.head * p.dim;
    let q_at = p.q_at + own.row * p.q_ld + first;
    let y_at = p.y_at + own.row * p.y_ld;
    let d_at = p.d_at + own.row * p.d_ld;
    let k_at = p.k_at + own.k_row * p.k_ld + first;
    let v_at = p.v_at + own.k_row * p.v_ld + first;
    let to = p.out_at + own.row * p.out_ld + first;
    let lse = y[y_at + p.heads * p.dim + own.head];
    var delta = -d[d_at + p.heads * p.dim + own.head];
    for (var c = 0u; c < p.dim; c++) {
        out[to + c] = 0.0;
        delta += d[d_at + first + c] * y[y_at + first + c];
    }
    for (var j0 = 0u; j0 < own.keys; j0 += $(TK)u) {
        let last = own.keys - 1u;
#for t in 0..TK
        let j$t = min(j0 + $(t)u, last);
        var s$t = 0.0;
        var g$t = -delta;
#end
        for (var c = 0u; c < p.dim; c++) {
            let x = q[q_at + c];
            let w = d[d_at + first + c];
#for t in 0..TK
            s$t += x * k[k_at + j$t * p.k_ld + c];
            g$t += w * v[v_at + j$t * p.v_ld + c];
#end
        }
#for t in 0..TK
        g$t = select(0.0, p.scale * m_exp(p.scale * s$t - lse) * g$t, j0 + $(t)u <= last);
#end
        for (var c = 0u; c < p.dim; c++) {
            var sum = out[to + c];
#for t in 0..TK
            sum += g$t * k[k_at + j$t * p.k_ld + c];
#end
            out[to + c] = sum;
        }
    }
}
#endif
