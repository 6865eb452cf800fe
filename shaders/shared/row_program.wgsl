// Row programs: what `ode_rows` and `ode_latency` interpret; mirrors src/kernel/row_program.rs.
// An instruction is 32 words. Columns are on-chip columns, multiples of 4; weights are in groups of four: row d of a product's matrix
// lies at weights + d n4, zeros where the matrix ends. Whatever lies outside is addressed in elements.
//   0 op: product 0, combination 1, norm 2
//   1 k4: depth / 4 (product); number of stages (combination)
//   2 n: columns of the result       3 src: first column of the operand       4 dst: first column of the result
//   5 weights   6 bias (group; or NONE; or OUTSIDE: a row of `rows_outside`)      7 its first element
//   8 act       9 alpha     10 beta      11 residual (column; or NONE; or OUTSIDE: `outside` by the view in 12 to 16)
//  12 offset   13 row_stride   14 col_stride   15 row_div   16 row_mod
//  17..23 columns of a combination's stages     24..30 their factors
// product: dst = act(alpha (src W + bias) + beta residual); combination: dst = src + sum_s factor_s stage_s; norm: dst = (src - mean) /
// sqrt(variance + alpha) w + b over the n columns, or (act = 1) src / sqrt(mean of squares + alpha) w + b, with w at `weights` (or NONE: 1)
// and b the bias. A norm's result lies apart from its operand.
#include "shared/math.wgsl"

struct Params {
    rows: u32,
    first: u32,
    dim: u32,
    instructions: u32,
    start_column: u32,
    end_column: u32,
    start_offset: u32,
    out_offset: u32,
    packed: u32,
    work: u32,
    half: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> program: array<u32>;
// Four weights: in single precision, or in half, two to a word.
#if store_half
alias Weights = vec2<u32>;

fn unpacked(w: Weights) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
#else
alias Weights = vec4<f32>;

fn unpacked(w: Weights) -> vec4<f32> {
    return w;
}
#endif

@group(0) @binding(2) var<storage, read> weights: array<Weights>;
@group(0) @binding(3) var<storage, read> rows_outside: array<f32>;
@group(0) @binding(4) var<storage, read> outside: array<f32>;
@group(0) @binding(5) var<storage, read> start: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

const NONE = 0xffffffffu;
const OUTSIDE = 0xfffffffeu;

fn number(at: u32) -> f32 {
    return bitcast<f32>(program[at]);
}

// Where row i of the outside residual of the instruction at `at` starts.
fn outside_row(at: u32, i: u32) -> u32 {
    return program[at + 12u] + ((i / program[at + 15u]) % program[at + 16u]) * program[at + 13u];
}

// Four columns of a norm's scale, from column 4 c on.
fn scale4(at: u32, c: u32) -> vec4<f32> {
    let first = program[at + 5u];
    if first == NONE {
        return vec4<f32>(1.0);
    }
    return unpacked(weights[first + c]);
}

// Four columns of the bias, from column 4 c on.
fn bias4(at: u32, c: u32, n: u32) -> vec4<f32> {
    var b = vec4<f32>();
    let kind = program[at + 6u];
    if kind == OUTSIDE {
        let begin = program[at + 7u] + 4u * c;
        for (var e = 0u; e < min(4u, n - 4u * c); e++) {
            b[e] = rows_outside[begin + e];
        }
    } else if kind != NONE {
        b = unpacked(weights[kind + c]);
    }
    return b;
}
