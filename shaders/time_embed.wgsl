// time_embed: with angle = t[i] * freq[j], the order-th derivative by t of [sin angle | cos angle]:
// y[i, j] = freq[j]^order * sin(angle + order * pi / 2), y[i, half + j] = freq[j]^order * cos(angle + order * pi / 2).
// t is [rows, 1] through a view (time in [0, 1]), freq has half elements from freq_offset (radians per unit of time), y is
// [rows, 2 half] at y.offset, rows y.row_stride apart. Angles up to 1e4 rad. Called by the graph op TimeEmbedding and its tangent.
#include "shared/view.wgsl"
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"

struct Params {
    rows: u32,
    half: u32,
    order: u32,
    freq_offset: u32,
    t: View,
    y: View,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> t: array<f32>;
@group(0) @binding(2) var<storage, read> freq: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= p.rows * p.half {
        return;
    }
    let i = e / p.half;
    let j = e % p.half;
    let f = freq[p.freq_offset + j];
    var out = m_sin_cos(t[view_row(p.t, i)] * f);
    // Each order is a quarter turn, exact: (sin, cos) becomes (cos, -sin).
    for (var k = 0u; k < p.order; k += 1u) {
        out = vec2<f32>(out.y, -out.x) * f;
    }
    let at = view_row(p.y, i) + j;
    y[at] = out.x;
    y[at + p.half] = out.y;
}
