// fold2d: y[(s height + r) width + q, c] = sum over a < kernel_h, then b < kernel_w, in order, of
// x[(s rows + u) cols + v, (c kernel_h + a) kernel_w + b] with u stride_h + a - padding_h = r, v stride_w + b - padding_w = q,
// u < rows and v < cols: windows added up where they overlap, the adjoint of unfold2d. x is
// [samples * rows * cols, channels * kernel_h * kernel_w] at x_offset, rows x_ld apart; y is [samples * height * width, channels]
// at y_offset, rows y_ld apart. Called by the graph op Fold2d (gradients of convolutions over images). An invocation per
// element of y gathers: no atomics.
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
                if v * p.w.stride_w == q - b && v < p.w.cols {
                    let column = (c * p.w.kernel_h + a) * p.w.kernel_w + b;
                    sum += x[p.x_offset + ((s * p.w.rows + u) * p.w.cols + v) * p.x_ld + column];
                }
            }
        }
    }
    y[p.y_offset + i * p.y_ld + c] = sum;
}
