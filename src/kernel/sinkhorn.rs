//! `sinkhorn`: one update of a potential of entropic optimal transport, in the log domain (Cuturi 2013; Peyré and Cuturi 2019,
//! "Computational optimal transport", section 4.4).

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::math::{exp_neg, log};
use super::rowwise::{sum2, tile, tile_agrees};
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
    shift: f32,
}

const VARIANTS: [&Variant; 3] =
    [&variant::sinkhorn::THIN, &variant::sinkhorn::NARROW, &variant::sinkhorn::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "sinkhorn",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y\[i\] = shift - log sum over j of exp(v\[j\] - scale cost[i, j]); cost \[rows, cols\] dense, v \[cols\], y \[rows\].
/// `scale` is 1 / reg, `shift` the logarithm of a row's mass; potentials are in units of reg.
pub fn command(
    [rows, cols]: [usize; 2],
    scale: f32,
    shift: f32,
    cost: BufferId,
    v: BufferId,
    y: BufferId,
) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32, scale, shift };
    let variant = tile(cols, VARIANTS);
    Command::new(&KERNEL, variant, &params, &[cost, v, y], fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let cost = Cost::new(5 * rows * cols).reads(0, Span::dense(0, rows * cols));
    cost.reads(1, Span::dense(0, cols)).writes(2, Span::dense(0, rows))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [cost, v, y] = args else { unreachable!("sinkhorn has three bindings") };
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    let (cost, v) = (cost.read(), &v.read()[..cols]);
    cx.rows(&mut y.write()[..rows], 1, rows, 6 * rows * cols, |first, y| {
        for (cost, y) in cost[first * cols..].chunks(cols).zip(y) {
            *y = p.shift - log_sum_exp(cost, v, p.scale);
        }
    });
}

/// log sum of exp(v - scale cost).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn log_sum_exp(cost: &[f32], v: &[f32], scale: f32) -> f32 {
    const LANES: usize = 16;
    let mut tops = [f32::NEG_INFINITY; LANES];
    let ((costs, last), (potentials, rest)) = (cost.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    for (c, v) in costs.iter().zip(potentials) {
        for l in 0..LANES {
            let x = v[l] - scale * c[l];
            tops[l] = if x > tops[l] { x } else { tops[l] };
        }
    }
    for ((top, c), v) in tops.iter_mut().zip(last).zip(rest) {
        *top = top.max(v - scale * c);
    }
    let top = tops.into_iter().fold(f32::NEG_INFINITY, f32::max);
    top + log(sum2(cost, v, |c, v| exp_neg(top - (v - scale * c))))
}
