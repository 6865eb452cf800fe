//! `rope`: rotary position embedding of the columns of every head.

use super::attention::{Place, place};
use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::rowwise::whole_rows;
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    heads: u32,
    dim: u32,
    tokens: u32,
    x: [u32; 2],
    y: [u32; 2],
    direction: f32,
    pad: [u32; 3],
}

const VARIANT: &Variant = &variant::rope::ONLY;

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "rope",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[VARIANT],
    twin,
    cost,
};
const _: () = assert!(VARIANT.workgroup[0] == 64 && VARIANT.params_bytes as usize == size_of::<Params>());

/// The angles of `tokens` positions for heads of `dim` (even) columns, [tokens, dim]: the cosines of position * base^(-2 c /
/// dim) for c < dim / 2, then the sines.
pub fn table(tokens: usize, dim: usize, base: f64) -> Vec<f32> {
    let half = dim / 2;
    let angle = |i: usize, c: usize| i as f64 * base.powf(-2.0 * c as f64 / dim as f64);
    let row = |i| (0..dim).map(move |c| if c < half { angle(i, c).cos() } else { angle(i, c - half).sin() });
    (0..tokens).flat_map(row).map(|v| v as f32).collect()
}

/// The heads of x [rows, heads * dim] turned (`back`: the other way, which is the transpose) by the angles of `table`, a buffer
/// with what [`table`] gives; row r has position r % tokens.
pub fn command(
    [rows, heads, dim, tokens]: [usize; 4],
    back: bool,
    x: Place,
    table: BufferId,
    y: Place,
) -> Command {
    let params = Params {
        rows: rows as u32,
        heads: heads as u32,
        dim: dim as u32,
        tokens: tokens as u32,
        x: place(&x.1),
        y: place(&y.1),
        direction: if back { -1.0 } else { 1.0 },
        pad: [0; 3],
    };
    Command::new(&KERNEL, VARIANT, &params, &[x.0, table, y.0], fold(rows * heads * (dim / 2), 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, (p.heads * p.dim) as usize];
    let table = Span::dense(0, (p.tokens.min(p.rows) * p.dim) as usize);
    let cost = Cost::new(3 * shape[0] * shape[1]).reads(0, Span::rows(p.x, shape)).reads(1, table);
    cost.writes(2, Span::rows(p.y, shape))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, table, y] = args else { unreachable!("rope has three bindings") };
    let (x, table, y) = (x.read(), table.read(), &mut y.write()[p.y[0] as usize..]);
    let (rows, dim, tokens) = (p.rows as usize, p.dim as usize, p.tokens as usize);
    let cols = p.heads as usize * dim;
    whole_rows(cx, y, p.y[1] as usize, [rows, cols], 4 * rows * cols, |i, y| {
        let x = &x[p.x[0] as usize + i * p.x[1] as usize..][..cols];
        let (cosines, sines) = table[i % tokens * dim..][..dim].split_at(dim / 2);
        line(p.direction, x, cosines, sines, y);
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(direction: f32, x: &[f32], cosines: &[f32], sines: &[f32], y: &mut [f32]) {
    let half = cosines.len();
    for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
        let ((low, high), (y_low, y_high)) = (x.split_at(half), y.split_at_mut(half));
        for c in 0..half {
            let sine = direction * sines[c];
            y_low[c] = low[c] * cosines[c] - high[c] * sine;
            y_high[c] = high[c] * cosines[c] + low[c] * sine;
        }
    }
}
