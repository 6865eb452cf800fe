// one_hot: of every row, 1 at its first largest element and 0 elsewhere: y[i, j] = 1 if j = argmax_k x[i, k], else 0.
// x is [rows, cols] through a view, y is [rows, cols] at y.offset, rows y.row_stride apart. One thread per row: rows are short
// (the codes of a book). Called by the graph op OneHot.
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"

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

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i >= p.rows {
        return;
    }
    let source = view_row(p.x, i);
    var best = 0u;
    var most = x[source];
    for (var j = 1u; j < p.cols; j += 1u) {
        let v = x[source + j * p.x.col_stride];
        if v > most {
            most = v;
            best = j;
        }
    }
    let first = view_row(p.y, i);
    for (var j = 0u; j < p.cols; j += 1u) {
        y[first + j] = select(0.0, 1.0, j == best);
    }
}
