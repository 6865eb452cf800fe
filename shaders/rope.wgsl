// rope: rotary position embedding (Su 2021) of every head, pairs as in GPT-NeoX: column c < dim / 2 of a head turns with column
// c + dim / 2. Row r is the token at position r % tokens; by the angle a = position * base^(-2 c / dim):
// y[c] = x[c] cos a - direction x[c + dim / 2] sin a, y[c + dim / 2] = x[c + dim / 2] cos a + direction x[c] sin a.
// direction -1 turns back: the transpose. x and y are [rows, heads * dim], their rows X_ld apart; table is [tokens, dim]: the
// cosines of all c, then the sines. Called by the graph op Rope.
#include "shared/linear_id.wgsl"

struct Params {
    rows: u32,
    heads: u32,
    dim: u32,
    tokens: u32,
    x_at: u32,
    x_ld: u32,
    y_at: u32,
    y_ld: u32,
    direction: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = linear_group(group, groups) * 64u + lane;
    let half = p.dim / 2u;
    if e >= p.rows * p.heads * half {
        return;
    }
    let c = e % half;
    let head = (e / half) % p.heads;
    let row = e / (half * p.heads);
    let angle = (row % p.tokens) * p.dim + c;
    let cosine = table[angle];
    let sine = p.direction * table[angle + half];
    let x_at = p.x_at + row * p.x_ld + head * p.dim + c;
    let y_at = p.y_at + row * p.y_ld + head * p.dim + c;
    let low = x[x_at];
    let high = x[x_at + half];
    y[y_at] = low * cosine - high * sine;
    y[y_at + half] = high * cosine + low * sine;
}
