//! `prefix`: training samples that begin with actions that are already decided: clean, at time 1, and without a loss.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::parallel::{for_each, rows_per_task};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    horizon: u32,
    dim: u32,
    weight: f32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "prefix",
    access: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::ReadWrite,
        Access::ReadWrite,
        Access::Write,
        Access::Write,
    ],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::prefix::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::prefix::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::prefix::ONLY.workgroup[0] == 64);

/// The buffers of a call, all dense at offset 0.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Decided actions of each sample, u32 words \[rows\].
    pub delay: BufferId,
    /// Time of each sample, \[rows\].
    pub t: BufferId,
    /// The data, [rows, horizon, dim].
    pub x1: BufferId,
    /// The points on the paths, [rows, horizon, dim]: decided actions become those of the data.
    pub xt: BufferId,
    /// The target velocities, [rows, horizon, dim]: 0 where decided, times the weight elsewhere.
    pub ut: BufferId,
    /// The time of every action, [rows, horizon]: 1 where decided.
    pub times: BufferId,
    /// 0 where decided, the weight elsewhere, [rows, horizon, dim].
    pub mask: BufferId,
}

/// Decides the first `delay` actions of every sample. With a loss mean (mask v - ut)², the rest counts `weight`² each.
pub fn command([rows, horizon, dim]: [usize; 3], weight: f32, b: &Buffers) -> Command {
    let params = Params { rows: rows as u32, horizon: horizon as u32, dim: dim as u32, weight };
    let args = [b.delay, b.t, b.x1, b.xt, b.ut, b.times, b.mask];
    Command::new(&KERNEL, &variant::prefix::ONLY, &params, &args, fold(rows * horizon * dim, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, actions) = (p.rows as usize, (p.rows * p.horizon) as usize);
    let all = Span::dense(0, actions * p.dim as usize);
    // How many actions are decided, and so taken from x1 into xt, the parameters do not say: none count.
    let cost = Cost::new(all.elements()).reads(0, Span::dense(0, rows)).reads(1, Span::dense(0, rows));
    let cost = cost.reads(2, Span::scattered(0)).reads(4, all).writes(4, all);
    cost.writes(5, Span::dense(0, actions)).writes(6, all)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [delay, t, x1, xt, ut, times, mask] = args else { unreachable!("prefix has seven bindings") };
    let (delay, t, x1) = (delay.read_u32(), t.read(), x1.read());
    let (rows, horizon, dim) = (p.rows as usize, p.horizon as usize, p.dim as usize);
    let chunk = horizon * dim;
    if rows * chunk == 0 {
        return;
    }
    let per = rows_per_task(cx, rows, 4 * rows * chunk);
    let tasks = xt.write()[..rows * chunk]
        .chunks_mut(per * chunk)
        .zip(ut.write()[..rows * chunk].chunks_mut(per * chunk))
        .zip(times.write()[..rows * horizon].chunks_mut(per * horizon))
        .zip(mask.write()[..rows * chunk].chunks_mut(per * chunk));
    for_each(cx, tasks, |task, (((xt, ut), times), mask)| {
        for r in 0..times.len() / horizon {
            let row = task * per + r;
            let decided = (delay[row] as usize).min(horizon);
            let (span, split) = (r * chunk..(r + 1) * chunk, decided * dim);
            xt[span.clone()][..split].copy_from_slice(&x1[row * chunk..][..split]);
            let (given, free) = ut[span.clone()].split_at_mut(split);
            given.fill(0.0);
            free.iter_mut().for_each(|u| *u *= p.weight);
            let (given, free) = mask[span].split_at_mut(split);
            given.fill(0.0);
            free.fill(p.weight);
            let (given, free) = times[r * horizon..(r + 1) * horizon].split_at_mut(decided);
            given.fill(1.0);
            free.fill(t[row]);
        }
    });
}
