// manifold_dot: y = <a, b> c, the inner product taken over each curved part of each action; 0 on flat parts. One thread for each part of
// each action. With it v - <v, x> x is the projection to the tangent space at x, and so are its derivatives.
// a, b, c, y: [rows, horizon * dim], their rows X_ld apart; parts: [count, 3], start, len (to 4 unless flat), kind (0 flat, 1 sphere,
// 2 unit vectors up to sign). Called by the graph op ManifoldDot.
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    horizon: u32,
    dim: u32,
    count: u32,
    a_at: u32,
    a_ld: u32,
    b_at: u32,
    b_ld: u32,
    c_at: u32,
    c_ld: u32,
    y_at: u32,
    y_ld: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read> parts: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.horizon * p.count {
        return;
    }
    let part = 3u * (e % p.count);
    let row = e / (p.count * p.horizon);
    let at = (e / p.count) % p.horizon * p.dim + u32(parts[part]);
    let len = u32(parts[part + 1u]);
    var inner = 0.0;
    if parts[part + 2u] > 0.0 {
        for (var i = at; i < at + len; i++) {
            inner += a[p.a_at + row * p.a_ld + i] * b[p.b_at + row * p.b_ld + i];
        }
    }
    for (var i = at; i < at + len; i++) {
        y[p.y_at + row * p.y_ld + i] = inner * c[p.c_at + row * p.c_ld + i];
    }
}
