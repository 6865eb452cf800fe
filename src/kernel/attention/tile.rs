//! Tiles of the attention twins: up to sixteen rows of one kind (queries, or keys in the gradient of keys) against up to
//! thirty-two of the other, whose products, weights and weighted sums stay in the first-level cache.
//!
//! Operands are copied into tiles of adjacent rows, padded with zeros to whole vectors: any width of head takes the same path, and
//! rows a power of two apart do not crowd one another out of the cache. Rows of a tile past the last hold what was there
//! before, and what comes of them is not used. What a row adds up, and in which order, does not depend on the rows beside
//! it, so neither on the split over threads.
// Counted loops over arrays of vectors, which the compiler must unroll completely: iterator chains with closures would
// lose the processor's features (see `lanes`).
#![allow(clippy::needless_range_loop)]

use crate::kernel::TwinCx;
use crate::kernel::lanes::{Lanes, prefetch};
use std::ops::Range;

/// Own rows of a tile: one per lane of the weights.
pub(in crate::kernel) const OWN: usize = 16;
/// Rows of a tile that the own ones meet.
pub(in crate::kernel) const OTHERS: usize = 32;
/// Columns of a tile; wider heads take several.
pub(in crate::kernel) const WIDTH: usize = 64;
/// Own rows up to which products are dot products: with more, a vector across the own rows has more to do.
const FEW: usize = 4;
/// Columns that are summed up before they join the sum of all, lest rounding errors pile up.
const DEPTH: usize = 16;
/// Rows of sums that are taken at once.
const GROUP: usize = 4;
/// Rows that are not split over threads; or all of a batch entry, if it has fewer.
const GRAIN: usize = 8;
/// Multiply-adds by vectors in the time of one scalar operation, by which hand-offs to threads are weighed.
const SPEED: usize = 10;

/// A number for each pair of a tile: a row for each of the others.
pub(in crate::kernel) type Pairs = [[f32; OWN]; OTHERS];
/// Rows that the own ones meet.
pub(in crate::kernel) type Others = [[f32; WIDTH]; OTHERS];
/// Sums for the own rows.
pub(in crate::kernel) type Sums = [[f32; WIDTH]; OWN];

/// Own rows of an operand: transposed, or as they are if they are few.
pub(in crate::kernel) struct Own {
    columns: [[f32; OWN]; WIDTH],
    rows: [[f32; WIDTH]; FEW],
}

/// What a thread works in: 38 KB of its stack.
pub(in crate::kernel) struct Tiles {
    /// Own rows of two operands.
    pub(in crate::kernel) own: [Own; 2],
    /// The others, likewise.
    pub(in crate::kernel) others: [Others; 2],
    /// Products, then weights.
    pub(in crate::kernel) pairs: [Pairs; 2],
    /// Weighted sums of the others.
    pub(in crate::kernel) sums: Sums,
}

/// Calls `f(tiles, row, count, out)` for blocks of at most [`OWN`] of `rows` rows, none across a batch entry of `tokens` rows;
/// `out` starts at the block's first row, `stride` elements from the next. `cost`: multiply-adds in all.
pub(in crate::kernel) fn blocks(
    cx: &TwinCx<'_>,
    out: &mut [f32],
    stride: usize,
    [rows, tokens]: [usize; 2],
    cost: usize,
    f: impl Fn(&mut Tiles, usize, usize, &mut [f32]) + Sync,
) {
    let stride = if rows == 1 { out.len() } else { stride };
    let grain = GRAIN.min(tokens).max(1);
    cx.rows(out, grain * stride, rows.div_ceil(grain), cost / SPEED, |first, chunk| {
        let own = || Own { columns: [[0.0; OWN]; WIDTH], rows: [[0.0; WIDTH]; FEW] };
        let mut tiles = Tiles {
            own: [own(), own()],
            others: [[[0.0; WIDTH]; OTHERS]; 2],
            pairs: [[[0.0; OWN]; OTHERS]; 2],
            sums: [[0.0; WIDTH]; OWN],
        };
        let first = first * grain;
        let end = rows.min(first + chunk.len().div_ceil(stride.max(1)));
        let mut row = first;
        while row < end {
            let count = OWN.min(tokens - row % tokens).min(end - row);
            f(&mut tiles, row, count, &mut chunk[(row - first) * stride..]);
            row += count;
        }
    });
}

/// The columns of a head in consecutive rows of an operand.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Rows<'a> {
    data: &'a [f32],
    ld: usize,
}

impl<'a> Rows<'a> {
    /// Rows from `first` on, columns from `column` on, of the operand at `at` (place and distance of rows).
    pub(in crate::kernel) fn new(data: &'a [f32], at: [u32; 2], first: usize, column: usize) -> Rows<'a> {
        let ld = at[1] as usize;
        Rows { data: &data[at[0] as usize + first * ld + column..], ld }
    }

    /// The first `dim` columns of row `i`.
    #[inline(always)]
    pub(in crate::kernel) fn row(&self, i: usize, dim: usize) -> &'a [f32] {
        &self.data[i * self.ld..i * self.ld + dim]
    }

    /// The first column of row `i`.
    #[inline(always)]
    pub(in crate::kernel) fn at(&self, i: usize) -> f32 {
        self.data[i * self.ld]
    }
}

/// Copies these rows and columns into a tile, padded with zeros to whole vectors. Where heads lie side by side in long rows, a
/// head's part of a row is too short for the processor to foresee the next head's, so that is asked for.
#[inline(always)]
pub(in crate::kernel) fn pack<V: Lanes>(
    from: Rows<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    to: &mut [[f32; WIDTH]],
) {
    let len = columns.len();
    for (i, to) in rows.zip(to) {
        let row = &from.row(i, columns.end)[columns.start..];
        if len == WIDTH {
            // Of known length, so that the loop unrolls.
            copy::<V>(&row[..WIDTH], to);
        } else {
            copy::<V>(row, to);
            to[len..len.next_multiple_of(V::N)].fill(0.0);
        }
    }
}

#[inline(always)]
fn copy<V: Lanes>(row: &[f32], to: &mut [f32; WIDTH]) {
    let mut c = 0;
    while c + V::N <= row.len() {
        V::load(&row[c..]).store(&mut to[c..]);
        prefetch(row.as_ptr().wrapping_add(c + row.len()), V::N);
        c += V::N;
    }
    to[c..row.len()].copy_from_slice(&row[c..]);
}

/// As [`pack`], transposed: a row of `to` for each column.
#[inline(always)]
fn pack_columns<V: Lanes>(
    from: Rows<'_>,
    rows: Range<usize>,
    columns: Range<usize>,
    to: &mut [[f32; OWN]; WIDTH],
) {
    let mut some = [[0.0; WIDTH]; GROUP];
    let mut i = 0;
    while i < rows.len() {
        let group = rows.start + i..rows.end.min(rows.start + i + GROUP);
        pack::<V>(from, group, columns.clone(), &mut some);
        let mut c = 0;
        while c < columns.len() {
            let v = [
                V::load(&some[0][c..]),
                V::load(&some[1][c..]),
                V::load(&some[2][c..]),
                V::load(&some[3][c..]),
            ];
            V::store_columns(v, &mut to.as_flattened_mut()[c * OWN + i..], OWN);
            c += V::N;
        }
        i += GROUP;
    }
}

/// Own rows and columns of an operand, and the others that they meet.
pub(in crate::kernel) struct Meeting<'a> {
    /// The operand.
    pub(in crate::kernel) from: Rows<'a>,
    /// Own rows of it.
    pub(in crate::kernel) rows: Range<usize>,
    /// Columns, at most [`WIDTH`].
    pub(in crate::kernel) columns: Range<usize>,
    /// Rows of a batch entry among which the own ones are: what the way of taking products depends on.
    pub(in crate::kernel) tokens: usize,
    /// Whether the own rows are yet to be laid out.
    pub(in crate::kernel) fresh: bool,
    /// How many others.
    pub(in crate::kernel) n: usize,
}

impl Meeting<'_> {
    /// pairs[j][i] = others_j . own_i over the columns, or that added to what is there unless these are the first columns. V has
    /// OWN / W lanes; T others against four own rows at once, or R others against all.
    #[inline(always)]
    pub(in crate::kernel) fn products<V: Lanes, const T: usize, const R: usize, const W: usize>(
        &self,
        own: &mut Own,
        others: &Others,
        pairs: &mut Pairs,
    ) {
        let (rows, columns) = (self.rows.clone(), self.columns.clone());
        let shape = [self.n, columns.len()];
        let first = columns.start == 0;
        if self.tokens <= FEW {
            if self.fresh {
                pack::<V>(self.from, rows, columns, &mut own.rows);
            }
            dots::<V, T>(others, &own.rows, shape, first, pairs);
        } else {
            if self.fresh {
                pack_columns::<V>(self.from, rows, columns, &mut own.columns);
            }
            across::<V, R, W>(others, &own.columns, shape, first, pairs);
        }
    }
}

#[inline(always)]
fn dots<V: Lanes, const T: usize>(
    others: &Others,
    own: &[[f32; WIDTH]; FEW],
    [n, width]: [usize; 2],
    first: bool,
    pairs: &mut Pairs,
) {
    let zero = V::splat(0.0);
    let mut j = 0;
    while j < n {
        let mut acc = [[zero; FEW]; T];
        let mut c = 0;
        while c < width {
            let mut x = [zero; T];
            for r in 0..T {
                x[r] = V::load(&others[j + r][c..]);
            }
            for s in 0..FEW {
                let y = V::load(&own[s][c..]);
                for r in 0..T {
                    acc[r][s] = acc[r][s].fma(x[r], y);
                }
            }
            c += V::N;
        }
        for r in 0..T {
            let sums = V::sums(acc[r]);
            for s in 0..FEW {
                pairs[j + r][s] = if first { sums[s] } else { pairs[j + r][s] + sums[s] };
            }
        }
        j += T;
    }
}

#[inline(always)]
fn across<V: Lanes, const R: usize, const W: usize>(
    others: &Others,
    own: &[[f32; OWN]; WIDTH],
    [n, width]: [usize; 2],
    first: bool,
    pairs: &mut Pairs,
) {
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let mut j = 0;
    while j < n {
        let (others, pairs) = (&others[j..j + R], &mut pairs[j..j + R]);
        let mut start = 0;
        while start < width {
            let end = width.min(start + DEPTH);
            let mut acc = [[zero; W]; R];
            for c in start..end {
                let y = &own[c];
                for r in 0..R {
                    let x = V::splat(others[r][c]);
                    for w in 0..W {
                        acc[r][w] = acc[r][w].fma(x, V::load(&y[w * V::N..]));
                    }
                }
            }
            for r in 0..R {
                for w in 0..W {
                    let sum = &mut pairs[r][w * V::N..];
                    let before = if first && start == 0 { zero } else { V::load(sum) };
                    before.fma(acc[r][w], one).store(sum);
                }
            }
            start = end;
        }
        j += R;
    }
}

/// sums_i = sum_j pairs[j][i] others_j for m own rows over `width` columns, j in order. T vectors at once.
#[inline(always)]
pub(in crate::kernel) fn weighted<V: Lanes, const T: usize>(
    pairs: &Pairs,
    others: &Others,
    [n, m, width]: [usize; 3],
    sums: &mut Sums,
) {
    let width = width.next_multiple_of(V::N);
    let mut i = 0;
    while i < m {
        let mut c = 0;
        while c + T * V::N <= width {
            weighted_tile::<V, T>(pairs, others, [n, i, c], sums);
            c += T * V::N;
        }
        while c < width {
            weighted_tile::<V, 1>(pairs, others, [n, i, c], sums);
            c += V::N;
        }
        i += GROUP;
    }
}

#[inline(always)]
fn weighted_tile<V: Lanes, const W: usize>(
    pairs: &Pairs,
    others: &Others,
    [n, i, c]: [usize; 3],
    sums: &mut Sums,
) {
    let zero = V::splat(0.0);
    let mut acc = [[zero; W]; GROUP];
    for (x, row) in pairs[..n].iter().zip(others) {
        let row = &row[c..c + W * V::N];
        let mut y = [zero; W];
        for w in 0..W {
            y[w] = V::load(&row[w * V::N..]);
        }
        let x = &x[i..i + GROUP];
        for r in 0..GROUP {
            let x = V::splat(x[r]);
            for w in 0..W {
                acc[r][w] = acc[r][w].fma(x, y[w]);
            }
        }
    }
    for r in 0..GROUP {
        let sums = &mut sums[i + r][c..c + W * V::N];
        for w in 0..W {
            acc[r][w].store(&mut sums[w * V::N..]);
        }
    }
}
