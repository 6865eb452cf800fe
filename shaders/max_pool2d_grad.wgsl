// max_pool2d_grad: y[k, c] = sum, in a fixed order, of d[(s rows + u) cols + v, c] over the windows (u, v) of sample s whose
// first largest element of x in channel c lies in row k: the adjoint of max_pool2d, PyTorch's gradient of MaxPool2d. x and y are
// [samples * height * width, channels] at x_offset and y_offset, rows x_ld and y_ld apart; d is [samples * rows * cols, channels]
// at d_offset, rows d_ld apart. Called by the graph op MaxPool2dGrad. An invocation per element of y gathers: it looks for the
// largest element of every window that covers it; no atomics.
#include "shared/linear_id.wgsl"
#include "shared/windows2d.wgsl"

struct Params {
    w: Windows2d,
    x_offset: u32,
    x_ld: u32,
    d_offset: u32,
    d_ld: u32,
    y_offset: u32,
    y_ld: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "shared/pool2d.wgsl"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.w.samples * p.w.height * p.w.width * p.w.channels {
        return;
    }
    let i = e / p.w.channels;
    let c = e % p.w.channels;
    let s = i / (p.w.height * p.w.width);
    let r = i / p.w.width % p.w.height + p.w.padding_h;
    let q = i % p.w.width + p.w.padding_w;
    var sum = 0.0;
    for (var a = 0u; a < p.w.kernel_h && a <= r; a += 1u) {
        let u = (r - a) / p.w.stride_h;
        if u * p.w.stride_h == r - a && u < p.w.rows {
            for (var b = 0u; b < p.w.kernel_w && b <= q; b += 1u) {
                let v = (q - b) / p.w.stride_w;
                if v * p.w.stride_w == q - b && v < p.w.cols && first_largest(s, u, v, c) == i {
                    sum += d[p.d_offset + ((s * p.w.rows + u) * p.w.cols + v) * p.d_ld + c];
                }
            }
        }
    }
    y[p.y_offset + i * p.y_ld + c] = sum;
}
