//! Products of few rows on the CPU, straight from the operands: no packing, no allocation.
//!
//! `rows_nt` takes dot products along k, several weight rows at once (a policy's layers at batch 1 to some tens);
//! `rows_nn` adds scaled rows of B (their input gradients). Both stream B once.

use super::cpu::Panel;
use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// An operand: rows `ld` elements apart, from the first element of the slice.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) data: &'a [f32],
    pub(super) ld: usize,
}

impl<'a> Operand<'a> {
    #[inline(always)]
    fn row(self, i: usize, from: usize, len: usize) -> &'a [f32] {
        let start = i * self.ld + from;
        &self.data[start..start + len]
    }
}

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction `mul_add` is a slow library call.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// C[i, j] = sum_d A[i, d] B[j, d] for `rows` x `cols` outputs; A is [rows, k], B is [cols, k].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn rows_nt(a: Operand<'_>, b: Operand<'_>, [rows, cols, k]: [usize; 3], c: Panel<'_>) {
    if target_cfg_f!(target_feature = "avx512f") {
        nt::<true, 16, 4, 4>(a, b, [rows, cols, k], c);
    } else if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        nt::<true, 8, 2, 4>(a, b, [rows, cols, k], c);
    } else {
        nt::<false, 4, 2, 4>(a, b, [rows, cols, k], c);
    }
}

/// C[i, j] = sum_d A[i, d] B[d, j] for `rows` x `cols` outputs; A is [rows, k], B is [k, cols].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn rows_nn(a: Operand<'_>, b: Operand<'_>, [rows, cols, k]: [usize; 3], c: Panel<'_>) {
    if target_cfg_f!(target_feature = "avx512f") {
        nn::<true, 16>(a, b, [rows, cols, k], c);
    } else if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        nn::<true, 8>(a, b, [rows, cols, k], c);
    } else {
        nn::<false, 4>(a, b, [rows, cols, k], c);
    }
}

#[inline(always)]
fn nt<const FMA: bool, const L: usize, const R: usize, const S: usize>(
    a: Operand<'_>,
    b: Operand<'_>,
    [rows, cols, k]: [usize; 3],
    c: Panel<'_>,
) {
    let mut j = 0;
    while j + 8 <= cols && rows < R {
        for i in 0..rows {
            nt_tile::<FMA, L, 1, 8>(a, b, [i, j, k], c);
        }
        j += 8;
    }
    while j + S <= cols {
        let mut i = 0;
        while i + R <= rows {
            nt_tile::<FMA, L, R, S>(a, b, [i, j, k], c);
            i += R;
        }
        while i < rows {
            nt_tile::<FMA, L, 1, S>(a, b, [i, j, k], c);
            i += 1;
        }
        j += S;
    }
    while j < cols {
        for i in 0..rows {
            nt_tile::<FMA, L, 1, 1>(a, b, [i, j, k], c);
        }
        j += 1;
    }
}

/// R x S dot products with L partial sums each.
#[inline(always)]
fn nt_tile<const FMA: bool, const L: usize, const R: usize, const S: usize>(
    a: Operand<'_>,
    b: Operand<'_>,
    [i, j, k]: [usize; 3],
    c: Panel<'_>,
) {
    let full = k / L;
    let a: [&[f32]; R] = std::array::from_fn(|r| a.row(i + r, 0, k));
    let b: [&[f32]; S] = std::array::from_fn(|s| b.row(j + s, 0, k));
    let xs: [&[[f32; L]]; R] = std::array::from_fn(|r| &a[r].as_chunks::<L>().0[..full]);
    let ys: [&[[f32; L]]; S] = std::array::from_fn(|s| &b[s].as_chunks::<L>().0[..full]);
    let mut acc = [[[0.0f32; L]; S]; R];
    for d in 0..full {
        let x: [[f32; L]; R] = std::array::from_fn(|r| xs[r][d]);
        for s in 0..S {
            let y = ys[s][d];
            for r in 0..R {
                for l in 0..L {
                    acc[r][s][l] = fma::<FMA>(x[r][l], y[l], acc[r][s][l]);
                }
            }
        }
    }
    for r in 0..R {
        let mut out = reduce(&acc[r]);
        for d in full * L..k {
            for s in 0..S {
                out[s] = fma::<FMA>(a[r][d], b[s][d], out[s]);
            }
        }
        c.segment(i + r, j, S).copy_from_slice(&out);
    }
}

/// The sum of each of S vectors, by halves.
#[inline(always)]
fn reduce<const L: usize, const S: usize>(acc: &[[f32; L]; S]) -> [f32; S] {
    let mut quads = [[0.0f32; 4]; S];
    for s in 0..S {
        for l in 0..4 {
            let mut sum = acc[s][l];
            for h in 1..L / 4 {
                sum += acc[s][l + 4 * h];
            }
            quads[s][l] = sum;
        }
    }
    std::array::from_fn(|s| (quads[s][0] + quads[s][1]) + (quads[s][2] + quads[s][3]))
}

#[inline(always)]
fn nn<const FMA: bool, const L: usize>(
    a: Operand<'_>,
    b: Operand<'_>,
    [rows, cols, k]: [usize; 3],
    c: Panel<'_>,
) {
    let mut i = 0;
    while i < rows {
        let four = i + 4 <= rows;
        let mut j = 0;
        while !four && j + 8 * L <= cols {
            nn_tile::<FMA, L, 1, 8>(a, b, [i, j, k], c);
            j += 8 * L;
        }
        while four && j + 4 * L <= cols {
            nn_tile::<FMA, L, 4, 4>(a, b, [i, j, k], c);
            j += 4 * L;
        }
        while j + L <= cols {
            if four {
                nn_tile::<FMA, L, 4, 1>(a, b, [i, j, k], c);
            } else {
                nn_tile::<FMA, L, 1, 1>(a, b, [i, j, k], c);
            }
            j += L;
        }
        let step = if four { 4 } else { 1 };
        for r in i..i + step {
            for j in j..cols {
                let x = a.row(r, 0, k);
                let sum = (0..k).fold(0.0, |sum, d| fma::<FMA>(x[d], b.data[d * b.ld + j], sum));
                c.segment(r, j, 1)[0] = sum;
            }
        }
        i += step;
    }
}

/// R rows by V vectors of L columns.
#[inline(always)]
fn nn_tile<const FMA: bool, const L: usize, const R: usize, const V: usize>(
    a: Operand<'_>,
    b: Operand<'_>,
    [i, j, k]: [usize; 3],
    c: Panel<'_>,
) {
    let a: [&[f32]; R] = std::array::from_fn(|r| a.row(i + r, 0, k));
    let mut acc = [[[0.0f32; L]; V]; R];
    for d in 0..k {
        let y = &b.row(d, j, V * L).as_chunks::<L>().0[..V];
        for r in 0..R {
            let x = a[r][d];
            for v in 0..V {
                for l in 0..L {
                    acc[r][v][l] = fma::<FMA>(x, y[v][l], acc[r][v][l]);
                }
            }
        }
    }
    for r in 0..R {
        c.segment(i + r, j, V * L).copy_from_slice(acc[r].as_flattened());
    }
}
