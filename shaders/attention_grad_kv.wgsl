// attention_grad_kv: the gradients of attention by its keys and values, side by side. With p_ij, d = [do | dlse] and delta_i as
// in attention_grad_q.wgsl, sums over all queries i that see key j (of k_batch_div batch entries), in their order:
// out_j = [dk_j | dv_j], dk_j = scale sum_i p_ij (do_i . v_j - delta_i) q_i, dv_j = sum_i p_ij do_i.
// out is [batch / k_batch_div * k_tokens, 2 * heads * dim]. Called by the graph op AttentionGrad.
// tile: a workgroup has R keys of one head, L lanes each (dim <= DMAX); row: an invocation per key and head, any dim.
//! variants form=tile,row
//! where tile: R=4 L=16 TQ=32 DMAX=128
//! where row: R=64 L=1 TQ=4 DMAX=0
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/attention.wgsl"

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> y: array<f32>;
@group(0) @binding(5) var<storage, read> d: array<f32>;
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
#else
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
