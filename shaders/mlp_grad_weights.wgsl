//! variants tile=tile32,tile16
//! where tile32: T=8
//! where tile16: T=4
// mlp_grad_weights: the gradients of all weights and biases of an MLP from the tape of `mlp_grad`: dW = dᵀ x [n, k] and db = the sum of d's rows,
// straight to their places in the flat buffer of gradients; what lies between stays. layers: see shared/mlp_layers.wgsl.
// A workgroup owns 4 T rows and 4 T columns of one layer's dW: T by T invocations of 4 by 4 elements, times PARTS that share out the
// batch and are added up in a fixed order. So a small network fills a device without partial sums in memory.
#include "shared/linear_id.wgsl"
#include "shared/mlp_layers.wgsl"

struct Params {
    rows: u32,
    layers: u32,
    stride: u32,
    elements: u32,
    work: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> tape: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> grads: array<f32>;

const PARTS = $(256 / (T * T))u;

var<workgroup> sums: array<vec4<f32>, 1024>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var tile = linear_group(group, groups);
    var at = 0u;
    for (; at < p.layers * LAYER; at += LAYER) {
        let tiles = ((groups4(table[at]) + $(T - 1)u) / $(T)u) * ((groups4(table[at + 1u]) + $(T - 1)u) / $(T)u);
        if tile < tiles {
            break;
        }
        tile -= tiles;
    }
    if at >= p.layers * LAYER {
        return;
    }
    let n = table[at];
    let k = table[at + 1u];
    let along = (groups4(k) + $(T - 1)u) / $(T)u;
    let j0 = tile / along * $(T)u;
    let i0 = tile % along * $(T)u;
    let part = lane / $(T * T)u;
    let slot = lane % $(T * T)u;
    // Groups past the end repeat the last one and are never stored.
    let d_at = table[at + 8u] + min(j0 + slot / $(T)u, groups4(n) - 1u);
    let x_at = table[at + 7u] + min(i0 + slot % $(T)u, groups4(k) - 1u);
    var acc0 = vec4<f32>();
    var acc1 = vec4<f32>();
    var acc2 = vec4<f32>();
    var acc3 = vec4<f32>();
    var bias = vec4<f32>();
    for (var b = part; b < p.rows; b += PARTS) {
        let d = tape[b * p.stride + d_at];
        let x = tape[b * p.stride + x_at];
        acc0 = fma(d.xxxx, x, acc0);
        acc1 = fma(d.yyyy, x, acc1);
        acc2 = fma(d.zzzz, x, acc2);
        acc3 = fma(d.wwww, x, acc3);
        bias += d;
    }
#for r in 0..4
    sums[(part * 4u + $(r)u) * $(T * T)u + slot] = acc$r;
#end
    workgroupBarrier();
    if lane < $(4 * T * T)u {
        var sum = sums[lane];
        for (var q = 1u; q < PARTS; q++) {
            sum += sums[q * $(4 * T * T)u + lane];
        }
        let j = 4u * (j0 + slot / $(T)u) + lane / $(T * T)u;
        let i = 4u * (i0 + slot % $(T)u);
        for (var s = 0u; s < 4u; s++) {
            if j < n && i + s < k {
                grads[table[at + 2u] + j * k + i + s] = sum[s];
            }
        }
    }
    if i0 > 0u {
        return;
    }
    workgroupBarrier();
    if slot % $(T)u == 0u {
        sums[part * $(T)u + slot / $(T)u] = bias;
    }
    workgroupBarrier();
    if lane < $(T)u {
        var sum = sums[lane];
        for (var q = 1u; q < PARTS; q++) {
            sum += sums[q * $(T)u + lane];
        }
        for (var s = 0u; s < 4u; s++) {
            let j = 4u * (j0 + lane) + s;
            if j < n {
                grads[table[at + 3u] + j] = sum[s];
            }
        }
    }
}
