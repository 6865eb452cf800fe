//! The two gradients of attention, tile by tile: the weights and slopes of a block of own rows (queries for dq, keys for
//! dk and dv) against all rows that they meet are computed once, and summed over.
#![allow(clippy::needless_range_loop)] // as in `tile`

use super::tile::{Meeting, OTHERS, OWN, Pairs, Rows, Tiles, WIDTH, pack, weighted};
use super::{CAUSAL, Params};
use crate::kernel::lanes::{self, Lanes};
use crate::kernel::math::exp;
use crate::kernel::rowwise::dot;
use multiversion::multiversion;
use multiversion::target::match_target;
use std::ops::Range;

/// The rows of a batch entry and head: queries with their results and cotangents, keys and values.
pub(in crate::kernel) struct Head<'a> {
    dim: usize,
    scale: f32,
    causal: bool,
    q_tokens: usize,
    k_tokens: usize,
    q: Rows<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    o: Rows<'a>,
    lse: Rows<'a>,
    d: Rows<'a>,
    d_lse: Rows<'a>,
}

impl<'a> Head<'a> {
    /// Head `h` of batch entry `b` of the queries; the operands are q, k, v, the result and its cotangent.
    pub(in crate::kernel) fn new(
        p: &Params,
        [q, k, v, y, d]: [&'a [f32]; 5],
        b: usize,
        h: usize,
    ) -> Head<'a> {
        let (q_tokens, k_tokens, dim) = (p.q_tokens as usize, p.k_tokens as usize, p.dim as usize);
        let (query, key) = (b * q_tokens, b / p.k_batch_div as usize * k_tokens);
        let last = p.width() + h;
        Head {
            dim,
            scale: p.scale,
            causal: p.has(CAUSAL),
            q_tokens,
            k_tokens,
            q: Rows::new(q, p.q, query, h * dim),
            k: Rows::new(k, p.k, key, h * dim),
            v: Rows::new(v, p.v, key, h * dim),
            o: Rows::new(y, p.y, query, h * dim),
            lse: Rows::new(y, p.y, query, last),
            d: Rows::new(d, p.d, query, h * dim),
            d_lse: Rows::new(d, p.d, query, last),
        }
    }

    /// do . o - dlse of query `i`: what the cotangent of each of its scores lacks.
    #[inline(always)]
    fn delta(&self, i: usize) -> f32 {
        let o = self.o.row(i, self.dim);
        // The next head's, as in `pack`.
        lanes::prefetch(o.as_ptr().wrapping_add(self.dim), self.dim);
        dot(self.d.row(i, self.dim), o) - self.d_lse.at(i)
    }
}

/// Adds dq of the queries `own` to the rows of `out`, which lie `stride` apart.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(in crate::kernel) fn queries(
    x: &Head<'_>,
    own: Range<usize>,
    tiles: &mut Tiles,
    out: &mut [f32],
    stride: usize,
) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma" => block::<lanes::Avx512, 4, 8, 1, true>(x, own, tiles, out, 0, stride),
        "x86_64+avx2+fma" => block::<lanes::Avx2, 2, 4, 2, true>(x, own, tiles, out, 0, stride),
        "aarch64+neon" => block::<lanes::Neon, 4, 4, 4, true>(x, own, tiles, out, 0, stride),
        _ => block::<lanes::Plain, 2, 2, 4, true>(x, own, tiles, out, 0, stride),
    }
}

/// Adds dk of the keys `own` to the rows of `out`, and dv `to_v` columns further on.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(in crate::kernel) fn keys(
    x: &Head<'_>,
    own: Range<usize>,
    tiles: &mut Tiles,
    out: &mut [f32],
    to_v: usize,
    stride: usize,
) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma" => block::<lanes::Avx512, 4, 8, 1, false>(x, own, tiles, out, to_v, stride),
        "x86_64+avx2+fma" => block::<lanes::Avx2, 2, 4, 2, false>(x, own, tiles, out, to_v, stride),
        "aarch64+neon" => block::<lanes::Neon, 4, 4, 4, false>(x, own, tiles, out, to_v, stride),
        _ => block::<lanes::Plain, 2, 2, 4, false>(x, own, tiles, out, to_v, stride),
    }
}

/// The own rows are queries if `QUERIES`, else keys; at most [`OWN`].
#[inline(always)]
fn block<V: Lanes, const T: usize, const R: usize, const W: usize, const QUERIES: bool>(
    x: &Head<'_>,
    own: Range<usize>,
    tiles: &mut Tiles,
    out: &mut [f32],
    to_v: usize,
    stride: usize,
) {
    let (m, dim) = (own.len(), x.dim);
    let (rows, others) = if QUERIES { ([x.q, x.d], [x.k, x.v]) } else { ([x.k, x.v], [x.q, x.d]) };
    // The rows that some own row meets. Tiles of them begin at multiples of a tile, wherever the own rows begin.
    let met = match (QUERIES, x.causal) {
        (true, true) => 0..x.k_tokens.min(own.end),
        (true, false) => 0..x.k_tokens,
        (false, true) => own.start / OTHERS * OTHERS..x.q_tokens,
        (false, false) => 0..x.q_tokens,
    };
    // Log-sum-exp and delta of the queries, be they the own rows or the others.
    let mut scalars = [[0.0f32; OTHERS]; 2];
    if QUERIES {
        for i in 0..m {
            (scalars[0][i], scalars[1][i]) = (x.lse.at(own.start + i), x.delta(own.start + i));
        }
    }
    let mut first = met.start;
    while first < met.end {
        let n = OTHERS.min(met.end - first);
        if !QUERIES {
            for j in 0..n {
                (scalars[0][j], scalars[1][j]) = (x.lse.at(first + j), x.delta(first + j));
            }
        }
        let mut c = 0;
        while c < dim {
            let columns = c..dim.min(c + WIDTH);
            for side in 0..2 {
                pack::<V>(others[side], first..first + n, columns.clone(), &mut tiles.others[side]);
                let meeting = Meeting {
                    from: rows[side],
                    rows: own.clone(),
                    columns: columns.clone(),
                    tokens: if QUERIES { x.q_tokens } else { x.k_tokens },
                    fresh: first == met.start || dim > WIDTH,
                    n,
                };
                let pairs = &mut tiles.pairs[side];
                meeting.products::<V, T, R, W>(&mut tiles.own[side], &tiles.others[side], pairs);
            }
            c += WIDTH;
        }
        let [weights, slopes] = &mut tiles.pairs;
        weigh::<QUERIES>(x.scale, &scalars, n, weights, slopes);
        if x.causal {
            for j in 0..n {
                let unseen = match QUERIES {
                    true => 0..(first + j).saturating_sub(own.start).min(OWN),
                    false => (first + j + 1).saturating_sub(own.start).min(OWN)..OWN,
                };
                weights[j][unseen.clone()].fill(0.0);
                slopes[j][unseen].fill(0.0);
            }
        }
        let mut c = 0;
        while c < dim {
            let columns = c..dim.min(c + WIDTH);
            // dk and dq sum slopes over the first operand, dv sums weights over the second.
            for side in 0..if QUERIES { 1 } else { 2 } {
                if dim > WIDTH {
                    pack::<V>(others[side], first..first + n, columns.clone(), &mut tiles.others[side]);
                }
                let shape = [n, m, columns.len()];
                weighted::<V, T>(&tiles.pairs[1 - side], &tiles.others[side], shape, &mut tiles.sums);
                for i in 0..m {
                    let out = &mut out[side * to_v + i * stride..][columns.clone()];
                    for (o, sum) in out.iter_mut().zip(&tiles.sums[i]) {
                        *o += sum;
                    }
                }
            }
            c += WIDTH;
        }
        first += OTHERS;
    }
}

/// From products q . k and do . v: weights p = exp(scale q . k - lse) and slopes scale p (do . v - delta).
#[inline(always)]
fn weigh<const QUERIES: bool>(
    scale: f32,
    [lse, delta]: &[[f32; OTHERS]; 2],
    n: usize,
    weights: &mut Pairs,
    slopes: &mut Pairs,
) {
    for j in 0..n {
        let (weights, slopes) = (&mut weights[j], &mut slopes[j]);
        for i in 0..OWN {
            let query = if QUERIES { i } else { j };
            weights[i] = exp(scale * weights[i] - lse[query]);
            slopes[i] = scale * weights[i] * (slopes[i] - delta[query]);
        }
    }
}
