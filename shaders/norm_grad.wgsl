// norm_grad: the product of the normalisation's (symmetric) Jacobian at x with d, so it serves both modes:
// kind 0 (layer): y = rstd * (d - mean(d) - xhat * mean(d * xhat));  kind 1 (rms): y = rstd * (d - xhat * mean(d * xhat)),
// with xhat and rstd as in norm.wgsl. x and d are [rows, cols] through views, y is [rows, cols] at y.offset, rows
// y.row_stride apart. Called by the derivatives of the graph op Norm.
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
    kind: u32,
    eps: f32,
    x: View,
    d: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let i = linear_group(group, groups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    // Rows past the end reduce nothing, but keep their part in the barriers.
    let cols = select(0u, p.cols, i < p.rows);
    let x_at = view_row(p.x, i);
    let y_at = view_row(p.y, i);
    let share = 1.0 / f32(p.cols);
    var mean = 0.0;
    if p.kind == 0u {
        var sum = 0.0;
        for (var j = lane; j < cols; j += $(L)u) {
            sum += x[x_at + j * p.x.col_stride];
        }
        mean = row_total(slot, sum) * share;
    }
    var squares = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        let c = x[x_at + j * p.x.col_stride] - mean;
        squares += c * c;
    }
    let rstd = 1.0 / sqrt(row_total(slot, squares) * share + p.eps);
    let d_at = view_row(p.d, i);
    var d_sum = 0.0;
    var inner = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        let g = d[d_at + j * p.d.col_stride];
        d_sum += g;
        inner += g * (x[x_at + j * p.x.col_stride] - mean) * rstd;
    }
    var d_mean = 0.0;
    if p.kind == 0u {
        d_mean = row_total(slot, d_sum) * share;
    }
    let slope = row_total(slot, inner) * share;
    for (var j = lane; j < cols; j += $(L)u) {
        let xhat = (x[x_at + j * p.x.col_stride] - mean) * rstd;
        y[y_at + j] = rstd * (d[d_at + j * p.d.col_stride] - d_mean - xhat * slope);
    }
}
