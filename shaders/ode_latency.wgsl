//! variants shape=one,wide,four,resident store=full,half
//! where full: HALF=0
//! where half: HALF=1
//! where one: R=1 LANES=256 COLUMNS=2048 LOCAL=0
//! where wide: R=1 LANES=1024 COLUMNS=2048 LOCAL=0
//! where four: R=4 LANES=256 COLUMNS=960 LOCAL=0
//! where resident: R=1 LANES=256 COLUMNS=1024 LOCAL=24000
// ode_latency: every step of a solver for up to R samples in one workgroup: a row program (see shared/row_program.wgsl), all invocations on
// one product at a time. start, out: [rows, dim] from their offsets; this call computes rows first .. min(rows, first + R).
// 64 invocations side by side own four columns each; LANES / 64 slices share the depth, and their sums are added in
// order through workgroup memory. `resident` holds all weights on chip (at most LOCAL bytes), the others stream
// them from the cache at every step. A result must not take its operand's place. Fixed order of summation.
// Called by the planner in place of a chain of products; see src/graph/rows.rs.
#include "shared/linear_id.wgsl"
#include "shared/row_program.wgsl"

const SLICES = $(LANES / 64)u;

// Rows of COLUMNS columns, four columns a vec4.
var<workgroup> chip: array<vec4<f32>, $(R * COLUMNS / 4)>;
var<workgroup> partial: array<vec4<f32>, $(R * LANES)>;
#if shape_resident
#if store_half
const LOCAL = $(LOCAL / 8)u;
#else
const LOCAL = $(LOCAL / 16)u;
#endif
var<workgroup> local: array<Weights, LOCAL>;
#endif

fn weight(i: u32) -> vec4<f32> {
#if shape_resident
    return unpacked(local[i]);
#else
    return unpacked(weights[i]);
#endif
}

fn element(row: u32, column: u32) -> f32 {
    return chip[row * $(COLUMNS / 4)u + (column >> 2u)][column & 3u];
}

fn product(at: u32, row0: u32, lane: u32) {
    let k4 = program[at + 1u];
    let n = program[at + 2u];
    let n4 = (n + 3u) >> 2u;
    let src = program[at + 3u] >> 2u;
    let dst = program[at + 4u] >> 2u;
    let first = program[at + 5u];
    let act = program[at + 8u];
    let alpha = number(at + 9u);
    let beta = number(at + 10u);
    let residual = program[at + 11u];
    let side = lane % 64u;
    let slice = lane / 64u;
    for (var c0 = 0u; c0 < n4; c0 += 64u) {
        let c = c0 + side;
#for r in 0..R
        var acc$r = vec4<f32>();
#end
        if c < n4 {
            for (var b = slice; b < k4; b += SLICES) {
                let w = first + 4u * b * n4 + c;
#for s in 0..4
                let w$s = weight(w + $(s)u * n4);
#end
#for r in 0..R
                let x$r = chip[$(r * COLUMNS / 4)u + src + b];
                acc$r = fma(x$r.xxxx, w0, acc$r);
                acc$r = fma(x$r.yyyy, w1, acc$r);
                acc$r = fma(x$r.zzzz, w2, acc$r);
                acc$r = fma(x$r.wwww, w3, acc$r);
#end
            }
        }
#for r in 0..R
        partial[$(r * LANES)u + lane] = acc$r;
#end
        workgroupBarrier();
        // R x 64 results, one invocation each.
        if lane < $(R * 64)u && c < n4 {
            let r = lane / 64u;
            var sum = vec4<f32>();
            for (var s = 0u; s < SLICES; s++) {
                sum += partial[r * $(LANES)u + s * 64u + side];
            }
            sum += bias4(at, c, n);
            let begin = outside_row(at, min(row0 + r, p.rows - 1u));
            // One element at a time through the first component: a single copy of the activations in the code.
            for (var e = 0u; e < 4u; e++) {
                let j = 4u * c + e;
                var x = 0.0;
                if j < n {
                    var rest = 0.0;
                    if residual == OUTSIDE {
                        rest = outside[begin + j * program[at + 14u]];
                    } else if residual != NONE {
                        rest = element(r, residual + j);
                    }
                    x = activate(act, alpha * sum.x + beta * rest);
                }
                sum = vec4<f32>(sum.yzw, x);
            }
            chip[r * $(COLUMNS / 4)u + dst + c] = sum;
        }
        workgroupBarrier();
    }
}

fn combination(at: u32, lane: u32) {
    let count = program[at + 1u];
    let n4 = (program[at + 2u] + 3u) >> 2u;
    for (var e = lane; e < n4 * $(R)u; e += $(LANES)u) {
        let row = (e / n4) * $(COLUMNS / 4)u + e % n4;
        var sum = chip[row + (program[at + 3u] >> 2u)];
        for (var s = 0u; s < count; s++) {
            sum += number(at + 24u + s) * chip[row + (program[at + 17u + s] >> 2u)];
        }
        chip[row + (program[at + 4u] >> 2u)] = sum;
    }
    workgroupBarrier();
}

// Every invocation takes the sums of its row itself: they are short, and waiting for others is not.
fn norm(at: u32, lane: u32) {
    let n = program[at + 2u];
    let n4 = (n + 3u) >> 2u;
    let src = program[at + 3u] >> 2u;
    for (var e = lane; e < n4 * $(R)u; e += $(LANES)u) {
        let row = (e / n4) * $(COLUMNS / 4)u;
        var mean = 0.0;
        if program[at + 8u] == 0u {
            // Columns past the end are zeros.
            var sum = vec4<f32>();
            for (var c = 0u; c < n4; c++) {
                sum += chip[row + src + c];
            }
            mean = ((sum.x + sum.y) + (sum.z + sum.w)) / f32(n);
        }
        var squares = vec4<f32>();
        for (var c = 0u; c < n4; c++) {
            let d = chip[row + src + c] - mean;
            squares = fma(d, d, squares);
        }
        // What the columns past the end added.
        let past = f32(4u * n4 - n) * mean * mean;
        let spread = ((squares.x + squares.y) + (squares.z + squares.w) - past) / f32(n) + number(at + 9u);
        let c = e % n4;
        var y = (chip[row + src + c] - mean) / m_sqrt(spread) * scale4(at, c) + bias4(at, c, n);
        for (var s = 0u; s < 4u; s++) {
            if 4u * c + s >= n {
                y[s] = 0.0;
            }
        }
        chip[row + (program[at + 4u] >> 2u) + c] = y;
    }
    workgroupBarrier();
}

@compute @workgroup_size($LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = p.first + linear_group(group, groups) * $(R)u;
    if row0 >= p.rows {
        return;
    }
#if shape_resident
    for (var i = lane; i < min(p.packed, LOCAL); i += $(LANES)u) {
        local[i] = weights[i];
    }
#endif
    // Rows past the end repeat the last one and are never stored; columns past the end are zeros.
    let n4 = (p.dim + 3u) >> 2u;
    for (var e = lane; e < n4 * $(R)u; e += $(LANES)u) {
        let begin = p.start_offset + min(row0 + e / n4, p.rows - 1u) * p.dim;
        var x = vec4<f32>();
        for (var s = 0u; s < 4u; s++) {
            let j = 4u * (e % n4) + s;
            if j < p.dim {
                x[s] = start[begin + j];
            }
        }
        chip[(e / n4) * $(COLUMNS / 4)u + (p.start_column >> 2u) + e % n4] = x;
    }
    workgroupBarrier();
    for (var i = 0u; i < p.instructions; i++) {
        let at = 32u * i;
        if program[at] == 0u {
            product(at, row0, lane);
        } else if program[at] == 1u {
            combination(at, lane);
        } else {
            norm(at, lane);
        }
    }
    for (var e = lane; e < p.dim * $(R)u; e += $(LANES)u) {
        let i = row0 + e / p.dim;
        let j = e % p.dim;
        if i < p.rows {
            out[p.out_offset + i * p.dim + j] = element(e / p.dim, p.end_column + j);
        }
    }
}
