//! `reorder`: rows of a matrix in another order, which may be another one at every step.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::state::State;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    source: u32,
    turns: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "reorder",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::reorder::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::reorder::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::reorder::ONLY.workgroup[0] == 64);

/// y[i, :] = x[index[(step % turns) rows + i], :], step being the low word of the state's. `index` \[turns, rows\] (u32) holds
/// row numbers of x \[source, cols\] for each of `turns` steps (at least 1); larger numbers mean the last row. y
/// \[rows, cols\]; x and y are dense.
pub fn command(
    [rows, cols]: [usize; 2],
    source: usize,
    (index, turns): (BufferId, usize),
    state: BufferId,
    x: BufferId,
    y: BufferId,
) -> Command {
    let params =
        Params { rows: rows as u32, cols: cols as u32, source: source as u32, turns: turns.max(1) as u32 };
    let args = [index, state, x, y];
    Command::new(&KERNEL, &variant::reorder::ONLY, &params, &args, fold(rows * cols, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let cost = Cost::new(0).reads(0, Span::scattered(rows)).reads(1, Span::dense(0, super::draw::KEY));
    cost.reads(2, Span::scattered(rows * cols)).writes(3, Span::dense(0, rows * cols))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [index, state, x, y] = args else { unreachable!("reorder has four bindings") };
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let turn = (State::from_words(state.read()).step() as u32 % p.turns) as usize;
    let (index, x) = (&index.read_u32()[turn * rows..(turn + 1) * rows], x.read());
    cx.rows(&mut y.write()[..rows * cols], cols, rows, rows * cols, |first, y| {
        for (index, y) in index[first..].iter().zip(y.chunks_mut(cols)) {
            let row = (*index).min(p.source - 1) as usize;
            y.copy_from_slice(&x[row * cols..(row + 1) * cols]);
        }
    });
}
