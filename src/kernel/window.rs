//! `window`: gathers a batch of training windows from the raw recordings and normalises them, observations within a clip.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::math::limit;
use super::parallel::{for_each, rows_per_task};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// The shape of a batch of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowShape {
    /// Windows per batch.
    pub batch: usize,
    /// Observations per window, oldest first.
    pub history: usize,
    /// Numbers per observation (O).
    pub obs_dim: usize,
    /// Actions per window (H).
    pub horizon: usize,
    /// Numbers per action (A).
    pub action_dim: usize,
    /// Row of the first action relative to the newest observation's (0: the action taken at that observation).
    pub action_offset: i32,
}

impl WindowShape {
    fn params(&self) -> Params {
        Params {
            batch: self.batch as u32,
            history: self.history as u32,
            obs_dim: self.obs_dim as u32,
            horizon: self.horizon as u32,
            action_dim: self.action_dim as u32,
            action_offset: self.action_offset,
        }
    }
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    batch: u32,
    history: u32,
    obs_dim: u32,
    horizon: u32,
    action_dim: u32,
    action_offset: i32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "window",
    access: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Write,
        Access::Write,
    ],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::window::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::window::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::window::ONLY.workgroup[0] == 64);

/// The normaliser as the kernels read it: normalised = (x - offset) scale. Layout: observation offsets \[O\] and
/// scales \[O\], action offsets \[H A\] and scales \[H A\], per action dimension \[A\] the observation dimension that the
/// raw action is taken relative to, or -1, and the largest |normalised observation| \[O\], or -1 where `obs_clip` is empty.
pub fn affine(
    [obs_offset, obs_scale, obs_clip]: [&[f32]; 3],
    [act_offset, act_scale]: [&[f32]; 2],
    relative: &[Option<usize>],
) -> Vec<f32> {
    let relative: Vec<f32> = relative.iter().map(|d| d.map_or(-1.0, |d| d as f32)).collect();
    let clip = if obs_clip.is_empty() { vec![-1.0; obs_offset.len()] } else { obs_clip.to_vec() };
    [obs_offset, obs_scale, act_offset, act_scale, &relative, &clip].concat()
}

/// The parts of an affine buffer (see [`affine`]).
pub(super) struct Affine<'a> {
    pub obs_offset: &'a [f32],
    pub obs_scale: &'a [f32],
    pub act_offset: &'a [f32],
    pub act_scale: &'a [f32],
    pub relative: &'a [f32],
    pub obs_clip: &'a [f32],
}

impl<'a> Affine<'a> {
    pub fn split(words: &'a [f32], obs_dim: usize, horizon: usize, action_dim: usize) -> Affine<'a> {
        let (obs_offset, rest) = words.split_at(obs_dim);
        let (obs_scale, rest) = rest.split_at(obs_dim);
        let (act_offset, rest) = rest.split_at(horizon * action_dim);
        let (act_scale, rest) = rest.split_at(horizon * action_dim);
        let (relative, rest) = rest.split_at(action_dim);
        Affine { obs_offset, obs_scale, act_offset, act_scale, relative, obs_clip: &rest[..obs_dim] }
    }

    /// The value of the observation dimension that action dimension `a` is relative to, in the raw observation; else 0.
    #[inline]
    pub fn anchor(&self, a: usize, observation: &[f32]) -> f32 {
        let dim = self.relative[a];
        if dim < 0.0 || observation.is_empty() {
            return 0.0;
        }
        observation[(dim as usize).min(observation.len() - 1)]
    }
}

/// y_obs \[batch, history O\] and y_action \[batch, H A\], normalised, from the raw rows `obs` \[T, O\] and `action` \[T, A\].
/// `index` \[batch\] (u32) names windows; `table` \[W, 3\] (u32) holds for each the row of the newest observation and the
/// first and last row (inclusive) of its episode: rows outside the episode repeat the nearest one inside.
/// `affine` as laid out by [`affine`]. Window numbers and rows past the buffers' ends are clamped.
#[allow(clippy::too_many_arguments)]
pub fn command(
    shape: &WindowShape,
    index: BufferId,
    table: BufferId,
    obs: BufferId,
    action: BufferId,
    affine: BufferId,
    y_obs: BufferId,
    y_action: BufferId,
) -> Command {
    let params = shape.params();
    let items = shape.batch * (shape.history * shape.obs_dim + shape.horizon * shape.action_dim);
    let args = [index, table, obs, action, affine, y_obs, y_action];
    Command::new(&KERNEL, &variant::window::ONLY, &params, &args, fold(items, 64))
}

/// The twin on slices, on this thread: for hosts that need a batch themselves. Arguments as of [`command`]: the sources are
/// `obs`, `action` and `affine`.
///
/// # Panics
/// If a slice is shorter than its shape says.
pub fn fill(
    shape: &WindowShape,
    index: &[u32],
    table: &[u32],
    [obs, action, affine]: [&[f32]; 3],
    y_obs: &mut [f32],
    y_action: &mut [f32],
) {
    let mut args = [
        Arg::Read(bytemuck::cast_slice(index)),
        Arg::Read(bytemuck::cast_slice(table)),
        Arg::Read(obs),
        Arg::Read(action),
        Arg::Read(affine),
        Arg::Write(y_obs),
        Arg::Write(y_action),
    ];
    twin(bytemuck::cast_slice(std::slice::from_ref(&shape.params())), &mut args, &TwinCx::SERIAL);
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let batch = p.batch as usize;
    let (wide, tall) = ((p.history * p.obs_dim) as usize, (p.horizon * p.action_dim) as usize);
    let affine = Span::dense(0, 3 * p.obs_dim as usize + 2 * tall + p.action_dim as usize);
    // Which windows they are, data says; the same row may be in several.
    let cost = Cost::new(2 * batch * (wide + tall)).reads(0, Span::dense(0, batch));
    let cost = cost.reads(1, Span::scattered(3 * batch)).reads(2, Span::scattered(batch * wide));
    let cost = cost.reads(3, Span::scattered(batch * tall)).reads(4, affine);
    cost.writes(5, Span::dense(0, batch * wide)).writes(6, Span::dense(0, batch * tall))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [index, table, obs, action, affine, y_obs, y_action] = args else {
        unreachable!("window has seven bindings")
    };
    let (index, table, obs, action) = (index.read_u32(), table.read_u32(), obs.read(), action.read());
    let (batch, history, horizon) = (p.batch as usize, p.history as usize, p.horizon as usize);
    let (o, a) = (p.obs_dim as usize, p.action_dim as usize);
    let affine = Affine::split(affine.read(), o, horizon, a);
    let (wide, tall) = (history * o, horizon * a);
    let windows = table.len() / 3;
    if windows == 0 {
        return;
    }
    let per = rows_per_task(cx, batch, 4 * batch * (wide + tall));
    let (mut left_obs, mut left_action) = (y_obs.write(), y_action.write());
    let tasks = (0..batch).step_by(per).map(|from| {
        let rows = per.min(batch - from);
        let (y_obs, rest_obs) = std::mem::take(&mut left_obs).split_at_mut(rows * wide);
        let (y_action, rest_action) = std::mem::take(&mut left_action).split_at_mut(rows * tall);
        (left_obs, left_action) = (rest_obs, rest_action);
        (rows, y_obs, y_action)
    });
    for_each(cx, tasks, |task, (rows, y_obs, y_action): (usize, &mut [f32], &mut [f32])| {
        for r in 0..rows {
            let y_obs = &mut y_obs[r * wide..(r + 1) * wide];
            let y_action = &mut y_action[r * tall..(r + 1) * tall];
            let window = (index[task * per + r] as usize).min(windows - 1);
            let [newest, first, last] = [0, 1, 2].map(|w| i64::from(table[3 * window + w]));
            let row = |at: i64, width: usize, rows: &'_ [f32]| -> std::ops::Range<usize> {
                let row =
                    (at.min(last).max(first) as usize).min((rows.len() / width.max(1)).saturating_sub(1));
                row * width..(row + 1) * width
            };
            for (h, y) in y_obs.chunks_mut(o.max(1)).enumerate() {
                let from = &obs[row(newest - (history - 1 - h) as i64, o, obs)];
                normalise(from, affine.obs_offset, affine.obs_scale, y);
                clip(affine.obs_clip, y);
            }
            let anchor = &obs[row(newest, o, obs)];
            for (h, y) in y_action.chunks_mut(a.max(1)).enumerate() {
                let from = &action[row(newest + i64::from(p.action_offset) + h as i64, a, action)];
                let span = h * a..(h + 1) * a;
                let (offset, scale) = (&affine.act_offset[span.clone()], &affine.act_scale[span]);
                for (d, y) in y.iter_mut().enumerate() {
                    *y = (from[d] - affine.anchor(d, anchor) - offset[d]) * scale[d];
                }
            }
        }
    });
}

#[inline]
fn clip(most: &[f32], y: &mut [f32]) {
    for (y, most) in y.iter_mut().zip(most).filter(|(_, most)| **most >= 0.0) {
        *y = limit(*y, -most, *most);
    }
}

#[inline]
fn normalise(x: &[f32], offset: &[f32], scale: &[f32], y: &mut [f32]) {
    for (((y, x), offset), scale) in y.iter_mut().zip(x).zip(offset).zip(scale) {
        *y = (x - offset) * scale;
    }
}
