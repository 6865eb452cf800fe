//! `time_embed`: sines and cosines of a time, or their derivatives by it, and the frequencies that the field uses.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::math::sin_cos;
use super::rowwise::whole_rows;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;
use serde::{Deserialize, Serialize};

/// How a time in [0, 1] becomes a vector of `dim` elements: dim / 2 sines, then as many cosines.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TimeEmbedding {
    /// Frequencies that fall geometrically from `scale` to `scale / max_period`, both included (diffusion policy's
    /// positional embedding of the step index, `scale` being the largest index).
    Sinusoidal {
        /// Elements of the vector; even.
        dim: usize,
        /// Steps per unit of time.
        scale: f64,
        /// Ratio of the highest frequency to the lowest.
        max_period: f64,
    },
    /// Periods that grow geometrically from `min_period` to `max_period` units of time, both included (openpi).
    Period {
        /// Elements of the vector; even.
        dim: usize,
        /// Shortest period.
        min_period: f64,
        /// Longest period.
        max_period: f64,
    },
}

impl TimeEmbedding {
    /// Elements of the vector.
    pub const fn dim(&self) -> usize {
        match self {
            TimeEmbedding::Sinusoidal { dim, .. } | TimeEmbedding::Period { dim, .. } => *dim,
        }
    }
}

/// The dim / 2 frequencies of an embedding, in radians per unit of time, computed in f64.
pub fn frequencies(kind: TimeEmbedding) -> Vec<f32> {
    let half = kind.dim() / 2;
    (0..half)
        .map(|i| {
            let part = i as f64 / half.saturating_sub(1).max(1) as f64;
            let frequency = match kind {
                TimeEmbedding::Sinusoidal { scale, max_period, .. } => scale * max_period.powf(-part),
                TimeEmbedding::Period { min_period, max_period, .. } => {
                    std::f64::consts::TAU / (min_period * (max_period / min_period).powf(part))
                }
            };
            frequency as f32
        })
        .collect()
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    half: u32,
    order: u32,
    freq_offset: u32,
    t: View,
    y: View,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "time_embed",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::time_embed::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::time_embed::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::time_embed::ONLY.workgroup[0] == 64);

/// The `order`-th derivative by t of [sin(t freq) | cos(t freq)]: t is [rows, 1], `freq` names the first of `half`
/// frequencies, y is [rows, 2 half].
pub fn command(
    [rows, half]: [usize; 2],
    order: u32,
    (t, t_view): (BufferId, View),
    (freq, freq_offset): (BufferId, usize),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params {
        rows: rows as u32,
        half: half as u32,
        order,
        freq_offset: freq_offset as u32,
        t: t_view,
        y: y_view,
    };
    Command::new(&KERNEL, &variant::time_embed::ONLY, &params, &[t, freq, y], fold(rows * half, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, half) = (p.rows as usize, p.half as usize);
    let cost = Cost::new(3 * rows * half).reads(0, Span::view(&p.t, [rows, 1]));
    cost.reads(1, Span::dense(p.freq_offset, half)).writes(2, Span::view(&p.y, [rows, 2 * half]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [t, freq, y] = args else { unreachable!("time_embed has three bindings") };
    let (rows, half) = (p.rows as usize, p.half as usize);
    let (t, freq) = (t.read(), &freq.read()[p.freq_offset as usize..][..half]);
    let y = &mut y.write()[p.y.offset as usize..];
    whole_rows(cx, y, p.y.row_stride as usize, [rows, 2 * half], 16 * rows * half, |i, y| {
        line(p.order, t[p.t.row(i)], freq, y);
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(order: u32, t: f32, freq: &[f32], y: &mut [f32]) {
    let (sines, cosines) = y.split_at_mut(freq.len());
    let pairs = sines.iter_mut().zip(cosines).zip(freq);
    // Each order is a quarter turn, exact: (sin, cos) becomes (cos, -sin).
    match order {
        0 => pairs.for_each(|((s, c), f)| (*s, *c) = sin_cos(t * f)),
        1 => pairs.for_each(|((s, c), f)| {
            let (sin, cos) = sin_cos(t * f);
            (*s, *c) = (f * cos, -f * sin);
        }),
        _ => pairs.for_each(|((s, c), f)| {
            (*s, *c) = sin_cos(t * f);
            for _ in 0..order {
                (*s, *c) = (f * *c, -f * *s);
            }
        }),
    }
}

#[cfg(test)]
mod tests;
