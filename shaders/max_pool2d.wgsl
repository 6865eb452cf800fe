// max_pool2d: y[(s rows + u) cols + v, c] = t[k, c], where row k of x has the first largest element of channel c that window
// (u, v) of sample s covers; places outside the image do not count. With t = x it is PyTorch's MaxPool2d, with a tangent of x
// its derivative along t. x and t are [samples * height * width, channels] at x_offset and t_offset, rows x_ld and t_ld apart;
// y is [samples * rows * cols, channels] at y_offset, rows y_ld apart. Called by the graph ops MaxPool2d and MaxPool2dJvp. An
// invocation per element of y.
#include "shared/linear_id.wgsl"
#include "shared/windows2d.wgsl"

struct Params {
    w: Windows2d,
    x_offset: u32,
    x_ld: u32,
    t_offset: u32,
    t_ld: u32,
    y_offset: u32,
    y_ld: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> t: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "shared/pool2d.wgsl"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.w.samples * p.w.rows * p.w.cols * p.w.channels {
        return;
    }
    let i = e / p.w.channels;
    let c = e % p.w.channels;
    let k = first_largest(i / (p.w.rows * p.w.cols), i / p.w.cols % p.w.rows, i % p.w.cols, c);
    y[p.y_offset + i * p.y_ld + c] = t[p.t_offset + k * p.t_ld + c];
}
