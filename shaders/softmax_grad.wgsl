// softmax_grad: y[i, j] = p[i, j] * (d[i, j] - sum_j p[i, j] d[i, j]), the product of softmax's (symmetric) Jacobian at the
// probabilities p with d. q (the probabilities) and d are [rows, cols] through views, y is [rows, cols] at y.offset, rows
// y.row_stride apart. Called by the derivatives of the graph op Softmax.
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
    q: View,
    d: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let i = linear_group(group, groups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    // Rows past the end reduce nothing, but keep their part in the barriers.
    let cols = select(0u, p.cols, i < p.rows);
    let q_at = view_row(p.q, i);
    let d_at = view_row(p.d, i);
    let y_at = view_row(p.y, i);
    var sum = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        sum += q[q_at + j * p.q.col_stride] * d[d_at + j * p.d.col_stride];
    }
    let inner = row_total(slot, sum);
    for (var j = lane; j < cols; j += $(L)u) {
        y[y_at + j] = q[q_at + j * p.q.col_stride] * (d[d_at + j * p.d.col_stride] - inner);
    }
}
