//! variants form=nt tile=huge,large,small,flat load=vec4,scalar
//! where huge: TM=128 TN=128 TK=16 RM=8 RN=8
//! where large: TM=64 TN=64 TK=16 RM=8 RN=4
//! where small: TM=32 TN=32 TK=16 RM=4 RN=4
//! where flat: TM=16 TN=128 TK=16 RM=4 RN=4
// conv1d: a convolution along time, C = epilogue(A B^T), where A are windows that are read where they lie (implicit GEMM):
// A[s windows + u, c kernel + tap] = x[s steps + u stride + tap - padding, c], 0 where that step is outside sample s.
// x is [samples * steps, channels] at a_offset, rows a_ld apart; B is PyTorch's weight [out, channels, kernel] as a matrix [n, k] with
// k = channels kernel; C is [m, n] with m = samples windows. Tiles, loads and order of summation as in shaders/matmul.wgsl; the vec4
// variants need offsets, leading dimensions and extents of B and C that are multiples of 4.
// Called in place of unfold1d and matmul; see src/kernel/matmul/conv1d.rs.
#include "shared/linear_id.wgsl"
#include "shared/matmul_finish.wgsl"

struct Params {
    m: u32,
    n: u32,
    k: u32,
    form: u32,
    a_offset: u32,
    a_ld: u32,
    b_offset: u32,
    b_ld: u32,
    c_offset: u32,
    c_ld: u32,
    bias_offset: u32,
    flags: u32,
    act: u32,
    groups_n: u32,
    alpha: f32,
    beta: f32,
    residual: View,
    steps: u32,
    windows: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;

// Block of the windows at rows `i`.. and depths `d`..: adjacent along k; rows past the end repeat the last one and are never stored.
fn fetch_a(i: u32, d: u32) -> Block {
    var channel = vec4<u32>(d / p.kernel);
    var tap = vec4<u32>(d % p.kernel);
#for e in 1..4
    tap[$e] = tap[$(e - 1)] + 1u;
    channel[$e] = channel[$(e - 1)];
    if tap[$e] == p.kernel {
        tap[$e] = 0u;
        channel[$e] += 1u;
    }
#end
    var out: Block;
#for r in 0..4
    {
        let row = min(i + $(r)u, p.m - 1u);
        let sample = p.a_offset + (row / p.windows) * p.steps * p.a_ld;
        // Steps before the sample wrap around and are too large.
        let t = (row % p.windows) * p.stride - p.padding + tap;
#for e in 0..4
        if d + $(e)u < p.k && t[$e] < p.steps { out.v$r[$e] = x[sample + t[$e] * p.a_ld + channel[$e]]; }
#end
    }
#end
    return out;
}

#include "shared/matmul_whole.wgsl"
