//! Cases of each kernel over the test sizes 1, 7, 31, 33, 65 and odd shapes: one file per kernel.

use crate::kernel::case::Case;
use crate::kernel::{BufferId, Target, View};

pub mod adamw;
pub mod attention;
pub mod binary;
pub mod col_sum;
pub mod conv1d;
pub mod copy;
pub mod denormalize;
pub mod draw;
pub mod fma;
pub mod fma_norm;
pub mod fold1d;
pub mod fold2d;
pub mod geodesic;
pub mod group_norm;
pub mod group_norm_grad;
pub mod manifold;
pub mod map;
pub mod map_mul;
pub mod matmul;
pub mod matmul_packed;
pub mod matmul_split;
pub mod max_pool2d;
pub mod max_pool2d_grad;
pub mod mlp;
pub mod mse;
pub mod norm;
pub mod norm_grad;
pub mod ode_combine;
pub mod ode_control;
pub mod ode_rows;
pub mod one_hot;
pub mod oracle;
pub mod pack_weights;
pub mod pair_cost;
pub mod pair_draw;
pub mod path;
pub mod philox_raw;
pub mod prefix;
pub mod reorder;
pub mod rope;
pub mod row_sum;
pub mod sinkhorn;
pub mod softmax;
pub mod softmax_grad;
pub mod sumsq;
pub mod tick;
pub mod time_embed;
pub mod unfold1d;
pub mod unfold2d;
pub mod window;
pub mod window_mask;

/// The sizes that every kernel is tried at.
pub const SIZES: [usize; 5] = [1, 7, 31, 33, 65];

/// The cases of a kernel for a target (which decides the variants).
pub type Cases = fn(&Target) -> Vec<Case>;

/// Every kernel's cases: to add a kernel, add its file and its line.
pub static CASES: &[(&str, Cases)] = &[
    ("binary", binary::cases),
    ("map", map::cases),
    ("map_mul", map_mul::cases),
    ("fma", fma::cases),
    ("fma_norm", fma_norm::cases),
    ("copy", copy::cases),
    ("col_sum", col_sum::cases),
    ("row_sum", row_sum::cases),
    ("norm", norm::cases),
    ("norm_grad", norm_grad::cases),
    ("softmax", softmax::cases),
    ("one_hot", one_hot::cases),
    ("softmax_grad", softmax_grad::cases),
    ("attention", attention::forward),
    ("attention_grad_q", attention::grad_q),
    ("attention_grad_kv", attention::grad_kv),
    ("attention_jvp", attention::jvp),
    ("rope", rope::cases),
    ("mse", mse::cases),
    ("mlp_pack", mlp::pack),
    ("mlp_grad", mlp::grad),
    ("mlp_grad_weights", mlp::weights),
    ("matmul", matmul::cases),
    ("matmul_packed", matmul_packed::cases),
    ("matmul_half", matmul_packed::half_cases),
    ("matmul_coop", matmul_packed::coop_cases),
    ("matmul_split", matmul_split::cases),
    ("matmul_join", matmul_split::join_cases),
    ("conv1d", conv1d::cases),
    ("window", window::cases),
    ("window_mask", window_mask::cases),
    ("path", path::cases),
    ("prefix", prefix::cases),
    ("ode_combine", ode_combine::cases),
    ("ode_control", ode_control::cases),
    ("ode_rows", ode_rows::rows),
    ("ode_latency", ode_rows::latency),
    ("pack_weights", pack_weights::cases),
    ("denormalize", denormalize::cases),
    ("sumsq", sumsq::cases),
    ("tick", tick::cases),
    ("adamw", adamw::cases),
    ("draw", draw::cases),
    ("time_embed", time_embed::cases),
    ("philox_raw", philox_raw::cases),
    ("unfold1d", unfold1d::cases),
    ("fold1d", fold1d::cases),
    ("unfold2d", unfold2d::cases),
    ("fold2d", fold2d::cases),
    ("max_pool2d", max_pool2d::cases),
    ("max_pool2d_grad", max_pool2d_grad::cases),
    ("group_norm", group_norm::cases),
    ("group_norm_grad", group_norm_grad::cases),
    ("pair_cost", pair_cost::cases),
    ("sinkhorn", sinkhorn::cases),
    ("pair_draw", pair_draw::cases),
    ("reorder", reorder::cases),
    ("geodesic", geodesic::cases),
    ("manifold_dot", manifold::dot_cases),
    ("manifold_exp", manifold::exp_cases),
];

/// Deterministic test values, roughly standard normal, exact in f32.
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
    (0..n)
        .map(|_| {
            let mut sum = 0.0f32;
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                sum += (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            }
            sum * 1.7
        })
        .collect()
}

/// Reads element (i, j) of a view, in f64.
pub fn at(buffer: &[f32], view: &View, i: usize, j: usize) -> f64 {
    f64::from(buffer[view.at(i, j)])
}

/// Shapes for kernels that work along rows: every tile, many narrow rows, a row longer than a workgroup twice over.
pub const ROWS: [[usize; 2]; 12] = [
    [1, 1],
    [7, 1],
    [65, 7],
    [131, 12],
    [9, 13],
    [1, 31],
    [31, 33],
    [33, 65],
    [7, 257],
    [3, 512],
    [3, 513],
    [2, 1031],
];

/// How a test operand lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Adjacent rows after an offset.
    Dense,
    /// Rows with gaps between them.
    Gaps,
    /// One row for all.
    Row,
    /// One element per row.
    Column,
    /// One element for all.
    Single,
    /// Every row three times, the first five rows over and over.
    Repeated,
}

/// Every way.
pub const OPERANDS: [Operand; 6] =
    [Operand::Dense, Operand::Gaps, Operand::Row, Operand::Column, Operand::Single, Operand::Repeated];

/// Buffer number `n` of a case.
pub const fn id(n: u32) -> BufferId {
    BufferId(n)
}

/// A buffer with test values and a view of it as a matrix of this shape.
pub fn operand(kind: Operand, [rows, cols]: [usize; 2], seed: u64) -> (Vec<f32>, View) {
    let view = match kind {
        Operand::Dense => View::dense(3, cols),
        Operand::Gaps => View::strided(1, cols + 3),
        Operand::Row => View { row_stride: 0, ..View::dense(2, cols) },
        Operand::Column => View { row_stride: 2, col_stride: 0, ..View::dense(1, 1) },
        Operand::Single => View { row_stride: 0, col_stride: 0, ..View::dense(4, 1) },
        Operand::Repeated => View { row_div: 3, row_mod: 5, ..View::dense(0, cols) },
    };
    let end = (0..rows).map(|i| view.at(i, cols.max(1) - 1)).max().unwrap_or(0) + 1;
    (values(end, seed), view)
}

/// A plain-row view of an output of this shape, dense or with gaps, and what its buffer must hold afterwards.
pub fn output(
    [rows, cols]: [usize; 2],
    form: usize,
    value: impl Fn(usize, usize) -> f64,
) -> (View, Vec<f64>) {
    let view = if form.is_multiple_of(2) { View::dense(1, cols) } else { View::strided(2, cols + 2) };
    let mut want = vec![f64::NAN; view.at(rows - 1, cols - 1) + 2];
    for i in 0..rows {
        for j in 0..cols {
            want[view.at(i, j)] = value(i, j);
        }
    }
    (view, want)
}

/// Six triples of indices below n: each index in each place at least once for n = 6.
pub fn spread(n: usize, start: usize) -> impl Iterator<Item = [usize; 3]> {
    (0..n).map(move |k| [k, (2 * k + start) % n, (k + start / 2) % n])
}
