//! variants store=full,half
// pack_weights: y = B in panels of `panel` adjacent columns, each [depth, panel], with zeros where B ends; one thread an
// element, or (half) a pair of adjacent ones, rounded to half precision: two to a word, the first in the low half. panel is even then.
// B is [n, k] (turned = 1: a linear layer's weights) or [k, n], row-major with leading dimension and offset; panel * panels >= n,
// depth >= k; y is dense from its offset
// (in words). Called once per load for kernels that read several columns at a time.
#include "shared/linear_id.wgsl"

struct Params {
    n: u32,
    k: u32,
    panel: u32,
    panels: u32,
    depth: u32,
    b_offset: u32,
    b_ld: u32,
    y_offset: u32,
    turned: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> b: array<f32>;
#if store_half
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#endif

// Element e of the packed matrix.
fn packed(e: u32) -> f32 {
    let d = (e / p.panel) % p.depth;
    let j = e / (p.panel * p.depth) * p.panel + e % p.panel;
    if d < p.k && j < p.n {
        return b[p.b_offset + select(d * p.b_ld + j, j * p.b_ld + d, p.turned != 0u)];
    }
    return 0.0;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
#if store_half
    if 2u * e >= p.depth * p.panel * p.panels {
        return;
    }
    y[p.y_offset + e] = pack2x16float(vec2<f32>(packed(2u * e), packed(2u * e + 1u)));
#else
    if e >= p.depth * p.panel * p.panels {
        return;
    }
    y[p.y_offset + e] = packed(e);
#endif
}
