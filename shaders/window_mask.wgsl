// window_mask: what every action of a batch of training windows counts in the loss: nothing outside its episode.
// index: [batch] window numbers; table: [W, 3] row of the newest observation, first and last row of its episode.
// y: [batch, H, A]: weight where row newest + action_offset + h lies in the episode, else 0. Window numbers are clamped to the
// table. One thread per element. Called by the training step after window.
#include "shared/linear_id.wgsl"

struct Params {
    batch: u32,
    horizon: u32,
    action_dim: u32,
    action_offset: i32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    let tall = p.horizon * p.action_dim;
    if e >= p.batch * tall {
        return;
    }
    let window = min(index[e / tall], arrayLength(&table) / 3u - 1u);
    let row = i32(table[3u * window]) + p.action_offset + i32(e % tall / p.action_dim);
    let inside = row >= i32(table[3u * window + 1u]) && row <= i32(table[3u * window + 2u]);
    y[e] = select(0.0, p.weight, inside);
}
