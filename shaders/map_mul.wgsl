// map_mul: y[i, j] = g[i, j] times f(x[i, j]), f'(x[i, j]) or f''(x[i, j]) for order 0, 1, 2, with f the activation of
// code `act`: the chain rule's step in either direction, and gated units at order 0.
// x and g are read through broadcasting views, y is [rows, cols] at y.offset, rows y.row_stride apart.
// Called by the graph op MapMul, which Map's derivatives make.
// flat: rows == 1, so element e lies at offset + e * col_stride; view: any views.
//! variants form=flat,view
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    act: u32,
    order: u32,
    x: View,
    g: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
#if form_flat
    let v = x[p.x.offset + e * p.x.col_stride];
    let by = g[p.g.offset + e * p.g.col_stride];
    let at = p.y.offset + e;
#else
    let i = e / p.cols;
    let j = e % p.cols;
    let v = x[view_at(p.x, i, j)];
    let by = g[view_at(p.g, i, j)];
    let at = view_at(p.y, i, j);
#endif
    switch p.order {
        case 0u: { y[at] = activate(p.act, v) * by; }
        case 1u: { y[at] = activate_d1(p.act, v) * by; }
        default: { y[at] = activate_d2(p.act, v) * by; }
    }
}
