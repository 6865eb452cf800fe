//! `denormalize`: sampled actions from the model's space to physical units, counting what is not finite.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::state::NON_FINITE;
use super::window::Affine;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use std::sync::atomic::{AtomicU32, Ordering};

/// The shape of a batch of sampled action chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenormShape {
    /// Chunks.
    pub rows: usize,
    /// Consecutive chunks that belong to one observation (at least 1).
    pub samples_per_obs: usize,
    /// Actions per chunk (H).
    pub horizon: usize,
    /// Numbers per action (A).
    pub action_dim: usize,
    /// Observations per history, oldest first.
    pub history: usize,
    /// Numbers per observation (O).
    pub obs_dim: usize,
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    samples_per_obs: u32,
    horizon: u32,
    action_dim: u32,
    history: u32,
    obs_dim: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "denormalize",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write, Access::ReadWrite],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::denormalize::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::denormalize::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::denormalize::ONLY.workgroup[0] == 64);

/// y = x / scale + offset + anchor over \[rows, H A\], without the first term where the scale is 0; the anchor of a relative action dimension is the newest raw
/// observation's value. `affine` as laid out by [`super::window::affine`]; `obs` is raw, \[rows / samples_per_obs (up),
/// history, O\]. Adds the number of non-finite outputs to the state's count.
pub fn command(
    shape: &DenormShape,
    x: BufferId,
    affine: BufferId,
    obs: BufferId,
    y: BufferId,
    state: BufferId,
) -> Command {
    let params = Params {
        rows: shape.rows as u32,
        samples_per_obs: shape.samples_per_obs.max(1) as u32,
        horizon: shape.horizon as u32,
        action_dim: shape.action_dim as u32,
        history: shape.history as u32,
        obs_dim: shape.obs_dim as u32,
    };
    let grid = fold(shape.rows * shape.horizon * shape.action_dim, 64);
    Command::new(&KERNEL, &variant::denormalize::ONLY, &params, &[x, affine, obs, y, state], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let tall = (p.horizon * p.action_dim) as usize;
    let n = p.rows as usize * tall;
    // The observation is read for relative dimensions alone; which those are the parameters do not say.
    let cost = Cost::new(3 * n).reads(0, Span::dense(0, n)).reads(2, Span::scattered(0));
    let affine = Span::dense(2 * p.obs_dim, 2 * tall + p.action_dim as usize);
    let count = Span::dense(NON_FINITE as u32, 1);
    cost.reads(1, affine).reads(4, count).writes(3, Span::dense(0, n)).writes(4, count)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, affine, obs, y, state] = args else { unreachable!("denormalize has five bindings") };
    let (x, obs, y) = (x.read(), obs.read(), y.write());
    let (rows, horizon, a) = (p.rows as usize, p.horizon as usize, p.action_dim as usize);
    let (history, o) = (p.history as usize, p.obs_dim as usize);
    let affine = Affine::split(affine.read(), o, horizon, a);
    let tall = horizon * a;
    if rows * tall == 0 {
        return;
    }
    let bad = AtomicU32::new(0);
    cx.rows(y, tall, rows, 10 * rows * tall, |first, y| {
        let mut count = 0;
        for (r, y) in y.chunks_mut(tall).enumerate() {
            let i = first + r;
            let m = i / p.samples_per_obs as usize;
            let newest = if history * o == 0 { &[] } else { &obs[(m * history + history - 1) * o..][..o] };
            scale(&x[i * tall..(i + 1) * tall], affine.act_scale, affine.act_offset, y);
            for d in (0..a).filter(|d| affine.relative[*d] >= 0.0) {
                let anchor = affine.anchor(d, newest);
                y[d..].iter_mut().step_by(a).for_each(|y| *y += anchor);
            }
            count += y.iter().filter(|y| !y.is_finite()).count() as u32;
        }
        bad.fetch_add(count, Ordering::Relaxed);
    });
    let count = &mut state.write_u32()[NON_FINITE];
    *count = count.wrapping_add(bad.into_inner());
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn scale(x: &[f32], scale: &[f32], offset: &[f32], y: &mut [f32]) {
    for (((y, x), scale), offset) in y.iter_mut().zip(x).zip(scale).zip(offset) {
        let x = x / scale;
        *y = if *scale == 0.0 { *offset } else { x + offset };
    }
}
