// softmax: y[i, j] = exp(x[i, j] - max_j x) / sum_j exp(x[i, j] - max_j x). x is [rows, cols] through a view, y is
// [rows, cols] at y.offset, rows y.row_stride apart. Called by the graph op Softmax.
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
    pad0: u32,
    pad1: u32,
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
    let x_at = view_row(p.x, i);
    let y_at = view_row(p.y, i);
    var top = -3.4028235e38;
    for (var j = lane; j < cols; j += $(L)u) {
        top = max(top, x[x_at + j * p.x.col_stride]);
    }
    top = row_largest(slot, top);
    var sum = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        let e = exp(x[x_at + j * p.x.col_stride] - top);
        y[y_at + j] = e;
        sum += e;
    }
    // Each invocation reads back only what it wrote.
    let scale = 1.0 / row_total(slot, sum);
    for (var j = lane; j < cols; j += $(L)u) {
        y[y_at + j] *= scale;
    }
}
