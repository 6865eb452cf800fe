// adamw: one update by PyTorch's AdamW, fused with the clip factor and the exponential moving average; one thread per weight.
// g <- clip g; m <- m + (1 - b1)(g - m); v <- b2 v + (1 - b2) g^2;
// p <- p (1 - lr wd) - (lr / bias1) m / (sqrt(v) / sqrt(bias2) + eps); ema <- ema + (1 - decay)(p - ema).
// p, g, m, v, ema: [n] dense from element offset. state: lr, clip, bias corrections and decay as tick left them; clip = 0 skips the update.
// Called by the training step after tick.
#include "shared/linear_id.wgsl"
#include "shared/state.wgsl"

struct Params {
    n: u32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    eps: f32,
    weight_decay: f32,
    offset: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> p: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;
@group(0) @binding(5) var<storage, read_write> ema: array<f32>;
@group(0) @binding(6) var<storage, read> state: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 256u + lane;
    let clip = bitcast<f32>(state[STATE_CLIP]);
    if e >= params.n || clip == 0.0 {
        return;
    }
    let i = params.offset + e;
    let lr = bitcast<f32>(state[STATE_LR]);
    let gradient = clip * g[i];
    let first = m[i] + (gradient - m[i]) * params.rest1;
    let second = v[i] * params.beta2 + params.rest2 * gradient * gradient;
    let denominator = sqrt(second) / sqrt(bitcast<f32>(state[STATE_BIAS2])) + params.eps;
    let weight = p[i] * (1.0 - lr * params.weight_decay) - lr / bitcast<f32>(state[STATE_BIAS1]) * first / denominator;
    m[i] = first;
    v[i] = second;
    p[i] = weight;
    ema[i] += (weight - ema[i]) * (1.0 - bitcast<f32>(state[STATE_EMA]));
}
