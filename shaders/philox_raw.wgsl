// philox_raw: y[4 i .. 4 i + 4] = philox4x32_10(counter[4 i ..], key[2 i ..]) for i < n; all are u32 words.
// Called by the self-test, for the known answers of the generator that every other random kernel includes.
#include "shared/linear_id.wgsl"
#include "shared/philox.wgsl"

struct Params {
    n: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> counter: array<u32>;
@group(0) @binding(2) var<storage, read> key: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i >= p.n {
        return;
    }
    let c = vec4<u32>(counter[4u * i], counter[4u * i + 1u], counter[4u * i + 2u], counter[4u * i + 3u]);
    let out = philox4x32(c, vec2<u32>(key[2u * i], key[2u * i + 1u]));
    y[4u * i] = out.x;
    y[4u * i + 1u] = out.y;
    y[4u * i + 2u] = out.z;
    y[4u * i + 3u] = out.w;
}
