// row_sum: y[i, 0] = scale * sum over j of x[i, j], in a fixed order. x is [rows, cols] through a view, y is [rows, 1] at
// y.offset, elements y.row_stride apart. Called by the graph op Sum and by gradients of column broadcasts.
// thin: an invocation per row; narrow: eight rows per workgroup; wide: a workgroup per row.
//! variants tile=thin,narrow,wide
//! where thin: R=64 L=1
//! where narrow: R=8 L=32
//! where wide: R=1 L=256
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"
#include "shared/row_tile.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
    pad: u32,
    x: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let i = linear_group(group, groups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    // Rows past the end reduce nothing, but keep their part in the barriers.
    let cols = select(0u, p.cols, i < p.rows);
    let at = view_row(p.x, i);
    var sum = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        sum += x[at + j * p.x.col_stride];
    }
    let total = row_total(slot, sum);
    if lane == 0u && i < p.rows {
        y[view_row(p.y, i)] = p.scale * total;
    }
}
