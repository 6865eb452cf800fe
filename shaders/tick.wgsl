// tick: closes the gradient of an optimiser step; one workgroup. With n the steps completed before this one:
// norm = sqrt(sum of partial), in a fixed order; clip = min(1, max_norm / (norm + 1e-6)), or 0 and one more in the count
// when norm or loss is not finite; lr = base_lr * factor(n): n / warmup, then 1 or sin(pi/2 (total - n)/(total - warmup))^2;
// bias_i = 1 - beta_i^(n + 1); ema = min(max, 1 - (1 + n)^-power), or max when power = 0; step = n + 1;
// ring row n % ring_rows = {loss, lr, norm, n (u32)}. state: 16 words, see shared/state.wgsl. partial: [partials <= 256].
// Called by the training step between sumsq and adamw.
#include "shared/finite.wgsl"
#include "shared/quarter.wgsl"
#include "shared/state.wgsl"

struct Params {
    partials: u32,
    cosine: u32,
    warmup: u32,
    total: u32,
    base_lr: f32,
    max_norm: f32,
    log_beta1: f32,
    log_beta2: f32,
    ema_power: f32,
    ema_max: f32,
    ring_rows: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> ring: array<u32>;

var<workgroup> sums: array<f32, 256>;

// 1 - exp(x) for x <= 0, to 1e-6 relative also near 0.
fn one_minus_exp(x: f32) -> f32 {
    if x < -0.5 {
        return 1.0 - exp(max(x, -100.0));
    }
    var s = 1.0 / 5040.0;
    s = s * x + 1.0 / 720.0;
    s = s * x + 1.0 / 120.0;
    s = s * x + 1.0 / 24.0;
    s = s * x + 1.0 / 6.0;
    s = s * x + 0.5;
    return -(x + x * x * s);
}

// n as a float; n is 64 bits: low, high.
fn wide(low: u32, high: u32) -> f32 {
    return f32(high) * 4294967296.0 + f32(low);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var mine = 0.0;
    if lane < p.partials {
        mine = partial[lane];
    }
    sums[lane] = mine;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sums[lane] += sums[lane + width];
        }
    }
    if lane != 0u {
        return;
    }
    let low = state[STATE_STEP];
    let high = state[STATE_STEP + 1u];
    let sum = sums[0];
    let norm = sqrt(sum);
    let value = loss[0];
    var clip = 0.0;
    if is_finite(sum) && is_finite(value) {
        clip = min(1.0, p.max_norm / (norm + 1e-6));
    } else {
        state[STATE_NON_FINITE] += 1u;
    }

    var factor = 1.0;
    if high == 0u && low < p.warmup {
        factor = f32(low) / f32(p.warmup);
    } else if p.cosine != 0u {
        factor = 0.0;
        if high == 0u && low < p.total {
            let root = quarter_sin(f32(p.total - low) / f32(p.total - p.warmup));
            factor = root * root;
        }
    }
    let lr = p.base_lr * factor;

    var decay = p.ema_max;
    if p.ema_power != 0.0 {
        decay = min(decay, 1.0 - exp2(-p.ema_power * log2(1.0 + wide(low, high))));
    }

    let next_low = low + 1u;
    let next_high = high + select(0u, 1u, next_low == 0u);
    let next = wide(next_low, next_high);
    state[STATE_STEP] = next_low;
    state[STATE_STEP + 1u] = next_high;
    state[STATE_LR] = bitcast<u32>(lr);
    state[STATE_CLIP] = bitcast<u32>(clip);
    state[STATE_NORM] = bitcast<u32>(norm);
    state[STATE_BIAS1] = bitcast<u32>(one_minus_exp(next * p.log_beta1));
    state[STATE_BIAS2] = bitcast<u32>(one_minus_exp(next * p.log_beta2));
    state[STATE_EMA] = bitcast<u32>(decay);
    state[STATE_LOSS] = bitcast<u32>(value);

    if p.ring_rows > 0u {
        // (high 2^32 + low) % rows: no overflow, for rows < 2^16.
        let rows = p.ring_rows;
        let fold = (0xffffffffu % rows + 1u) % rows;
        let row = ((high % rows) * fold + low % rows) % rows;
        ring[4u * row] = bitcast<u32>(value);
        ring[4u * row + 1u] = bitcast<u32>(lr);
        ring[4u * row + 2u] = bitcast<u32>(norm);
        ring[4u * row + 3u] = low;
    }
}
