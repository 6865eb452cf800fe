//! variants rows=rows8,tall8,rows16,tall16,slim32,rows32 store=full,half
//! where full: HALF=0
//! where half: HALF=1
//! where LANES=256
//! where rows8: R=8 COLUMNS=500
//! where tall8: R=8 COLUMNS=1020
//! where rows16: R=16 COLUMNS=508
//! where tall16: R=16 COLUMNS=760
//! where slim32: R=32 COLUMNS=254
//! where rows32: R=32 COLUMNS=380
// ode_rows: every step of a solver for R samples in one workgroup: a row program (see shared/row_program.wgsl) over on-chip columns.
// start, out: [rows, dim] from their offsets; this call computes rows first .. rows. Activations never leave the workgroup's memory; each
// weight is read once for R rows. One invocation owns eight rows and four columns of a product, so at most 32 LANES / R
// columns. On-chip, four rows are a vec4, column major, turned by column / 4 so that the stores of neighbours meet
// different banks. A result may take its operand's place: sums wait in registers. Fixed order of summation.
// Called by the planner in place of a chain of products; see src/graph/rows.rs.
#include "shared/linear_id.wgsl"
#include "shared/row_program.wgsl"

const QUADS = $(R / 4)u;
// Invocations side by side along the columns.
const WIDE = $(LANES * 8 / R)u;

var<workgroup> chip: array<vec4<f32>, $(R / 4 * COLUMNS)>;

fn place(column: u32, quad: u32) -> u32 {
    return column * QUADS + ((quad + (column >> 2u)) & (QUADS - 1u));
}

fn product(at: u32, row0: u32, lane: u32) {
    let k4 = program[at + 1u];
    let n = program[at + 2u];
    let src = program[at + 3u];
    let n4 = (n + 3u) >> 2u;
    let c = lane % WIDE;
    let quad = 2u * (lane / WIDE);
#for i in 0..8
    var acc$i = vec4<f32>();
#end
    if c < n4 {
        var w = program[at + 5u] + c;
        for (var b = 0u; b < k4; b++) {
            let turn = (src >> 2u) + b;
            let low = (src + 4u * b) * QUADS + ((quad + turn) & (QUADS - 1u));
            let high = (src + 4u * b) * QUADS + ((quad + 1u + turn) & (QUADS - 1u));
#for s in 0..4
            let w$s = unpacked(weights[w]);
            let x$s = chip[low + $(s)u * QUADS];
            let y$s = chip[high + $(s)u * QUADS];
            acc0 = fma(x$s.xxxx, w$s, acc0);
            acc1 = fma(x$s.yyyy, w$s, acc1);
            acc2 = fma(x$s.zzzz, w$s, acc2);
            acc3 = fma(x$s.wwww, w$s, acc3);
            acc4 = fma(y$s.xxxx, w$s, acc4);
            acc5 = fma(y$s.yyyy, w$s, acc5);
            acc6 = fma(y$s.zzzz, w$s, acc6);
            acc7 = fma(y$s.wwww, w$s, acc7);
            w += n4;
#end
        }
        let bias = bias4(at, c, n);
        let act = program[at + 8u];
        let alpha = number(at + 9u);
        let beta = number(at + 10u);
        let residual = program[at + 11u];
        // One row and one element at a time through the first accumulator: a single copy of the activations in the code.
        for (var r = 0u; r < 8u; r++) {
            let begin = outside_row(at, min(row0 + 4u * quad + r, p.rows - 1u));
            var row = acc0;
            var add = bias;
            for (var e = 0u; e < 4u; e++) {
                let j = 4u * c + e;
                var x = 0.0;
                if j < n {
                    var rest = 0.0;
                    if residual == OUTSIDE {
                        rest = outside[begin + j * program[at + 14u]];
                    } else if residual != NONE {
                        rest = chip[place(residual + j, quad + (r >> 2u))][r & 3u];
                    }
                    x = activate(act, alpha * (row.x + add.x) + beta * rest);
                }
                row = vec4<f32>(row.yzw, x);
                add = add.yzwx;
            }
#for i in 0..7
            acc$i = acc$(i + 1);
#end
            acc7 = row;
        }
    }
    // Everyone has read the operand: the result may lie where it lay.
    workgroupBarrier();
    if c < n4 {
        let dst = program[at + 4u] + 4u * c;
#for e in 0..4
        chip[place(dst + $(e)u, quad)] = vec4<f32>(acc0[$e], acc1[$e], acc2[$e], acc3[$e]);
        chip[place(dst + $(e)u, quad + 1u)] = vec4<f32>(acc4[$e], acc5[$e], acc6[$e], acc7[$e]);
#end
    }
}

fn combination(at: u32, lane: u32) {
    let count = program[at + 1u];
    let columns = (program[at + 2u] + 3u) & ~3u;
    for (var e = lane; e < columns * QUADS; e += $(LANES)u) {
        let column = e / QUADS;
        let quad = e % QUADS;
        var sum = chip[place(program[at + 3u] + column, quad)];
        for (var s = 0u; s < count; s++) {
            sum += number(at + 24u + s) * chip[place(program[at + 17u + s] + column, quad)];
        }
        chip[place(program[at + 4u] + column, quad)] = sum;
    }
}

// Every invocation takes the sums of its rows itself: all of a quad read the same word, and no memory is needed for them.
fn norm(at: u32, lane: u32) {
    let n = program[at + 2u];
    let src = program[at + 3u];
    let n4 = (n + 3u) >> 2u;
    let quad = lane % QUADS;
    var mean = vec4<f32>();
    if program[at + 8u] == 0u {
        for (var j = 0u; j < n; j++) {
            mean += chip[place(src + j, quad)];
        }
        mean /= f32(n);
    }
    var squares = vec4<f32>();
    for (var j = 0u; j < n; j++) {
        let d = chip[place(src + j, quad)] - mean;
        squares = fma(d, d, squares);
    }
    let spread = squares / f32(n) + number(at + 9u);
    let factor = 1.0 / vec4<f32>(m_sqrt(spread.x), m_sqrt(spread.y), m_sqrt(spread.z), m_sqrt(spread.w));
    for (var c = lane / QUADS; c < n4; c += $(LANES)u / QUADS) {
        let scale = scale4(at, c);
        let shift = bias4(at, c, n);
        for (var e = 0u; e < 4u; e++) {
            let j = 4u * c + e;
            var y = vec4<f32>();
            if j < n {
                y = (chip[place(src + j, quad)] - mean) * factor * scale[e] + shift[e];
            }
            chip[place(program[at + 4u] + j, quad)] = y;
        }
    }
}

@compute @workgroup_size($LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = p.first + linear_group(group, groups) * $(R)u;
    if row0 >= p.rows {
        return;
    }
    // Rows past the end repeat the last one and are never stored; columns past the end are zeros.
    let columns = (p.dim + 3u) & ~3u;
    for (var e = lane; e < columns * QUADS; e += $(LANES)u) {
        let j = e % columns;
        let quad = e / columns;
        var x = vec4<f32>();
        if j < p.dim {
            for (var r = 0u; r < 4u; r++) {
                x[r] = start[p.start_offset + min(row0 + 4u * quad + r, p.rows - 1u) * p.dim + j];
            }
        }
        chip[place(p.start_column + j, quad)] = x;
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
        workgroupBarrier();
    }
    for (var e = lane; e < columns * QUADS; e += $(LANES)u) {
        let j = e % columns;
        let quad = e / columns;
        let x = chip[place(p.end_column + j, quad)];
        for (var r = 0u; r < 4u; r++) {
            let i = row0 + 4u * quad + r;
            if j < p.dim && i < p.rows {
                out[p.out_offset + i * p.dim + j] = x[r];
            }
        }
    }
}
