// unfold1d: y[s windows + u, c kernel + k] = x[s steps + u stride + k - padding, c], 0 where that step is outside sample s.
// x is [samples * steps, channels] at x_offset, rows x_ld apart; y is [samples * windows, channels * kernel] at y_offset,
// rows y_ld apart: a convolution's windows, to be multiplied with PyTorch's weight [out, channels, kernel] seen as a
// matrix. Called by the graph op Unfold1d. An invocation per element of y.
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
    let cols = p.channels * p.kernel;
    if e >= p.samples * p.windows * cols {
        return;
    }
    let i = e / cols;
    let j = e % cols;
    let s = i / p.windows;
    // Steps before the sample wrap around and are too large.
    let t = (i % p.windows) * p.stride + j % p.kernel - p.padding;
    var out = 0.0;
    if t < p.steps {
        out = x[p.x_offset + (s * p.steps + t) * p.x_ld + j / p.kernel];
    }
    y[p.y_offset + i * p.y_ld + j] = out;
}
