// The left side of a product in tiles: A at binding 1, a matrix (see shaders/matmul.wgsl for its shape).
// Needs the parameters m, k, a_offset and a_ld, and Block of shared/matmul_tile.wgsl.
#if load_vec4
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;
#endif

#if load_scalar
// Four adjacent elements of a row of A, zero from `limit` on.
fn row4_a(at: u32, column: u32, limit: u32) -> vec4<f32> {
    var v = vec4<f32>();
#for e in 0..4
    if column + $(e)u < limit { v[$e] = a[at + column + $(e)u]; }
#end
    return v;
}
#else
fn row4_a(at: u32, column: u32, limit: u32) -> vec4<f32> {
    if column < limit { return a[(at + column) >> 2u]; }
    return vec4<f32>();
}
#endif

// Block at rows (of the logical operand) `x`.. and depths `d`..; after `turned`, vector i holds depth d + i.
fn fetch_a(x: u32, d: u32) -> Block {
    var out: Block;
#if form_tn
    // [k, m]: adjacent along m.
#for i in 0..4
    if d + $(i)u < p.k { out.v$i = row4_a(p.a_offset + (d + $(i)u) * p.a_ld, x, p.m); }
#end
#else
    // [m, k]: adjacent along k; rows past the end repeat the last one and are never stored.
#for i in 0..4
    out.v$i = row4_a(p.a_offset + min(x + $(i)u, p.m - 1u) * p.a_ld, d, p.k);
#end
#endif
    return out;
}
