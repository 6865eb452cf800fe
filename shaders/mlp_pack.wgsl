// mlp_pack: the weights and biases of an MLP for `mlp_grad`, of all layers at once: for each layer Wᵀ, b and (where the table says so) W, in
// groups of four with zeros where they end. One thread a group. The blocks of the layers follow each other in the order of the table
// (see shared/mlp_layers.wgsl). params is the flat buffer. Called once per training step, since the weights change at each.
#include "shared/linear_id.wgsl"
#include "shared/mlp_layers.wgsl"

struct Params {
    layers: u32,
    groups: u32,
    weights: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> params: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let g = linear_group(group, groups) * 64u + lane;
    if g >= p.groups {
        return;
    }
    var at = 0u;
    for (var l = 1u; l < p.layers; l++) {
        if g >= table[l * LAYER + 4u] {
            at = l * LAYER;
        }
    }
    let n = table[at];
    let k = table[at + 1u];
    let n4 = groups4(n);
    let k4 = groups4(k);
    let w = table[at + 2u];
    let within = g - table[at + 4u];
    let turned = 4u * k4 * n4;
    var v = vec4<f32>();
    if within < turned {
        let d = within / n4;
        let j = 4u * (within % n4);
        for (var e = 0u; e < 4u; e++) {
            if d < k && j + e < n {
                v[e] = params[w + (j + e) * k + d];
            }
        }
    } else if within < turned + n4 {
        let j = 4u * (within - turned);
        for (var e = 0u; e < 4u; e++) {
            if j + e < n {
                v[e] = params[table[at + 3u] + j + e];
            }
        }
    } else {
        let d = (within - turned - n4) / k4;
        let i = 4u * ((within - turned - n4) % k4);
        for (var e = 0u; e < 4u; e++) {
            if d < n && i + e < k {
                v[e] = params[w + d * k + i + e];
            }
        }
    }
    y[g] = v;
}
