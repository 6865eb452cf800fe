// manifold_exp: where x comes to along w on a product of manifolds, one thread for each part of each action. x is brought to unit
// length on curved parts first (so w = 0 projects to the manifold).
// flat parts: y = x + w; curved parts, straight 0: y = exp_x of w's tangent part, along the geodesic; straight 1: y = (x + w) / |x + w|.
// x, w, y: [rows, horizon * dim], their rows X_ld apart; parts: [count, 3], start, len (to 4 unless flat), kind (0 flat, else unit
// vectors). Called by the graph op ManifoldExp: steps of Riemannian flows.
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/sphere.wgsl"

struct Params {
    rows: u32,
    horizon: u32,
    dim: u32,
    count: u32,
    x_at: u32,
    x_ld: u32,
    w_at: u32,
    w_ld: u32,
    y_at: u32,
    y_ld: u32,
    straight: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> parts: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.horizon * p.count {
        return;
    }
    let part = 3u * (e % p.count);
    let row = e / (p.count * p.horizon);
    let start = (e / p.count) % p.horizon * p.dim + u32(parts[part]);
    let len = u32(parts[part + 1u]);
    let x_at = p.x_at + row * p.x_ld + start;
    let w_at = p.w_at + row * p.w_ld + start;
    let y_at = p.y_at + row * p.y_ld + start;
    if parts[part + 2u] == 0.0 {
        for (var i = 0u; i < len; i++) {
            y[y_at + i] = x[x_at + i] + w[w_at + i];
        }
        return;
    }
    var a = vec4<f32>(0.0);
    var v = vec4<f32>(0.0);
    for (var i = 0u; i < len; i++) {
        a[i] = x[x_at + i];
        v[i] = w[w_at + i];
    }
    a = unit(a);
    if p.straight == 1u {
        a = unit(a + v);
    } else {
        v -= dot(v, a) * a;
        let theta = m_sqrt(dot(v, v));
        let turn = m_sin_cos(theta);
        // sin(theta) / theta; close to 0 what is left out is theta^4 / 120.
        let sinc = select(turn.x / max(theta, 1.0e-30), 1.0 - theta * theta / 6.0, theta < 1.0e-2);
        a = unit(turn.y * a + sinc * v);
    }
    for (var i = 0u; i < len; i++) {
        y[y_at + i] = a[i];
    }
}
