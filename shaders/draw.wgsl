// draw: random numbers, y[offset + i] = element first + i of the Philox sequence (state's seed, stream, state's step), i < n.
// law 0: uniform u in (0, 1);  1: standard normal;  2: -1 or +1;  3: an index in 0..count (u32 words);
//     4: sigmoid(b + a normal);  5: a Q(u) + b, Q linear in a table of count + 1 quantiles;  6: 1 - 1 / (tan(pi u / 2) + 1).
// With several groups, y[offset + g n + i] = element i of the sequence of key g, state holding four words (seed, step) each.
// One thread per block of four elements, as shared/philox.wgsl counts them; first is 64 bits (low, high). If continues is 1, the state's
// first element is added to it.
// y is written as words: integers that are small would be denormal floats. Called by the training step and the samplers.
#include "shared/linear_id.wgsl"
#include "shared/philox.wgsl"
#include "shared/quarter.wgsl"
#include "shared/state.wgsl"

struct Params {
    n: u32,
    offset: u32,
    first_low: u32,
    first_high: u32,
    stream: u32,
    law: u32,
    count: u32,
    a: f32,
    b: f32,
    groups: u32,
    continues: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

fn quantile(u: f32) -> f32 {
    let at = u * f32(p.count);
    let cell = min(u32(at), p.count - 1u);
    let low = table[cell];
    return low + (table[cell + 1u] - low) * (at - f32(cell));
}

// The word of one element from its integer, uniform and normal.
fn word(bits: u32, uniform_: f32, normal: f32) -> u32 {
    var v = uniform_;
    switch p.law {
        case 1u: { v = normal; }
        case 2u: { v = select(-1.0, 1.0, (bits >> 31u) == 1u); }
        case 3u: { return philox_index_below(bits, p.count); }
        case 4u: { v = 1.0 / (1.0 + exp(-clamp(p.b + p.a * normal, -80.0, 80.0))); }
        case 5u: { v = p.a * quantile(uniform_) + p.b; }
        case 6u: {
            let s = quarter_sin(uniform_);
            v = s / (s + quarter_sin(1.0 - uniform_));
        }
        default: {}
    }
    return bitcast<u32>(v);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var first = vec2<u32>(p.first_low, p.first_high);
    if p.continues == 1u {
        let low = first.x + state[STATE_FIRST];
        first = vec2<u32>(low, first.y + state[STATE_FIRST + 1u] + select(0u, 1u, low < first.x));
    }
    let skip = first.x % 4u;
    let blocks = (skip + p.n + 3u) / 4u;
    let thread = linear_group(group, groups) * 64u + lane;
    if thread >= blocks * p.groups {
        return;
    }
    let g = thread / blocks;
    let b = thread % blocks;
    let word0 = 4u * g;
    let base = (first.x >> 2u) | (first.y << 30u);
    let low = base + b;
    let high = (first.y >> 2u) + select(0u, 1u, low < base);
    let key = philox_key(vec2<u32>(state[word0 + STATE_SEED], state[word0 + STATE_SEED + 1u]), p.stream);
    let bits = philox4x32(philox_counter(vec2<u32>(low, high), vec2<u32>(state[word0 + STATE_STEP], state[word0 + STATE_STEP + 1u])), key);
    let uniforms = philox_to_uniform4(bits);
    var normals = vec4<f32>(0.0);
    if p.law == 1u || p.law == 4u {
        normals = philox_to_normal4(bits);
    }
    for (var j = 0u; j < 4u; j++) {
        let at = 4u * b + j;
        if at >= skip && at - skip < p.n {
            y[p.offset + g * p.n + at - skip] = word(bits[j], uniforms[j], normals[j]);
        }
    }
}
