// ode_control: per-sample adaptive step control of an embedded Runge-Kutta pair; one workgroup per sample.
// err = h sum_s c_s K_s; norm = sqrt(mean((err / (atol + rtol max(|x|, |x_new|)))^2)), summed in a fixed order.
// norm <= 1 and finite: x <- x_new, t += h, with fsal K_0 <- K_last, h *= clamp(safety norm^-alpha prev^beta, min, max);
// else h *= clamp(safety norm^-alpha, min, safety), or min_factor when not finite; below h_min the sample has failed.
// x, x_new: [rows, cols]; K: [stages, rows, cols]; ctl: [rows, 8] (words: t, h, previous norm, accepted u32, rejected u32,
// flag u32: 0 active 1 done 2 failed, last norm, rejected last time u32); active: u32 samples that still move, u32 failed, then
// `grids` indirect grids (x, y, z), zeroed when the last sample finishes. Called by the adaptive samplers.
#include "shared/linear_id.wgsl"
#include "shared/finite.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    stages: u32,
    fsal: u32,
    rtol: f32,
    atol: f32,
    t_end: f32,
    safety: f32,
    min_factor: f32,
    max_factor: f32,
    alpha: f32,
    beta: f32,
    h_min: f32,
    grids: u32,
    pad0: u32,
    pad1: u32,
    coefficients: array<vec4<f32>, 2>,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> x_new: array<f32>;
@group(0) @binding(3) var<storage, read_write> k: array<f32>;
@group(0) @binding(4) var<storage, read_write> ctl: array<u32>;
@group(0) @binding(5) var<storage, read_write> active_count: array<atomic<u32>>;

var<workgroup> sums: array<f32, 64>;
var<workgroup> bad: array<u32, 64>;

fn power(base: f32, exponent: f32) -> f32 {
    return exp2(exponent * log2(base));
}

// One sample fewer moves; the last one stops the indirect dispatches.
fn finish(failed: bool) {
    if failed {
        atomicAdd(&active_count[1], 1u);
    }
    if atomicSub(&active_count[0], 1u) == 1u {
        for (var i = 0u; i < 3u * p.grids; i++) {
            atomicStore(&active_count[2u + i], 0u);
        }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    let n = p.rows * p.cols;
    let base = row * p.cols;
    // A sample that is done does nothing, but its lanes still meet at the barriers.
    var cols = 0u;
    var h = 0.0;
    if row < p.rows {
        if ctl[8u * row + 5u] == 0u {
            cols = p.cols;
            h = bitcast<f32>(ctl[8u * row + 1u]);
        }
    }

    var mine = 0.0;
    var broken = 0u;
    for (var j = lane; j < cols; j += 64u) {
        var err = 0.0;
        for (var s = 0u; s < min(p.stages, 7u); s++) {
            let c = p.coefficients[s / 4u][s % 4u];
            if c != 0.0 {
                err += h * c * k[s * n + base + j];
            }
        }
        let proposed = x_new[base + j];
        let q = err / (p.atol + p.rtol * max(abs(x[base + j]), abs(proposed)));
        mine += q * q;
        if !is_finite(proposed) || !is_finite(err) {
            broken = 1u;
        }
    }
    sums[lane] = mine;
    bad[lane] = broken;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sums[lane] += sums[lane + width];
            bad[lane] |= bad[lane + width];
        }
    }
    workgroupBarrier();
    if cols == 0u {
        return;
    }
    let norm = sqrt(sums[0] / f32(p.cols));
    let finite = bad[0] == 0u && is_finite(sums[0]);
    let accept = finite && norm <= 1.0;
    if accept {
        for (var j = lane; j < cols; j += 64u) {
            x[base + j] = x_new[base + j];
            if p.fsal != 0u {
                k[base + j] = k[(p.stages - 1u) * n + base + j];
            }
        }
    }
    if lane != 0u {
        return;
    }

    let at = 8u * row;
    var now = bitcast<f32>(ctl[at]);
    var size = 0.0;
    if finite {
        ctl[at + 6u] = bitcast<u32>(norm);
    }
    if accept {
        let previous = bitcast<f32>(ctl[at + 2u]);
        let most = select(1.0, p.max_factor, ctl[at + 7u] == 0u);
        ctl[at + 2u] = bitcast<u32>(max(norm, 1e-4));
        ctl[at + 3u] += 1u;
        ctl[at + 7u] = 0u;
        if abs(p.t_end - now) <= abs(h) {
            ctl[at] = bitcast<u32>(p.t_end);
            ctl[at + 1u] = 0u;
            ctl[at + 5u] = 1u;
            finish(false);
            return;
        }
        let factor = p.safety * power(max(norm, 1e-10), -p.alpha) * power(previous, p.beta);
        size = max(abs(h) * max(min(factor, most), p.min_factor), p.h_min);
        now += h;
    } else {
        ctl[at + 4u] += 1u;
        ctl[at + 7u] = 1u;
        var factor = p.min_factor;
        if finite {
            factor = max(min(p.safety * power(max(norm, 1e-10), -p.alpha), p.safety), p.min_factor);
        }
        size = abs(h) * factor;
        if size < p.h_min {
            ctl[at + 1u] = 0u;
            ctl[at + 5u] = 2u;
            finish(true);
            return;
        }
    }
    let left = p.t_end - now;
    ctl[at] = bitcast<u32>(now);
    var next = left;
    if 1.01 * size < abs(left) {
        next = select(-size, size, left > 0.0);
    }
    ctl[at + 1u] = bitcast<u32>(next);
}
