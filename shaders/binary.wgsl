// binary: y[i, j] = op(a[i, j], b[i, j]) with both operands read through broadcasting views.
// op 0: alpha a + beta b + gamma;  1: alpha a b;  2: alpha a / b;  3: alpha a, limited to [-b, b];
// 4: the derivative of 3 by a, alpha where |alpha a| <= b and 0 elsewhere. Not-a-number stays.
// y is [rows, cols] at y.offset, rows y.row_stride apart. Called by the graph ops Binary, Affine and Broadcast.
// flat: rows == 1, so element e lies at offset + e * col_stride; view: any views.
//! variants form=flat,view
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    op: u32,
    pad: u32,
    alpha: f32,
    beta: f32,
    gamma: f32,
    pad2: f32,
    a: View,
    b: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
#if form_flat
    let l = a[p.a.offset + e * p.a.col_stride];
    let r = b[p.b.offset + e * p.b.col_stride];
    let at = p.y.offset + e;
#else
    let i = e / p.cols;
    let j = e % p.cols;
    let l = a[view_at(p.a, i, j)];
    let r = b[view_at(p.b, i, j)];
    let at = view_at(p.y, i, j);
#endif
    var out: f32;
    switch p.op {
        case 0u: { out = p.alpha * l + p.beta * r + p.gamma; }
        case 1u: { out = p.alpha * l * r; }
        case 2u: { out = p.alpha * l / r; }
        case 3u: {
            out = p.alpha * l;
            out = select(out, r, out > r);
            out = select(out, -r, out < -r);
        }
        default: { out = select(p.alpha, 0.0, abs(p.alpha * l) > r); }
    }
    y[at] = out;
}
