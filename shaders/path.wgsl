// path: the point x_t on a probability path and its target velocity u, one thread per element.
// kind 0 (optimal transport): x_t = t x1 + (1 - (1 - sigma) t) x0, u = x1 - (1 - sigma) x0
//      1 (independent):       x_t = t x1 + (1 - t) x0 + sigma eps, u = x1 - x0
//      2 (variance preserving): x_t = cos(pi t / 2) x0 + sin(pi t / 2) x1, u = d/dt x_t
//      3 (Schroedinger bridge): x_t = t x1 + (1 - t) x0 + sigma s eps, s = sqrt(t (1 - t)),
//                               u = x1 - x0 + sigma eps s (1 - 2t) / (2 s^2 + 1e-8)
// x0, x1, eps, xt, ut: [rows, cols] dense; t: [rows] in [0, 1], 0 = noise. eps is read by kinds 1 and 3 only.
// Called by the training step before the forward pass.
#include "shared/linear_id.wgsl"
#include "shared/quarter.wgsl"

struct Params {
    rows: u32,
    cols: u32,
    kind: u32,
    sigma: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>;
@group(0) @binding(2) var<storage, read> x1: array<f32>;
@group(0) @binding(3) var<storage, read> t: array<f32>;
@group(0) @binding(4) var<storage, read> eps: array<f32>;
@group(0) @binding(5) var<storage, read_write> xt: array<f32>;
@group(0) @binding(6) var<storage, read_write> ut: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.cols {
        return;
    }
    let time = t[e / p.cols];
    let a = x0[e];
    let b = x1[e];
    var x: f32;
    var u: f32;
    switch p.kind {
        case 0u: {
            x = time * b + (1.0 - (1.0 - p.sigma) * time) * a;
            u = b - (1.0 - p.sigma) * a;
        }
        case 1u: {
            x = time * b + (1.0 - time) * a + p.sigma * eps[e];
            u = b - a;
        }
        case 2u: {
            let s = quarter_sin(time);
            let c = quarter_sin(1.0 - time);
            x = c * a + s * b;
            u = 1.5707963267948966 * (c * b - s * a);
        }
        default: {
            let variance = max(time * (1.0 - time), 0.0);
            let noise = p.sigma * sqrt(variance) * eps[e];
            x = time * b + (1.0 - time) * a + noise;
            u = b - a + noise * (1.0 - 2.0 * time) / (2.0 * variance + 1e-8);
        }
    }
    xt[e] = x;
    ut[e] = u;
}
