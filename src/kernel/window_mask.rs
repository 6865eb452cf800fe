//! `window_mask`: what every action of a batch of training windows counts in the loss: nothing past its episode's end.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::parallel::{for_each, rows_per_task};
use super::window::WindowShape;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    batch: u32,
    horizon: u32,
    action_dim: u32,
    action_offset: i32,
    weight: f32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "window_mask",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::window_mask::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::window_mask::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::window_mask::ONLY.workgroup[0] == 64);

/// y \[batch, H A\]: `weight` where the action's row lies in the window's episode, else 0. `index` and `table` as of
/// [`window`](super::window::command).
pub fn command(shape: &WindowShape, weight: f32, index: BufferId, table: BufferId, y: BufferId) -> Command {
    let params = Params {
        batch: shape.batch as u32,
        horizon: shape.horizon as u32,
        action_dim: shape.action_dim as u32,
        action_offset: shape.action_offset,
        weight,
    };
    let items = shape.batch * shape.horizon * shape.action_dim;
    Command::new(&KERNEL, &variant::window_mask::ONLY, &params, &[index, table, y], fold(items, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (batch, tall) = (p.batch as usize, (p.horizon * p.action_dim) as usize);
    // Which windows they are, data says; the same may be there more than once.
    let cost = Cost::new(0).reads(0, Span::dense(0, batch)).reads(1, Span::scattered(3 * batch));
    cost.writes(2, Span::dense(0, batch * tall))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [index, table, y] = args else { unreachable!("window_mask has three bindings") };
    let (index, table) = (index.read_u32(), table.read_u32());
    let (batch, a) = (p.batch as usize, (p.action_dim as usize).max(1));
    let tall = p.horizon as usize * p.action_dim as usize;
    let windows = table.len() / 3;
    if windows == 0 || tall == 0 {
        return;
    }
    let per = rows_per_task(cx, batch, batch * tall);
    for_each(cx, y.write()[..batch * tall].chunks_mut(per * tall), |task, y| {
        for (r, y) in y.chunks_mut(tall).enumerate() {
            let window = (index[task * per + r] as usize).min(windows - 1);
            let [newest, first, last] = [0, 1, 2].map(|w| i64::from(table[3 * window + w]));
            for (h, y) in y.chunks_mut(a).enumerate() {
                let row = newest + i64::from(p.action_offset) + h as i64;
                y.fill(if (first..=last).contains(&row) { p.weight } else { 0.0 });
            }
        }
    });
}
