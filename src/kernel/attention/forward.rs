//! Attention itself, tile by tile: a block of queries against the keys that it sees, by an online softmax.
#![allow(clippy::needless_range_loop)] // as in `tile`

use super::tile::{Meeting, OTHERS, OWN, Rows, Tiles, WIDTH, pack, weighted};
use crate::kernel::lanes::{self, Lanes};
use crate::kernel::math::{exp_neg, log};
use multiversion::multiversion;
use multiversion::target::match_target;
use std::ops::Range;

/// Below every score: what the largest of none is.
const LEAST: f32 = -1.0e30;

/// Some queries of a batch entry and head, and all keys that one of them sees.
pub(super) struct Block<'a> {
    /// The rows from the first of the queries on.
    pub(super) q: Rows<'a>,
    /// All rows of the batch entry.
    pub(super) k: Rows<'a>,
    /// Likewise.
    pub(super) v: Rows<'a>,
    /// Which queries of the batch entry.
    pub(super) own: Range<usize>,
    /// How many queries the batch entry has.
    pub(super) tokens: usize,
    /// The keys that the last query sees.
    pub(super) keys: usize,
    /// Query i sees keys 0 to i only.
    pub(super) causal: bool,
    /// Columns of a head.
    pub(super) dim: usize,
    /// Of the products.
    pub(super) scale: f32,
}

/// The results, in the rows of `out`, which lie `stride` apart, and `to_lse` columns further on the log-sum-exps.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn run(x: &Block<'_>, tiles: &mut Tiles, out: &mut [f32], to_lse: usize, stride: usize) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma" => online::<lanes::Avx512, 4, 8, 1>(x, tiles, out, to_lse, stride),
        "x86_64+avx2+fma" => online::<lanes::Avx2, 2, 4, 2>(x, tiles, out, to_lse, stride),
        "aarch64+neon" => online::<lanes::Neon, 4, 4, 4>(x, tiles, out, to_lse, stride),
        _ => online::<lanes::Plain, 2, 2, 4>(x, tiles, out, to_lse, stride),
    }
}

/// The online softmax: sums over the keys so far, relative to the largest score so far.
#[inline(always)]
fn online<V: Lanes, const T: usize, const R: usize, const W: usize>(
    x: &Block<'_>,
    tiles: &mut Tiles,
    out: &mut [f32],
    to_lse: usize,
    stride: usize,
) {
    let (m, dim) = (x.own.len(), x.dim);
    let (mut top, mut total) = ([LEAST; OWN], [0.0f32; OWN]);
    let (scores, others) = (&mut tiles.pairs[0], &mut tiles.others[0]);
    let mut first = 0;
    while first < x.keys {
        let n = OTHERS.min(x.keys - first);
        let mut c = 0;
        while c < dim {
            let columns = c..dim.min(c + WIDTH);
            pack::<V>(x.k, first..first + n, columns.clone(), others);
            let fresh = first == 0 || dim > WIDTH;
            let meeting = Meeting { from: x.q, rows: 0..m, columns, tokens: x.tokens, fresh, n };
            meeting.products::<V, T, R, W>(&mut tiles.own[0], others, scores);
            c += WIDTH;
        }
        if x.causal {
            for j in 0..n {
                let unseen = (first + j).saturating_sub(x.own.start).min(OWN);
                scores[j][..unseen].fill(f32::NEG_INFINITY);
            }
        }
        let shrink = weigh(x.scale, &mut scores[..n], &mut top, &mut total);
        let last = first + n == x.keys;
        let mut share = [1.0f32; OWN];
        if last {
            for i in 0..OWN {
                (share[i], top[i]) = (1.0 / total[i], top[i] + log(total[i]));
            }
        }
        let mut c = 0;
        while c < dim {
            let columns = c..dim.min(c + WIDTH);
            pack::<V>(x.v, first..first + n, columns.clone(), others);
            weighted::<V, T>(scores, others, [n, m, columns.len()], &mut tiles.sums);
            for i in 0..m {
                let out = &mut out[i * stride..][columns.clone()];
                let (shrink, share, sums) = (shrink[i], share[i], &tiles.sums[i]);
                if first == 0 {
                    out.iter_mut().zip(sums).for_each(|(o, sum)| *o = sum * share);
                } else {
                    out.iter_mut().zip(sums).for_each(|(o, sum)| *o = (*o * shrink + sum) * share);
                }
            }
            c += WIDTH;
        }
        first += OTHERS;
    }
    for i in 0..m {
        out[i * stride + to_lse] = top[i];
    }
}

/// Makes products weights, e to the score less the largest so far; what sums so far are to be scaled by.
#[inline(always)]
fn weigh(scale: f32, scores: &mut [[f32; OWN]], top: &mut [f32; OWN], total: &mut [f32; OWN]) -> [f32; OWN] {
    let (mut larger, mut shrink, mut sum) = (*top, [0.0f32; OWN], [0.0f32; OWN]);
    for row in scores.iter_mut() {
        for i in 0..OWN {
            row[i] *= scale;
            larger[i] = if row[i] > larger[i] { row[i] } else { larger[i] };
        }
    }
    for i in 0..OWN {
        shrink[i] = exp_neg(larger[i] - top[i]);
    }
    for row in scores {
        for i in 0..OWN {
            row[i] = exp_neg(larger[i] - row[i]);
            sum[i] += row[i];
        }
    }
    for i in 0..OWN {
        total[i] = total[i] * shrink[i] + sum[i];
    }
    *top = larger;
    shrink
}
