// prefix: a training batch whose samples begin with actions that are already decided (training-time real-time chunking).
// Of sample r, action i and element e = (r, i, d):
//   i < delay[r]: xt[e] = x1[e], ut[e] = 0, mask[e] = 0, times[r, i] = 1;
//   else:         xt[e] stays, ut[e] *= weight, mask[e] = weight, times[r, i] = t[r].
// So mean (mask v - ut)^2 is weight^2 times the sum over what is not decided, over all elements.
// x1, xt, ut, mask: [rows, horizon, dim] dense; t: [rows]; delay: u32 words [rows]; times: [rows, horizon] dense.
// One thread per element. Called by the training step after path.
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    horizon: u32,
    dim: u32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> delay: array<u32>;
@group(0) @binding(2) var<storage, read> t: array<f32>;
@group(0) @binding(3) var<storage, read> x1: array<f32>;
@group(0) @binding(4) var<storage, read_write> xt: array<f32>;
@group(0) @binding(5) var<storage, read_write> ut: array<f32>;
@group(0) @binding(6) var<storage, read_write> times: array<f32>;
@group(0) @binding(7) var<storage, read_write> mask: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.horizon * p.dim {
        return;
    }
    let action = e / p.dim;
    let row = action / p.horizon;
    let decided = action % p.horizon < delay[row];
    if decided {
        xt[e] = x1[e];
        ut[e] = 0.0;
    } else {
        ut[e] = p.weight * ut[e];
    }
    mask[e] = select(p.weight, 0.0, decided);
    if e % p.dim == 0u {
        times[action] = select(t[row], 1.0, decided);
    }
}
