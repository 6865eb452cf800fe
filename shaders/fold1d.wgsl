// fold1d: y[s steps + t, c] = sum over k < kernel, in order, of x[s windows + u, c kernel + k] with u stride + k - padding = t
// and u < windows: windows added up where they overlap, the adjoint of unfold1d. x is [samples * windows, channels * kernel]
// at x_offset, rows x_ld apart; y is [samples * steps, channels] at y_offset, rows y_ld apart. Called by the graph op
// Fold1d (transposed convolutions, gradients of convolutions). An invocation per element of y gathers: no atomics.
#include "shared/linear_id.wgsl"

struct Params {
    samples: u32,
    channels: u32,
    steps: u32,
    windows: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    x_offset: u32,
    x_ld: u32,
    y_offset: u32,
    y_ld: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.samples * p.steps * p.channels {
        return;
    }
    let i = e / p.channels;
    let c = e % p.channels;
    let s = i / p.steps;
    let t = i % p.steps + p.padding;
    var sum = 0.0;
    for (var k = 0u; k < p.kernel && k <= t; k += 1u) {
        let at = t - k;
        let u = at / p.stride;
        if u * p.stride == at && u < p.windows {
            sum += x[p.x_offset + (s * p.windows + u) * p.x_ld + c * p.kernel + k];
        }
    }
    y[p.y_offset + i * p.y_ld + c] = sum;
}
