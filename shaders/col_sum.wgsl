// col_sum: y[g, j] = scale * sum over r < per_group of x[g * per_group + r, j], in a fixed order.
// x is [groups * per_group, cols] through a view, y is [groups, cols] at y.offset, rows y.row_stride apart.
// Called for bias gradients (one group) and the gradients of repeated rows.
// A workgroup sums a tile of C columns of one group with L lanes of rows: flat where groups are short, tall where there
// are too few columns to fill a device.
//! variants tile=flat,wide,tall
//! where flat: C=64 L=1
//! where wide: C=32 L=8
//! where tall: C=8 L=32
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"

struct Params {
    groups: u32,
    per_group: u32,
    cols: u32,
    scale: f32,
    x: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#if !tile_flat
var<workgroup> partial: array<f32, $(C * L)>;

#endif
@compute @workgroup_size($(C * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let tiles = (p.cols + $(C - 1)u) / $(C)u;
    let tile = linear_group(group, groups);
    let g = tile / tiles;
    let j = (tile % tiles) * $(C)u + slot % $(C)u;
    let lane = slot / $(C)u;
    let live = g < p.groups && j < p.cols;
    let count = select(0u, p.per_group, live);
    let first = g * p.per_group;
    // Four running sums: loads in flight, and shorter chains of rounding.
    var s0 = 0.0;
    var s1 = 0.0;
    var s2 = 0.0;
    var s3 = 0.0;
    var r = lane;
    for (; r + $(3 * L)u < count; r += $(4 * L)u) {
        s0 += x[view_at(p.x, first + r, j)];
        s1 += x[view_at(p.x, first + r + $(L)u, j)];
        s2 += x[view_at(p.x, first + r + $(2 * L)u, j)];
        s3 += x[view_at(p.x, first + r + $(3 * L)u, j)];
    }
    for (; r < count; r += $(L)u) {
        s0 += x[view_at(p.x, first + r, j)];
    }
    var sum = (s0 + s1) + (s2 + s3);
#if !tile_flat
    partial[slot] = sum;
    for (var s = $(L / 2)u; s > 0u; s >>= 1u) {
        workgroupBarrier();
        if lane < s {
            partial[slot] += partial[slot + s * $(C)u];
        }
    }
    workgroupBarrier();
    sum = partial[slot % $(C)u];
#endif
    if live && lane == 0u {
        y[view_row(p.y, g) + j] = p.scale * sum;
    }
}
