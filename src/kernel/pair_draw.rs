//! `pair_draw`: a column for every row of a transport plan that is given by its potentials.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::math::exp;
use super::philox::{counter, key, uniform_block};
use super::rowwise::{tile, tile_agrees};
use super::state::State;
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    scale: f32,
    stream: u32,
}

const VARIANTS: [&Variant; 3] =
    [&variant::pair_draw::THIN, &variant::pair_draw::NARROW, &variant::pair_draw::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "pair_draw",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y\[i\] (u32) = a column drawn with probability proportional to exp(u\[i\] + v\[j\] - scale cost[i, j]), by inverting the sum
/// over the columns at element i of the uniforms of (state's seed, stream, state's step). cost \[rows, cols\] dense, u
/// \[rows\], v \[cols\]: potentials in units of 1 / scale. The exponents must stay below 88: after an update of u by
/// `sinkhorn` they are at most about 0. Near the edge of a column's part two devices may draw neighbours.
pub fn command(
    [rows, cols]: [usize; 2],
    scale: f32,
    stream: u32,
    cost: BufferId,
    [u, v]: [BufferId; 2],
    state: BufferId,
    y: BufferId,
) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32, scale, stream };
    let variant = tile(cols, VARIANTS);
    let args = [cost, u, v, state, y];
    Command::new(&KERNEL, variant, &params, &args, fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let cost =
        Cost::new(5 * rows * cols).reads(0, Span::dense(0, rows * cols)).reads(1, Span::dense(0, rows));
    let cost = cost.reads(2, Span::dense(0, cols)).reads(3, Span::dense(0, super::draw::KEY));
    cost.writes(4, Span::dense(0, rows))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [cost, u, v, state, y] = args else { unreachable!("pair_draw has five bindings") };
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let (cost, u, v, state) = (cost.read(), u.read(), &v.read()[..cols], State::from_words(state.read()));
    let key = key(state.seed(), p.stream);
    cx.rows(&mut y.write()[..rows], 1, rows, 8 * rows * cols, |first, y| {
        for (i, y) in (first..).zip(y) {
            let uniform = uniform_block(counter(i as u64 / 4, state.step()), key)[i % 4];
            let column = column(&cost[i * cols..(i + 1) * cols], u[i], v, p.scale, uniform);
            *y = f32::from_bits(column as u32);
        }
    });
}

/// The first column at which the running sum exceeds `uniform` times the whole; the last if none does.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn column(cost: &[f32], u: f32, v: &[f32], scale: f32, uniform: f32) -> usize {
    const BLOCK: usize = 64;
    let block = |at: usize| {
        let mut weights = [0.0f32; BLOCK];
        let cost = cost[at..].iter().take(BLOCK);
        for ((w, c), v) in weights.iter_mut().zip(cost).zip(&v[at..]) {
            *w = exp(u + v - scale * c);
        }
        weights
    };
    let total: f32 = (0..cost.len()).step_by(BLOCK).map(|at| block(at).iter().sum::<f32>()).sum();
    let goal = uniform * total;
    let mut running = 0.0;
    for at in (0..cost.len()).step_by(BLOCK) {
        for (j, w) in block(at).iter().take(cost.len() - at).enumerate() {
            running += w;
            if goal < running {
                return at + j;
            }
        }
    }
    cost.len().saturating_sub(1)
}
