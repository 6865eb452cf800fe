// mse: y[y.offset] = scale * sum over i, j of (a[i, j] - b[i, j])^2, both [rows, cols] through views; one workgroup, fixed
// order: runs of 64 terms per invocation, then a tree. Called by the graph op Mse (the loss).
// flat: rows == 1, so element e lies at offset + e * col_stride; view: any views.
//! variants form=flat,view
#include "shared/view.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
    pad: u32,
    a: View,
    b: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> partial: array<f32, 256>;

fn square(e: u32) -> f32 {
#if form_flat
    let d = a[p.a.offset + e * p.a.col_stride] - b[p.b.offset + e * p.b.col_stride];
#else
    let i = e / p.cols;
    let j = e % p.cols;
    let d = a[view_at(p.a, i, j)] - b[view_at(p.b, i, j)];
#endif
    return d * d;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    let count = p.rows * p.cols;
    var total = 0.0;
    var e = lane;
    // Whole runs: eight sums of eight terms, so that many loads are in flight.
    for (; e + $(63 * 256)u < count; e += $(64 * 256)u) {
#for k in 0..8
        var s$k = 0.0;
#end
        for (var r = 0u; r < 8u; r += 1u) {
            let at = e + r * $(8 * 256)u;
#for k in 0..8
            s$k += square(at + $(k * 256)u);
#end
        }
        total += ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
    }
    var rest = 0.0;
    for (; e < count; e += 256u) {
        rest += square(e);
    }
    partial[lane] = total + rest;
    for (var s = 128u; s > 0u; s >>= 1u) {
        workgroupBarrier();
        if lane < s {
            partial[lane] += partial[lane + s];
        }
    }
    if lane == 0u {
        y[p.y.offset] = p.scale * partial[0];
    }
}
