// group_norm: y[i, c] = act(xhat[i, c] * w[c] + b[c]) * scale[i, c] + shift[i, c] with xhat = (x - mean) / sqrt(variance + eps),
// mean and (biased) variance over the steps of a sample and the channels / groups channels of c's group. Each part is there
// only where its bit of flags is: 1 w, 2 b, 4 scale, 8 shift; act 0 is the identity.
// x, scale and shift are [samples * steps, channels] through views, y lies at y.offset, rows y.row_stride apart.
// Called by the graph op GroupNorm, with FiLM or a residual fused.
// thin: an invocation per group of a sample; narrow: eight groups per workgroup; wide: a workgroup per group.
//! variants tile=thin,narrow,wide
//! where thin: R=64 L=1
//! where narrow: R=8 L=32
//! where wide: R=1 L=256
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"
#include "shared/row_tile.wgsl"
#include "shared/math.wgsl"

struct Params {
    samples: u32,
    steps: u32,
    channels: u32,
    groups: u32,
    flags: u32,
    act: u32,
    eps: f32,
    w_offset: u32,
    b_offset: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
    x: View,
    scale: View,
    shift: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read> shift: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

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
        let d = x[view_at(p.x, first + e / width, channel + e % width)] - mean;
        squares += d * d;
    }
    let rstd = 1.0 / sqrt(row_total(slot, squares) * share + p.eps);
    for (var e = lane; e < count; e += $(L)u) {
        let i = first + e / width;
        let c = channel + e % width;
        var out = (x[view_at(p.x, i, c)] - mean) * rstd;
        if (p.flags & 1u) != 0u {
            out *= w[p.w_offset + c];
        }
        if (p.flags & 2u) != 0u {
            out += b[p.b_offset + c];
        }
        out = activate(p.act, out);
        if (p.flags & 4u) != 0u {
            out *= scale[view_at(p.scale, i, c)];
        }
        if (p.flags & 8u) != 0u {
            out += shift[view_at(p.shift, i, c)];
        }
        y[view_row(p.y, i) + c] = out;
    }
}
