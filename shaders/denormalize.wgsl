// denormalize: sampled actions from the model's space to physical units, y = x / scale + offset + anchor; where the scale is
// 0, which says that the column carries nothing, y = offset + anchor.
// x, y: [rows, H, A] dense. affine: as in window.wgsl. obs: [M, history, O] raw; row r belongs to observation
// r / samples_per_obs, and the anchor of a relative action dimension is the newest observation's value.
// state: word 11 counts the non-finite outputs, by their exponent bits. One thread per element. Called by the samplers.
#include "shared/linear_id.wgsl"
#include "shared/finite.wgsl"
#include "shared/state.wgsl"

struct Params {
    rows: u32,
    samples_per_obs: u32,
    horizon: u32,
    action_dim: u32,
    history: u32,
    obs_dim: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> affine: array<f32>;
@group(0) @binding(3) var<storage, read> obs: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> state: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    let tall = p.horizon * p.action_dim;
    if e >= p.rows * tall {
        return;
    }
    let q = e % tall;
    let scale = affine[2u * p.obs_dim + tall + q];
    var v = affine[2u * p.obs_dim + q];
    if scale != 0.0 {
        v = x[e] / scale + v;
    }
    let relative = affine[2u * p.obs_dim + 2u * tall + q % p.action_dim];
    if relative >= 0.0 && p.history * p.obs_dim > 0u {
        let m = e / tall / p.samples_per_obs;
        v += obs[(m * p.history + p.history - 1u) * p.obs_dim + min(u32(relative), p.obs_dim - 1u)];
    }
    y[e] = v;
    if !is_finite(v) {
        atomicAdd(&state[STATE_NON_FINITE], 1u);
    }
}
