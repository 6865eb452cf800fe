// unfold2d: y[(s rows + u) cols + v, (c kernel_h + a) kernel_w + b] = x[(s height + r) width + q, c] with
// r = u stride_h + a - padding_h and q = v stride_w + b - padding_w, 0 where (r, q) is outside the image of sample s.
// x is [samples * height * width, channels] at x_offset, rows x_ld apart; y is
// [samples * rows * cols, channels * kernel_h * kernel_w] at y_offset, rows y_ld apart: a convolution's windows, to be
// multiplied with PyTorch's weight [out, channels, kernel_h, kernel_w] seen as a matrix. Called by the graph op Unfold2d.
// An invocation per element of y.
#include "shared/linear_id.wgsl"
#include "shared/windows2d.wgsl"

struct Params {
    w: Windows2d,
    x_offset: u32,
    x_ld: u32,
    y_offset: u32,
    y_ld: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    let kernel = p.w.kernel_h * p.w.kernel_w;
    let columns = p.w.channels * kernel;
    if e >= p.w.samples * p.w.rows * p.w.cols * columns {
        return;
    }
    let i = e / columns;
    let j = e % columns;
    let s = i / (p.w.rows * p.w.cols);
    let place = j % kernel;
    let r = i / p.w.cols % p.w.rows * p.w.stride_h + place / p.w.kernel_w - p.w.padding_h;
    let q = i % p.w.cols * p.w.stride_w + place % p.w.kernel_w - p.w.padding_w;
    var out = 0.0;
    if r < p.w.height && q < p.w.width {
        out = x[p.x_offset + ((s * p.w.height + r) * p.w.width + q) * p.x_ld + j / kernel];
    }
    y[p.y_offset + i * p.y_ld + j] = out;
}
