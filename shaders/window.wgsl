// window: gathers a batch of training windows from the raw recordings and normalises them: (x - offset) scale, observations
// limited to what the normaliser's clip says.
// index: [batch] window numbers; table: [W, 3] row of the newest observation, first and last row of its episode.
// obs: [T, O]; action: [T, A] raw. affine: obs offset [O], obs scale [O], act offset [H A], act scale [H A], relative [A]:
// the observation dimension subtracted from the raw action (of the newest observation), or -1; obs clip [O]: the largest
// |normalised observation|, or -1 for no limit.
// y_obs: [batch, history, O], oldest first; y_action: [batch, H, A], step j from row newest + action_offset + j.
// Rows are clamped to the episode. Window numbers and rows are also clamped to the buffers. Called by the training step.
#include "shared/linear_id.wgsl"

struct Params {
    batch: u32,
    history: u32,
    obs_dim: u32,
    horizon: u32,
    action_dim: u32,
    action_offset: i32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read> obs: array<f32>;
@group(0) @binding(4) var<storage, read> action: array<f32>;
@group(0) @binding(5) var<storage, read> affine: array<f32>;
@group(0) @binding(6) var<storage, read_write> y_obs: array<f32>;
@group(0) @binding(7) var<storage, read_write> y_action: array<f32>;

// The row inside the episode [first, last] and the buffer's `rows` that is nearest to `at`.
fn inside(at: i32, first: u32, last: u32, rows: u32) -> u32 {
    return min(u32(max(min(at, i32(last)), i32(first))), max(rows, 1u) - 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    let wide = p.history * p.obs_dim;
    let tall = p.horizon * p.action_dim;
    if e >= p.batch * (wide + tall) {
        return;
    }
    let b = e / (wide + tall);
    let j = e % (wide + tall);
    let window = min(index[b], arrayLength(&table) / 3u - 1u);
    let newest = i32(table[3u * window]);
    let first = table[3u * window + 1u];
    let last = table[3u * window + 2u];
    if j < wide {
        let h = j / p.obs_dim;
        let d = j % p.obs_dim;
        let row = inside(newest - i32(p.history - 1u - h), first, last, arrayLength(&obs) / p.obs_dim);
        var v = (obs[row * p.obs_dim + d] - affine[d]) * affine[p.obs_dim + d];
        let most = affine[2u * p.obs_dim + 2u * tall + p.action_dim + d];
        if most >= 0.0 {
            v = select(v, most, v > most);
            v = select(v, -most, v < -most);
        }
        y_obs[b * wide + j] = v;
        return;
    }
    let q = j - wide;
    let h = q / p.action_dim;
    let d = q % p.action_dim;
    let row = inside(newest + p.action_offset + i32(h), first, last, arrayLength(&action) / p.action_dim);
    var x = action[row * p.action_dim + d];
    let relative = affine[2u * p.obs_dim + 2u * tall + d];
    if relative >= 0.0 && p.obs_dim > 0u {
        let anchor = inside(newest, first, last, arrayLength(&obs) / p.obs_dim);
        x -= obs[anchor * p.obs_dim + min(u32(relative), p.obs_dim - 1u)];
    }
    y_action[b * tall + q] = (x - affine[2u * p.obs_dim + q]) * affine[2u * p.obs_dim + tall + q];
}
