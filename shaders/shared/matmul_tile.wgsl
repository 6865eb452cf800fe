// What the kernels share that multiply in tiles of TM x TN: B, and how blocks of 4x4 get into workgroup memory.
// Needs the constants TM, TN and TK, the parameters n, k, b_offset and b_ld, and fetch_a. Binding 2 is B; see shaders/matmul.wgsl
// for its shape.
#if load_vec4
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read> b: array<f32>;
#endif

// Blocks of four along m and n.
const BM = $(TM / 4)u;
const BN = $(TN / 4)u;

var<workgroup> tile_a: array<vec4<f32>, $(TK * TM / 4)>;
var<workgroup> tile_b: array<vec4<f32>, $(TK * TN / 4)>;

#if load_scalar
// Four adjacent elements of a row of B, zero from `limit` on.
fn row4_b(at: u32, column: u32, limit: u32) -> vec4<f32> {
    var v = vec4<f32>();
#for e in 0..4
    if column + $(e)u < limit { v[$e] = b[at + column + $(e)u]; }
#end
    return v;
}
#else
fn row4_b(at: u32, column: u32, limit: u32) -> vec4<f32> {
    if column < limit { return b[(at + column) >> 2u]; }
    return vec4<f32>();
}
#endif

// Four vectors of a 4x4 block.
struct Block {
    v0: vec4<f32>,
    v1: vec4<f32>,
    v2: vec4<f32>,
    v3: vec4<f32>,
}

// Block at columns `x`.. and depths `d`..; after `turned`, vector i holds depth d + i.
fn fetch_b(x: u32, d: u32) -> Block {
    var out: Block;
#if form_nt
    // [n, k]: adjacent along k.
#for i in 0..4
    out.v$i = row4_b(p.b_offset + min(x + $(i)u, p.n - 1u) * p.b_ld, d, p.k);
#end
#else
    // [k, n]: adjacent along n.
#for i in 0..4
    if d + $(i)u < p.k { out.v$i = row4_b(p.b_offset + (d + $(i)u) * p.b_ld, x, p.n); }
#end
#endif
    return out;
}

fn turned(q: Block) -> Block {
    return Block(
        vec4<f32>(q.v0.x, q.v1.x, q.v2.x, q.v3.x),
        vec4<f32>(q.v0.y, q.v1.y, q.v2.y, q.v3.y),
        vec4<f32>(q.v0.z, q.v1.z, q.v2.z, q.v3.z),
        vec4<f32>(q.v0.w, q.v1.w, q.v2.w, q.v3.w),
    );
}

// A block of A (B) into workgroup memory, k-major.
fn put_a(block: Block, column: u32, depth: u32) {
#if form_tn
    let t = block;
#else
    let t = turned(block);
#endif
    let at = depth * 4u * BM + (column ^ (2u * depth & (BM - 1u)));
#for i in 0..4
    tile_a[at + $(i)u * BM] = t.v$i;
#end
}

fn put_b(block: Block, column: u32, depth: u32) {
#if form_nt
    let t = turned(block);
#else
    let t = block;
#endif
    let at = depth * 4u * BN + (column ^ (2u * depth & (BN - 1u)));
#for i in 0..4
    tile_b[at + $(i)u * BN] = t.v$i;
#end
}
