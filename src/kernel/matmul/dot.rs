//! Products of few rows on the CPU, straight from the operands: no packing, no allocation.
//!
//! `rows_nt` takes dot products along k, several weight rows at once (a policy's layers at batch 1 to some tens);
//! `rows_nn` adds scaled rows of B (their input gradients). Both stream B once.
// Counted loops over arrays of vectors, which the compiler must unroll completely: iterator chains with closures would
// lose the processor's features (see `lanes`).
#![allow(clippy::needless_range_loop)]

use super::cpu::Panel;
use crate::kernel::lanes::{self, Lanes};
use multiversion::multiversion;
use multiversion::target::match_target;

/// An operand: rows `ld` elements apart, from the first element of the slice.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) data: &'a [f32],
    pub(super) ld: usize,
}

impl<'a> Operand<'a> {
    #[inline(always)]
    pub(super) fn row(self, i: usize, from: usize, len: usize) -> &'a [f32] {
        let start = i * self.ld + from;
        &self.data[start..start + len]
    }
}

/// C[i, j] = sum_d A[i, d] B[j, d] for `rows` x `cols` outputs; A is [rows, k], B is [cols, k].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn rows_nt(a: Operand<'_>, b: Operand<'_>, shape: [usize; 3], c: Panel<'_>) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma" => nt::<lanes::Avx512, 4>(a, b, shape, c),
        "x86_64+avx2+fma" => nt::<lanes::Avx2, 2>(a, b, shape, c),
        "aarch64+neon" => nt::<lanes::Neon, 4>(a, b, shape, c),
        _ => nt::<lanes::Plain, 2>(a, b, shape, c),
    }
}

/// C[i, j] = sum_d A[i, d] B[d, j] for `rows` x `cols` outputs; A is [rows, k], B is [k, cols].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn rows_nn(a: Operand<'_>, b: Operand<'_>, shape: [usize; 3], c: Panel<'_>) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma" => nn::<lanes::Avx512, 4>(a, b, shape, c),
        "x86_64+avx2+fma" => nn::<lanes::Avx2, 2>(a, b, shape, c),
        "aarch64+neon" => nn::<lanes::Neon, 4>(a, b, shape, c),
        _ => nn::<lanes::Plain, 2>(a, b, shape, c),
    }
}

/// Tiles of R x 4 outputs (R vectors of partial sums per weight row); left-over rows take eight columns at once.
#[inline(always)]
fn nt<V: Lanes, const R: usize>(a: Operand<'_>, b: Operand<'_>, [rows, cols, k]: [usize; 3], c: Panel<'_>) {
    let tiled = rows - rows % R;
    let mut j = 0;
    while j + 8 <= cols {
        let mut i = 0;
        while i < tiled {
            nt_tile::<V, R, 4>(a, b, [i, j, k], c);
            nt_tile::<V, R, 4>(a, b, [i, j + 4, k], c);
            i += R;
        }
        while i + 2 <= rows {
            nt_tile::<V, 2, 4>(a, b, [i, j, k], c);
            nt_tile::<V, 2, 4>(a, b, [i, j + 4, k], c);
            i += 2;
        }
        while i < rows {
            nt_tile::<V, 1, 8>(a, b, [i, j, k], c);
            i += 1;
        }
        j += 8;
    }
    while j < cols {
        for i in 0..rows {
            nt_tile::<V, 1, 1>(a, b, [i, j, k], c);
        }
        j += 1;
    }
}

/// R x S dot products.
#[inline(always)]
fn nt_tile<V: Lanes, const R: usize, const S: usize>(
    a: Operand<'_>,
    b: Operand<'_>,
    [i, j, k]: [usize; 3],
    c: Panel<'_>,
) {
    let a: [&[f32]; R] = std::array::from_fn(|r| a.row(i + r, 0, k));
    let b: [&[f32]; S] = std::array::from_fn(|s| b.row(j + s, 0, k));
    let zero = V::splat(0.0);
    let mut acc = [[zero; S]; R];
    let mut d = 0;
    while d + V::N <= k {
        let mut x = [zero; R];
        for r in 0..R {
            x[r] = V::load(&a[r][d..d + V::N]);
        }
        for s in 0..S {
            let y = V::load(&b[s][d..d + V::N]);
            for r in 0..R {
                acc[r][s] = acc[r][s].fma(x[r], y);
            }
        }
        d += V::N;
    }
    for r in 0..R {
        // Indices that are constants, so that the sums stay in registers above.
        let v = &acc[r];
        let mut out = [0.0f32; S];
        if S >= 4 {
            out[..4].copy_from_slice(&V::sums([v[0], v[1 % S], v[2 % S], v[3 % S]]));
        } else {
            out[0] = V::sums([v[0], zero, zero, zero])[0];
        }
        if S == 8 {
            out[4..].copy_from_slice(&V::sums([v[4 % S], v[5 % S], v[6 % S], v[7 % S]]));
        }
        for d in d..k {
            for s in 0..S {
                out[s] += a[r][d] * b[s][d];
            }
        }
        c.segment(i + r, j, S).copy_from_slice(&out);
    }
}

/// Tiles of R rows by four vectors; left-over rows take eight vectors at once.
#[inline(always)]
fn nn<V: Lanes, const R: usize>(a: Operand<'_>, b: Operand<'_>, [rows, cols, k]: [usize; 3], c: Panel<'_>) {
    let tiled = rows - rows % R;
    let mut j = 0;
    while j + 8 * V::N <= cols {
        for i in (0..tiled).step_by(R) {
            nn_tile::<V, R, 4>(a, b, [i, j, k], c);
            nn_tile::<V, R, 4>(a, b, [i, j + 4 * V::N, k], c);
        }
        let paired = rows - (rows - tiled) % 2;
        for i in (tiled..paired).step_by(2) {
            nn_tile::<V, 2, 4>(a, b, [i, j, k], c);
            nn_tile::<V, 2, 4>(a, b, [i, j + 4 * V::N, k], c);
        }
        for i in paired..rows {
            nn_tile::<V, 1, 8>(a, b, [i, j, k], c);
        }
        j += 8 * V::N;
    }
    while j + V::N <= cols {
        for i in (0..tiled).step_by(R) {
            nn_tile::<V, R, 1>(a, b, [i, j, k], c);
        }
        for i in tiled..rows {
            nn_tile::<V, 1, 1>(a, b, [i, j, k], c);
        }
        j += V::N;
    }
    for j in j..cols {
        for i in 0..rows {
            let sum =
                a.row(i, 0, k).iter().enumerate().fold(0.0, |sum, (d, x)| sum + x * b.data[d * b.ld + j]);
            c.segment(i, j, 1)[0] = sum;
        }
    }
}

/// R rows by W vectors.
#[inline(always)]
fn nn_tile<V: Lanes, const R: usize, const W: usize>(
    a: Operand<'_>,
    b: Operand<'_>,
    [i, j, k]: [usize; 3],
    c: Panel<'_>,
) {
    let a: [&[f32]; R] = std::array::from_fn(|r| a.row(i + r, 0, k));
    let zero = V::splat(0.0);
    let mut acc = [[zero; W]; R];
    for d in 0..k {
        let y = b.row(d, j, W * V::N);
        let y = {
            let mut vectors = [zero; W];
            for w in 0..W {
                vectors[w] = V::load(&y[w * V::N..(w + 1) * V::N]);
            }
            vectors
        };
        for r in 0..R {
            let x = V::splat(a[r][d]);
            for w in 0..W {
                acc[r][w] = acc[r][w].fma(x, y[w]);
            }
        }
    }
    for r in 0..R {
        let out = c.segment(i + r, j, W * V::N);
        for w in 0..W {
            acc[r][w].store(&mut out[w * V::N..(w + 1) * V::N]);
        }
    }
}
