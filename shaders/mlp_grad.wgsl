//! variants rows=rows4,rows8,rows16 cols=cols128,cols256,cols512
//! where rows4: R=4 LANES=256
//! where rows8: R=8 LANES=256
//! where rows16: R=16 LANES=128
//! where cols128: WIDE=32
//! where cols256: WIDE=64
//! where cols512: WIDE=128
// mlp_grad: an MLP forward and backward for R rows of a batch in one workgroup, between them the cotangent of the result
// alpha y + beta target (of a mean square error: 2 / elements and its negative). x [rows, k of the first layer], target and y [rows, n of
// the last], dx (if has_dx: the cotangent of x) have plain rows. weights: as `mlp_pack` lays them out; layers: see shared/mlp_layers.wgsl.
// Leaves on the tape (rows of `stride` groups of four) what the weights' gradients are products of: each layer's operand and its
// cotangent. The activations of the layer at hand are on chip; z waits on the tape, in the place of its cotangent.
// A workgroup is WIDE invocations along columns (four each, all R rows) times LANES / WIDE along the depth, whose sums are added in a fixed
// order, so every invocation works however narrow the layers are. At most 4 WIDE columns. Called by the planner in place of the products of
// a training step; see src/graph/step.rs.
#include "shared/linear_id.wgsl"
#include "shared/math.wgsl"
#include "shared/mlp_layers.wgsl"

struct Params {
    rows: u32,
    layers: u32,
    stride: u32,
    has_dx: u32,
    alpha: f32,
    beta: f32,
    x_offset: u32,
    x_ld: u32,
    target_offset: u32,
    target_ld: u32,
    y_offset: u32,
    y_ld: u32,
    dx_offset: u32,
    dx_ld: u32,
    packed: u32,
    work: u32,
    dim: u32,
    out: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<f32>;
@group(0) @binding(4) var<storage, read> goal: array<f32>;
@group(0) @binding(5) var<storage, read_write> tape: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;

// Parts of the depth.
const PARTS = $(LANES / WIDE)u;

// The operand: group c of row r at r WIDE + c. While sums are added, part q of them is the q-th such matrix.
var<workgroup> chip: array<vec4<f32>, $(R * LANES)>;

// Leaves the product of the operand (k4 groups a row) and a packed matrix, n4 groups a row, in parts on chip.
fn product(matrix: u32, k4: u32, n4: u32, lane: u32) {
    let c = lane % $(WIDE)u;
    let part = lane / $(WIDE)u;
#for r in 0..R
    var acc$r = vec4<f32>();
#end
    if c < n4 {
        for (var b = part; b < k4; b += PARTS) {
            let at = matrix + 4u * b * n4 + c;
            let w0 = weights[at];
            let w1 = weights[at + n4];
            let w2 = weights[at + 2u * n4];
            let w3 = weights[at + 3u * n4];
#for r in 0..R
            let v$r = chip[$(r * WIDE)u + b];
            acc$r = fma(v$r.xxxx, w0, acc$r);
            acc$r = fma(v$r.yyyy, w1, acc$r);
            acc$r = fma(v$r.zzzz, w2, acc$r);
            acc$r = fma(v$r.wwww, w3, acc$r);
#end
        }
    }
    // Everyone has read the operand: the sums may lie where it lay.
    workgroupBarrier();
    if c < n4 {
#for r in 0..R
        chip[(part * $(R)u + $(r)u) * $(WIDE)u + c] = acc$r;
#end
    }
    workgroupBarrier();
}

// The sum of the parts of group c of row r.
fn total(r: u32, c: u32) -> vec4<f32> {
    var sum = chip[r * $(WIDE)u + c];
    for (var q = 1u; q < PARTS; q++) {
        sum += chip[(q * $(R)u + r) * $(WIDE)u + c];
    }
    return sum;
}

@compute @workgroup_size($LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = linear_group(group, groups) * $(R)u;
    if row0 >= p.rows {
        return;
    }
    // Rows past the end are zeros and never stored.
    let first4 = groups4(p.dim);
    for (var e = lane; e < $(R)u * first4; e += $(LANES)u) {
        let r = e / first4;
        let c = e % first4;
        let i = row0 + r;
        var v = vec4<f32>();
        if i < p.rows {
            for (var s = 0u; s < 4u; s++) {
                if 4u * c + s < p.dim {
                    v[s] = x[p.x_offset + i * p.x_ld + 4u * c + s];
                }
            }
            tape[i * p.stride + table[7] + c] = v;
        }
        chip[r * $(WIDE)u + c] = v;
    }
    workgroupBarrier();
    for (var l = 0u; l < p.layers; l++) {
        let at = l * LAYER;
        let n = table[at];
        let n4 = groups4(n);
        let k4 = groups4(table[at + 1u]);
        product(table[at + 4u], k4, n4, lane);
        let bias = table[at + 4u] + 4u * k4 * n4;
        let last = l + 1u == p.layers;
        for (var e = lane; e < $(R)u * n4; e += $(LANES)u) {
            let r = e / n4;
            let c = e % n4;
            let i = row0 + r;
            var v = vec4<f32>();
            if i < p.rows {
                var z = total(r, c) + weights[bias + c];
                let place = i * p.stride + c;
                if !last {
                    tape[place + table[at + 8u]] = z;
                }
                for (var s = 0u; s < 4u; s++) {
                    let j = 4u * c + s;
                    var one = 0.0;
                    if j < n {
                        if last {
                            y[p.y_offset + i * p.y_ld + j] = z.x;
                            one = p.alpha * z.x + p.beta * goal[p.target_offset + i * p.target_ld + j];
                        } else {
                            one = activate(table[at + 6u], z.x);
                        }
                    }
                    v = vec4<f32>(v.yzw, one);
                    z = z.yzwx;
                }
                // The next layer's operand, or the cotangent of the result.
                tape[place + table[select(at + LAYER + 7u, at + 8u, last)]] = v;
            }
            chip[r * $(WIDE)u + c] = v;
        }
        workgroupBarrier();
    }
    for (var left = p.layers; left > select(1u, 0u, p.has_dx != 0u); left--) {
        let at = (left - 1u) * LAYER;
        let n4 = groups4(table[at]);
        let k = table[at + 1u];
        let k4 = groups4(k);
        product(table[at + 5u], n4, k4, lane);
        for (var e = lane; e < $(R)u * k4; e += $(LANES)u) {
            let r = e / k4;
            let c = e % k4;
            let i = row0 + r;
            var v = vec4<f32>();
            if i < p.rows {
                v = total(r, c);
                if left > 1u {
                    // This invocation wrote z there itself.
                    let place = i * p.stride + table[at - LAYER + 8u] + c;
                    var z = tape[place];
                    for (var s = 0u; s < 4u; s++) {
                        var one = 0.0;
                        if 4u * c + s < k {
                            one = v.x * activate_d1(table[at - LAYER + 6u], z.x);
                        }
                        v = vec4<f32>(v.yzw, one);
                        z = z.yzwx;
                    }
                    tape[place] = v;
                } else {
                    for (var s = 0u; s < min(4u, k - 4u * c); s++) {
                        dx[p.dx_offset + i * p.dx_ld + 4u * c + s] = v[s];
                    }
                }
            }
            chip[r * $(WIDE)u + c] = v;
        }
        workgroupBarrier();
    }
}
