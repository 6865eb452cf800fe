//! `adamw`: PyTorch's AdamW on one flat buffer, fused with the clip factor and the exponential moving average.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::parallel::{for_each, rows_per_task};
use super::state::State;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWParams {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, per unit of learning rate.
    pub weight_decay: f64,
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    n: u32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    eps: f32,
    weight_decay: f32,
    offset: u32,
    pad: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "adamw",
    access: &[
        Access::ReadWrite,
        Access::Read,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::Read,
    ],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::adamw::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::adamw::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::adamw::ONLY.workgroup[0] == 256);

/// One update of the weights p\[offset..offset + n\] by the gradient `g` with moments `m`, `v` and average `ema`, which lie likewise. Learning rate, clip factor, bias corrections and decay are those that `tick` left in `state`; a clip
/// factor of 0 (a non-finite gradient) leaves everything as it was.
pub fn command(
    constants: &AdamWParams,
    (offset, n): (usize, usize),
    [p, g, m, v, ema]: [BufferId; 5],
    state: BufferId,
) -> Command {
    let params = Params {
        n: n as u32,
        rest1: (1.0 - constants.beta1) as f32,
        beta2: constants.beta2 as f32,
        rest2: (1.0 - constants.beta2) as f32,
        eps: constants.eps as f32,
        weight_decay: constants.weight_decay as f32,
        offset: offset as u32,
        pad: 0,
    };
    Command::new(&KERNEL, &variant::adamw::ONLY, &params, &[p, g, m, v, ema, state], fold(n, 256))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (all, state) = (Span::dense(p.offset, p.n as usize), Span::dense(0, super::state::WORDS));
    let cost = (0..5).fold(Cost::new(18 * p.n as usize).reads(5, state), |cost, b| cost.reads(b, all));
    [0, 2, 3, 4].into_iter().fold(cost, |cost, b| cost.writes(b, all))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let params: &Params = params(words);
    let [p, g, m, v, ema, state] = args else { unreachable!("adamw has six bindings") };
    let state = State::from_words(state.read());
    let n = params.n as usize;
    if state.clip == 0.0 || n == 0 {
        return;
    }
    // Small blocks keep the five streams in cache-friendly step; every block is independent.
    let per = rows_per_task(cx, n, 12 * n);
    let from = params.offset as usize;
    let part = from..from + n;
    let tasks = p.write()[part.clone()]
        .chunks_mut(per)
        .zip(g.read()[part.clone()].chunks(per))
        .zip(m.write()[part.clone()].chunks_mut(per))
        .zip(v.write()[part.clone()].chunks_mut(per))
        .zip(ema.write()[part].chunks_mut(per));
    for_each(cx, tasks, |_, ((((p, g), m), v), ema)| update(params, &state, p, g, m, v, ema));
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn update(
    params: &Params,
    state: &State,
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    ema: &mut [f32],
) {
    let keep = 1.0 - state.lr * params.weight_decay;
    let step = state.lr / state.bias1;
    let root = 1.0 / state.bias2.sqrt();
    let rest = 1.0 - state.ema_decay;
    let (rest1, beta2, rest2, eps, clip) = (params.rest1, params.beta2, params.rest2, params.eps, state.clip);
    for ((((p, g), m), v), ema) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()).zip(ema.iter_mut())
    {
        let g = g * clip;
        *m += (g - *m) * rest1;
        *v = *v * beta2 + rest2 * g * g;
        let denominator = v.sqrt() * root + eps;
        *p = *p * keep - step * *m / denominator;
        *ema += (*p - *ema) * rest;
    }
}
