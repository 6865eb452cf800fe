// attention_grad_kv: the gradients of attention by its keys and values, side by side. With p_ij, d = [do | dlse] and delta_i as
// in attention_grad_q.wgsl, sums over all queries i that see key j (of k_batch_div batch entries), in their order:
// out_j = [dk_j | dv_j], dk_j = scale sum_i p_ij (do_i . v_j - delta_i) q_i, dv_j = sum_i p_ij do_i.
// out is [batch / k_batch_div * k_tokens, 2 * heads * dim]. Called by the graph op AttentionGrad.
// tile: a workgroup has R keys of one head, L lanes each (dim <= DMAX); quad: so, by loads of four, several at a time: offsets and
// distances of the rows of q, k, v, y and d, and dim, are multiples of 4; row: an invocation per key and head, any dim.
//! variants form=quad,tile,row
//! where quad: R=4 L=16 TQ=32 DMAX=128
//! where tile: R=4 L=16 TQ=32 DMAX=128
//! where row: R=64 L=1 TQ=4 DMAX=0
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

// A key row of a head: its row among all keys, and the queries `begin .. end` of a batch entry that see it.
struct Key {
    row: u32,
    head: u32,
    begin: u32,
    end: u32,
    // First batch entry that sees it.
    batch: u32,
}

fn key_of(g: u32, j: u32) -> Key {
    let b = g / p.heads;
    let here = j < p.k_tokens && b * p.k_batch_div < p.batch;
    let begin = select(0u, min(j, p.q_tokens), (p.flags & CAUSAL) != 0u);
    return Key(b * p.k_tokens + j, g % p.heads, begin, select(0u, p.q_tokens, here), b * p.k_batch_div);
}

#if form_quad
// A row takes one place more than it has: rows begin in other banks.
const LD = $(DMAX / 4 + 1)u;

var<workgroup> keys: array<vec4<f32>, $(R * (DMAX / 4 + 1))>;
var<workgroup> values: array<vec4<f32>, $(R * (DMAX / 4 + 1))>;
var<workgroup> key_weights: array<f32, $(R * TQ)>;
var<workgroup> value_weights: array<f32, $(R * TQ)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.k_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = key_of(id / tiles, (id % tiles) * $(R)u + r);
    let here = own.end > 0u;
    // In fours. A key that is not there takes the first one and the first queries for its own, and weighs them 0.
    let fours = p.dim >> 2u;
    let key_row = select(0u, own.row, here);
    let batch = select(0u, own.batch, here);
    let first = own.head * p.dim;
    let at = p.heads * p.dim + own.head;
    for (var c = lane; c < fours; c += $(L)u) {
        keys[r * LD + c] = p.scale * k[((p.k_at + key_row * p.k_ld + first) >> 2u) + c];
        values[r * LD + c] = v[((p.v_at + key_row * p.v_ld + first) >> 2u) + c];
    }
#for c in 0..DMAX/4/L
    var dk$c = vec4<f32>();
    var dv$c = vec4<f32>();
#end
    for (var b = 0u; b < p.k_batch_div; b++) {
        let rows = (batch + b) * p.q_tokens;
        let q_at = (p.q_at + rows * p.q_ld + first) >> 2u;
        let y_at = p.y_at + rows * p.y_ld;
        let d_at = p.d_at + rows * p.d_ld;
        for (var i0 = 0u; i0 < p.q_tokens; i0 += $(TQ)u) {
            workgroupBarrier();
            // Queries past the end repeat the last one.
#for u in 0..TQ/L
            let query$u = min(i0 + lane + $(u * L)u, p.q_tokens - 1u);
            let q$u = q_at + query$u * (p.q_ld >> 2u);
            let y$u = (y_at + first + query$u * p.y_ld) >> 2u;
            let d$u = (d_at + first + query$u * p.d_ld) >> 2u;
            var score$u = vec4<f32>();
            var slope$u = vec4<f32>();
#end
            for (var c = 0u; c < fours; c++) {
                let x = keys[r * LD + c];
                let z = values[r * LD + c];
#for u in 0..TQ/L
                score$u = fma(x, q[q$u + c], score$u);
                slope$u = fma(d[d$u + c], z - y[y$u + c], slope$u);
#end
            }
#for u in 0..TQ/L
            let y_last$u = y_at + query$u * p.y_ld + at;
            let d_last$u = d_at + query$u * p.d_ld + at;
            let total$u = (score$(u).x + score$(u).y) + (score$(u).z + score$(u).w) - y[y_last$u >> 2u][y_last$u & 3u];
            let along$u = (slope$(u).x + slope$(u).y) + (slope$(u).z + slope$(u).w) + d[d_last$u >> 2u][d_last$u & 3u];
            let seen$u = i0 + lane + $(u * L)u >= own.begin && i0 + lane + $(u * L)u < own.end;
            let weight$u = select(0.0, m_exp(total$u), seen$u);
            value_weights[r * $(TQ)u + lane + $(u * L)u] = weight$u;
            key_weights[r * $(TQ)u + lane + $(u * L)u] = weight$u * along$u;
#end
            workgroupBarrier();
            // Fours of queries: what is too many weighs 0.
            let n = min($(TQ)u, max(own.end, i0) - i0);
#for c in 0..DMAX/4/L
            if $(c * L)u < fours {
                let to = min(lane + $(c * L)u, fours - 1u);
                for (var t = 0u; t < n; t += 4u) {
#for e in 0..4
                    let i_$e = min(i0 + t + $(e)u, p.q_tokens - 1u);
                    dk$c = fma(vec4<f32>(key_weights[r * $(TQ)u + t + $(e)u]), q[q_at + i_$e * (p.q_ld >> 2u) + to], dk$c);
                    dv$c = fma(vec4<f32>(value_weights[r * $(TQ)u + t + $(e)u]), d[((d_at + first + i_$e * p.d_ld) >> 2u) + to], dv$c);
#end
                }
            }
#end
        }
    }
    if here {
        let to = p.out_at + own.row * p.out_ld + first;
#for c in 0..DMAX/4/L
        if lane + $(c * L)u < fours {
            let dk = p.scale * dk$c;
#for e in 0..4
            out[to + (lane + $(c * L)u) * 4u + $(e)u] = dk[$e];
            out[to + p.heads * p.dim + (lane + $(c * L)u) * 4u + $(e)u] = dv$(c)[$e];
#end
        }
#end
    }
}
#endif
#if form_tile
var<workgroup> keys: array<f32, $(R * DMAX)>;
var<workgroup> values: array<f32, $(R * DMAX)>;
var<workgroup> key_sums: array<f32, $(R * DMAX)>;
var<workgroup> value_sums: array<f32, $(R * DMAX)>;
var<workgroup> key_weights: array<f32, $(R * TQ)>;
var<workgroup> value_weights: array<f32, $(R * TQ)>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.k_tokens + $(R - 1)u) / $(R)u;
    let id = linear_group(group, groups);
    let r = slot / $(L)u;
    let lane = slot % $(L)u;
    let own = key_of(id / tiles, (id % tiles) * $(R)u + r);
    let here = own.end > 0u;
    let at = r * $(DMAX)u;
    let first = own.head * p.dim;
    for (var c = lane; c < p.dim; c += $(L)u) {
        if here {
            keys[at + c] = p.scale * k[p.k_at + own.row * p.k_ld + first + c];
            values[at + c] = v[p.v_at + own.row * p.v_ld + first + c];
        }
        key_sums[at + c] = 0.0;
        value_sums[at + c] = 0.0;
    }
    for (var b = 0u; b < p.k_batch_div; b++) {
        let rows = (own.batch + b) * p.q_tokens;
        for (var i0 = 0u; i0 < p.q_tokens; i0 += $(TQ)u) {
            workgroupBarrier();
            for (var t = lane; t < $(TQ)u; t += $(L)u) {
                let i = i0 + t;
                var weight = 0.0;
                var slope = 0.0;
                if i >= own.begin && i < own.end {
                    let q_at = p.q_at + (rows + i) * p.q_ld + first;
                    let y_at = p.y_at + (rows + i) * p.y_ld;
                    let d_at = p.d_at + (rows + i) * p.d_ld;
                    var score = -y[y_at + p.heads * p.dim + own.head];
                    slope = d[d_at + p.heads * p.dim + own.head];
                    for (var c = 0u; c < p.dim; c++) {
                        score += keys[at + c] * q[q_at + c];
                        slope += d[d_at + first + c] * (values[at + c] - y[y_at + first + c]);
                    }
                    weight = m_exp(score);
                }
                value_weights[r * $(TQ)u + t] = weight;
                key_weights[r * $(TQ)u + t] = weight * slope;
            }
            workgroupBarrier();
            let n = min($(TQ)u, max(own.end, i0) - i0);
            for (var c = lane; c < p.dim; c += $(L)u) {
                var dk = key_sums[at + c];
                var dv = value_sums[at + c];
                for (var t = 0u; t < n; t++) {
                    let row = rows + i0 + t;
                    dk += key_weights[r * $(TQ)u + t] * q[p.q_at + row * p.q_ld + first + c];
                    dv += value_weights[r * $(TQ)u + t] * d[p.d_at + row * p.d_ld + first + c];
                }
                key_sums[at + c] = dk;
                value_sums[at + c] = dv;
            }
        }
    }
    if here {
        let to = p.out_at + own.row * p.out_ld + first;
        for (var c = lane; c < p.dim; c += $(L)u) {
            out[to + c] = p.scale * key_sums[at + c];
            out[to + p.heads * p.dim + c] = value_sums[at + c];
        }
    }
}
#endif
#if form_row
@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let e = linear_group(group, groups) * $(R)u + slot;
    if e >= p.batch / p.k_batch_div * p.heads * p.k_tokens {
        return;
    }
    let own = key_of(e / p.k_tokens, e % p.k_tokens);
    let first = own.head * p.dim;
    let k_at = p.k_at + own.row * p.k_ld + first;
    let v_at = p.v_at + own.row * p.v_ld + first;
    let to_k = p.out_at + own.row * p.out_ld + first;
    let to_v = to_k + p.heads * p.dim;
    for (var c = 0u; c < p.dim; c++) {
        out[to_k + c] = 0.0;
        out[to_v + c] = 0.0;
    }
    for (var b = 0u; b < p.k_batch_div; b++) {
        let rows = (own.batch + b) * p.q_tokens;
        for (var i0 = own.begin; i0 < own.end; i0 += $(TQ)u) {
            // Queries past the end repeat the last one and weigh nothing.
            let last = own.end - 1u;
#for t in 0..TQ
            let row$t = rows + min(i0 + $(t)u, last);
            let lse$t = y[p.y_at + row$t * p.y_ld + p.heads * p.dim + own.head];
            var s$t = 0.0;
            var g$t = d[p.d_at + row$t * p.d_ld + p.heads * p.dim + own.head];
#end
            for (var c = 0u; c < p.dim; c++) {
                let x = k[k_at + c];
                let w = v[v_at + c];
#for t in 0..TQ
                s$t += x * q[p.q_at + row$t * p.q_ld + first + c];
                g$t += d[p.d_at + row$t * p.d_ld + first + c] * (w - y[p.y_at + row$t * p.y_ld + first + c]);
#end
            }
#for t in 0..TQ
            let w$t = select(0.0, m_exp(p.scale * s$t - lse$t), i0 + $(t)u <= last);
            g$t *= p.scale * w$t;
#end
            for (var c = 0u; c < p.dim; c++) {
                var dk = out[to_k + c];
                var dv = out[to_v + c];
#for t in 0..TQ
                dk += g$t * q[p.q_at + row$t * p.q_ld + first + c];
                dv += w$t * d[p.d_at + row$t * p.d_ld + first + c];
#end
                out[to_k + c] = dk;
                out[to_v + c] = dv;
            }
        }
    }
}
#endif
