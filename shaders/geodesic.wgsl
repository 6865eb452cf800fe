// geodesic: the point x_t = exp_x0(t log_x0 x1) and its velocity u = d/dt x_t on a product of manifolds (Chen & Lipman 2023), one
// thread for each part of each action.
// A part is columns start .. start + len of every action: kind 0 flat, x_t = (1 - t) x0 + t x1; kind 1 a sphere of unit vectors
// (S1, S2); kind 2 unit vectors up to sign (quaternions: SO(3)), the shorter of the two ways. x0 and x1 are brought to unit length
// first, so x0 may be normal noise: its direction is uniform. Opposite points are joined by one of their geodesics.
// x0, x1, xt, ut: [rows, horizon * dim] dense; t: [rows] in [0, 1], 0 = noise; parts: [count, 3], start, len (to 4 unless flat), kind.
// Called by the training step of Riemannian flow matching.
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/sphere.wgsl"

struct Params {
    rows: u32,
    horizon: u32,
    dim: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>;
@group(0) @binding(2) var<storage, read> x1: array<f32>;
@group(0) @binding(3) var<storage, read> t: array<f32>;
@group(0) @binding(4) var<storage, read> parts: array<f32>;
@group(0) @binding(5) var<storage, read_write> xt: array<f32>;
@group(0) @binding(6) var<storage, read_write> ut: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.horizon * p.count {
        return;
    }
    let part = 3u * (e % p.count);
    let action = e / p.count;
    let len = u32(parts[part + 1u]);
    let kind = u32(parts[part + 2u]);
    let at = action * p.dim + u32(parts[part]);
    let time = t[action / p.horizon];
    if kind == 0u {
        for (var i = at; i < at + len; i++) {
            xt[i] = (1.0 - time) * x0[i] + time * x1[i];
            ut[i] = x1[i] - x0[i];
        }
        return;
    }
    var a = vec4<f32>(0.0);
    var b = vec4<f32>(0.0);
    for (var i = 0u; i < len; i++) {
        a[i] = x0[at + i];
        b[i] = x1[at + i];
    }
    a = unit(a);
    b = unit(b);
    if kind == 2u && dot(a, b) < 0.0 {
        b = -b;
    }
    let c = dot(a, b);
    let w = b - c * a;
    let s = m_sqrt(dot(w, w));
    var theta = angle_of(s, c);
    var e1 = w / max(s, 1.0e-30);
    if s < 1.0e-6 {
        if c > 0.0 {
            theta = 0.0;
        } else {
            e1 = across(a, len);
        }
    }
    let turn = m_sin_cos(time * theta);
    let x = turn.y * a + turn.x * e1;
    let u = theta * (turn.y * e1 - turn.x * a);
    for (var i = 0u; i < len; i++) {
        xt[at + i] = x[i];
        ut[at + i] = u[i];
    }
}
