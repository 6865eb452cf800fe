// group_norm_grad: y = rstd * (d - mean(d) - xhat * mean(d * xhat)), the product of group norm's (symmetric) Jacobian at x
// with d, so it serves both modes; means over the steps of a sample and the channels of a group, xhat and rstd as in
// group_norm.wgsl. x and d are [samples * steps, channels] through views, y lies at y.offset, rows y.row_stride apart.
// Called by the derivatives of the graph op GroupNorm.
// thin: an invocation per group of a sample; narrow: eight groups per workgroup; wide: a workgroup per group.
//! variants tile=thin,narrow,wide
//! where thin: R=64 L=1
//! where narrow: R=8 L=32
//! where wide: R=1 L=256
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"
#include "shared/row_tile.wgsl"

struct Params {
    samples: u32,
    steps: u32,
    channels: u32,
    groups: u32,
    eps: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
    x: View,
    d: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let n = linear_group(group, workgroups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    let width = p.channels / p.groups;
    // Groups past the end reduce nothing, but keep their part in the barriers.
    let count = select(0u, p.steps * width, n < p.samples * p.groups);
    let first = n / p.groups * p.steps;
    let channel = n % p.groups * width;
    let share = 1.0 / f32(p.steps * width);
    var sum = 0.0;
    for (var e = lane; e < count; e += $(L)u) {
        sum += x[view_at(p.x, first + e / width, channel + e % width)];
    }
    let mean = row_total(slot, sum) * share;
    var squares = 0.0;
    for (var e = lane; e < count; e += $(L)u) {
        let c = x[view_at(p.x, first + e / width, channel + e % width)] - mean;
        squares += c * c;
    }
    let rstd = 1.0 / sqrt(row_total(slot, squares) * share + p.eps);
    var d_sum = 0.0;
    var inner = 0.0;
    for (var e = lane; e < count; e += $(L)u) {
        let i = first + e / width;
        let c = channel + e % width;
        let g = d[view_at(p.d, i, c)];
        d_sum += g;
        inner += g * (x[view_at(p.x, i, c)] - mean) * rstd;
    }
    let d_mean = row_total(slot, d_sum) * share;
    let slope = row_total(slot, inner) * share;
    for (var e = lane; e < count; e += $(L)u) {
        let i = first + e / width;
        let c = channel + e % width;
        let xhat = (x[view_at(p.x, i, c)] - mean) * rstd;
        y[view_row(p.y, i) + c] = rstd * (d[view_at(p.d, i, c)] - d_mean - xhat * slope);
    }
}
