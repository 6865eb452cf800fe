//! Kernels: one file each, holding the parameter struct, the bindings, the grid and the CPU twin of a
//! WGSL file of the same name under `shaders/`.
//!
//! A kernel is plain data ([`Kernel`]); a [`Command`] is one call of it: parameters, buffers, grid. Both
//! executors run the same commands: the GPU through the WGSL variant, the CPU through the twin.

pub mod adamw;
pub mod attention;
pub mod attention_grad_kv;
pub mod attention_grad_q;
pub mod attention_jvp;
pub mod attention_ways;
pub mod binary;
pub mod call;
pub mod case;
pub mod col_sum;
pub mod copy;
pub mod cost;
pub mod denormalize;
pub mod draw;
pub mod fma;
pub mod fma_norm;
pub mod fold1d;
pub mod fold2d;
pub mod geodesic;
pub mod group_norm;
pub mod group_norm_grad;
mod lanes;
pub mod manifold;
pub mod manifold_dot;
pub mod manifold_exp;
pub mod map;
pub mod map_mul;
pub mod math;
pub mod matmul;
pub mod max_pool2d;
pub mod max_pool2d_grad;
pub mod mlp_grad;
pub mod mlp_grad_weights;
pub mod mlp_layers;
pub mod mlp_pack;
pub mod mse;
pub mod norm;
pub mod norm_grad;
pub mod ode_combine;
pub mod ode_control;
pub mod ode_latency;
pub mod ode_rows;
pub mod one_hot;
pub mod pack_weights;
pub mod pair_cost;
pub mod pair_draw;
pub mod parallel;
pub mod path;
pub mod philox;
pub mod philox_raw;
pub mod prefix;
pub mod reorder;
pub mod rope;
pub mod row_program;
pub mod row_sum;
mod rowwise;
pub mod sinkhorn;
pub mod softmax;
pub mod softmax_grad;
pub mod state;
pub mod sumsq;
pub mod target;
pub mod tick;
pub mod time_embed;
pub mod unfold1d;
pub mod unfold2d;
pub mod variant;
pub mod view;
pub mod window;
pub mod window_mask;
pub mod windows2d;

pub use call::{Arg, BufferId, Command, TwinCx};
pub use cost::Cost;
pub use target::Target;
pub use variant::Variant;
pub use view::View;

use crate::device::Access;

/// What the engine knows of a kernel.
pub struct Kernel {
    /// Name; the WGSL file is `shaders/<name>.wgsl`, the twin lives in `src/kernel/<name>.rs`.
    pub name: &'static str,
    /// Storage bindings 1, 2, ... in order.
    pub access: &'static [Access],
    /// Size of the parameter struct in bytes.
    pub params_bytes: usize,
    /// Every WGSL variant.
    pub variants: &'static [&'static Variant],
    /// The CPU twin: parameters as words, one argument per binding.
    pub twin: fn(&[u32], &mut [Arg<'_>], &TwinCx<'_>),
    /// The least that a call costs, from its parameters as words.
    pub cost: fn(&[u32]) -> Cost,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every kernel of the engine: to add one, add its file and its line here.
pub static KERNELS: &[&Kernel] = &[
    &binary::KERNEL,
    &map::KERNEL,
    &map_mul::KERNEL,
    &fma::KERNEL,
    &fma_norm::KERNEL,
    &copy::KERNEL,
    &col_sum::KERNEL,
    &row_sum::KERNEL,
    &norm::KERNEL,
    &norm_grad::KERNEL,
    &softmax::KERNEL,
    &one_hot::KERNEL,
    &softmax_grad::KERNEL,
    &attention::KERNEL,
    &attention_grad_q::KERNEL,
    &attention_grad_kv::KERNEL,
    &attention_jvp::KERNEL,
    &rope::KERNEL,
    &mse::KERNEL,
    &mlp_pack::KERNEL,
    &mlp_grad::KERNEL,
    &mlp_grad_weights::KERNEL,
    &matmul::KERNEL,
    &matmul::MATVEC,
    &matmul::SOFT,
    &matmul::PACKED,
    &matmul::HALF,
    &matmul::SPLIT,
    &matmul::JOIN,
    &matmul::COOP,
    &matmul::CONV1D,
    &draw::KERNEL,
    &window::KERNEL,
    &window_mask::KERNEL,
    &path::KERNEL,
    &prefix::KERNEL,
    &ode_combine::KERNEL,
    &ode_control::KERNEL,
    &ode_rows::KERNEL,
    &ode_latency::KERNEL,
    &pack_weights::KERNEL,
    &denormalize::KERNEL,
    &sumsq::KERNEL,
    &tick::KERNEL,
    &adamw::KERNEL,
    &time_embed::KERNEL,
    &philox_raw::KERNEL,
    &unfold1d::KERNEL,
    &fold1d::KERNEL,
    &unfold2d::KERNEL,
    &fold2d::KERNEL,
    &max_pool2d::KERNEL,
    &max_pool2d_grad::KERNEL,
    &group_norm::KERNEL,
    &group_norm_grad::KERNEL,
    &pair_cost::KERNEL,
    &sinkhorn::KERNEL,
    &pair_draw::KERNEL,
    &reorder::KERNEL,
    &geodesic::KERNEL,
    &manifold_dot::KERNEL,
    &manifold_exp::KERNEL,
];
