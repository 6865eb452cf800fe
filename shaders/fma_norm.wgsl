// fma_norm: u[i, j] = x[i, j] * s[i, j] + r[i, j];  y[i, j] = uhat[i, j] * w[i, j] + b[i, j] (w and b only where flags has bits 1 and 2), with
// kind 0 (layer): uhat = (u - mean) / sqrt(mean((u - mean)^2) + eps);  kind 1 (rms): uhat = u / sqrt(mean(u^2) + eps).
// x, s, r, w and b are [rows, cols] through broadcasting views; u and y are [rows, cols] with plain rows. A transformer's gated residual
// and the norm that follows. Merged from fma and norm when a plan is finished.
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
    flags: u32,
    eps: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
    x: View,
    s: View,
    r: View,
    w: View,
    b: View,
    u: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<storage, read> r: array<f32>;
@group(0) @binding(4) var<storage, read> w: array<f32>;
@group(0) @binding(5) var<storage, read> b: array<f32>;
@group(0) @binding(6) var<storage, read_write> u: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

@compute @workgroup_size($(R * L))
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) slot: u32) {
    let i = linear_group(group, groups) * $(R)u + slot / $(L)u;
    let lane = slot % $(L)u;
    // Rows past the end reduce nothing, but keep their part in the barriers.
    let cols = select(0u, p.cols, i < p.rows);
    let x_at = view_row(p.x, i);
    let s_at = view_row(p.s, i);
    let r_at = view_row(p.r, i);
    let u_at = view_row(p.u, i);
    let y_at = view_row(p.y, i);
    let w_at = view_row(p.w, i);
    let b_at = view_row(p.b, i);
    let share = 1.0 / f32(p.cols);
    var sum = 0.0;
    // An invocation reads only those of u that it wrote itself.
    for (var j = lane; j < cols; j += $(L)u) {
        let v = x[x_at + j * p.x.col_stride] * s[s_at + j * p.s.col_stride] + r[r_at + j * p.r.col_stride];
        u[u_at + j] = v;
        sum += v;
    }
    var mean = 0.0;
    if p.kind == 0u {
        mean = row_total(slot, sum) * share;
    }
    var squares = 0.0;
    for (var j = lane; j < cols; j += $(L)u) {
        let c = u[u_at + j] - mean;
        squares += c * c;
    }
    let rstd = 1.0 / sqrt(row_total(slot, squares) * share + p.eps);
    for (var j = lane; j < cols; j += $(L)u) {
        var out = (u[u_at + j] - mean) * rstd;
        if (p.flags & 1u) != 0u {
            out *= w[w_at + j * p.w.col_stride];
        }
        if (p.flags & 2u) != 0u {
            out += b[b_at + j * p.b.col_stride];
        }
        y[y_at + j] = out;
    }
}
