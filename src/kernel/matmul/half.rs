//! Products of few rows with weights in half precision on the CPU: half the bytes of what a product at batch 1 waits for. Sums
//! are taken in single precision.
#![allow(clippy::needless_range_loop)] // as in `dot`

use super::Params;
use super::cpu::{Panel, cost};
use super::dot::Operand;
use super::epilogue::Finish;
use crate::kernel::call::params;
use crate::kernel::lanes::{self, Lanes};
use crate::kernel::{Arg, TwinCx};
use half::f16;
use multiversion::multiversion;
use multiversion::target::match_target;

/// Columns finished at a time.
const COLUMNS: usize = 128;

/// B in half precision: rows of `ld` halves.
#[derive(Clone, Copy)]
struct Halves<'a> {
    data: &'a [f16],
    ld: usize,
}

/// The twin of `matmul_half`.
pub(super) fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, bias, residual, c] = args else { unreachable!("a matrix product has five bindings") };
    let a = Operand { data: &a.read()[p.a_offset as usize..], ld: p.a_ld as usize };
    product(p, a, b.read(), [bias.read(), residual.read()], c.write(), cx);
}

/// The product of a call, with its rows of A from elsewhere.
pub(super) fn product(
    p: &Params,
    a: Operand<'_>,
    b: &[f32],
    [bias, residual]: [&[f32]; 2],
    c: &mut [f32],
    cx: &TwinCx<'_>,
) {
    let [m, n, k] = [p.m, p.n, p.k].map(|d| d as usize);
    if m == 0 || n == 0 {
        return;
    }
    let finish = Finish::new(p, bias, residual);
    let halves: &[f16] = bytemuck::cast_slice(b);
    let b = Halves { data: &halves[p.b_offset as usize..], ld: p.b_ld as usize };
    let out = Panel::new(&mut c[p.c_offset as usize..], p.c_ld as usize);
    let block = |j: usize| {
        let cols = COLUMNS.min(n - j);
        let c = out.from(0, j);
        multiply(a, Halves { data: &b.data[j * b.ld..], ..b }, [m, cols, k], c);
        (0..m).for_each(|i| finish.row(i, j, c.segment(i, 0, cols)));
    };
    // Blocks are disjoint columns of C.
    let parts = cx.threads(cost([m, n, k])).min(n.div_ceil(COLUMNS));
    let each = n.div_ceil(COLUMNS).div_ceil(parts) * COLUMNS;
    cx.for_each(parts, |part| {
        (part * each..n.min((part + 1) * each)).step_by(COLUMNS).for_each(block);
    });
}

/// C[i, j] = sum_d A[i, d] B[j, d] for [rows, cols, k].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma+f16c", "x86_64+avx2+fma+f16c"))]
fn multiply(a: Operand<'_>, b: Halves<'_>, shape: [usize; 3], c: Panel<'_>) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma+f16c" => tiles::<lanes::Avx512, 4>(a, b, shape, c),
        "x86_64+avx2+fma+f16c" => tiles::<lanes::Avx2, 2>(a, b, shape, c),
        _ => tiles::<lanes::Plain, 2>(a, b, shape, c),
    }
}

/// Tiles of R x 4 outputs, four weight rows at a time; left-over rows and columns one by one.
#[inline(always)]
fn tiles<V: Lanes, const R: usize>(a: Operand<'_>, b: Halves<'_>, [rows, cols, k]: [usize; 3], c: Panel<'_>) {
    let mut j = 0;
    while j + 4 <= cols {
        let mut i = 0;
        while i + R <= rows {
            tile::<V, R, 4>(a, b, [i, j, k], c);
            i += R;
        }
        while i < rows {
            tile::<V, 1, 4>(a, b, [i, j, k], c);
            i += 1;
        }
        j += 4;
    }
    while j < cols {
        for i in 0..rows {
            tile::<V, 1, 1>(a, b, [i, j, k], c);
        }
        j += 1;
    }
}

/// R x S dot products.
#[inline(always)]
fn tile<V: Lanes, const R: usize, const S: usize>(
    a: Operand<'_>,
    b: Halves<'_>,
    [i, j, k]: [usize; 3],
    c: Panel<'_>,
) {
    let a: [&[f32]; R] = std::array::from_fn(|r| a.row(i + r, 0, k));
    let b: [&[f16]; S] = std::array::from_fn(|s| &b.data[(j + s) * b.ld..][..k]);
    let zero = V::splat(0.0);
    let mut acc = [[zero; S]; R];
    let mut d = 0;
    while d + V::N <= k {
        let mut x = [zero; R];
        for r in 0..R {
            x[r] = V::load(&a[r][d..d + V::N]);
        }
        for s in 0..S {
            let y = V::load_half(&b[s][d..d + V::N]);
            for r in 0..R {
                acc[r][s] = acc[r][s].fma(x[r], y);
            }
        }
        d += V::N;
    }
    for r in 0..R {
        let v = &acc[r];
        let mut out = [0.0f32; S];
        if S == 4 {
            out.copy_from_slice(&V::sums([v[0], v[1 % S], v[2 % S], v[3 % S]]));
        } else {
            out[0] = V::sums([v[0], zero, zero, zero])[0];
        }
        for d in d..k {
            for s in 0..S {
                out[s] += a[r][d] * b[s][d].to_f32();
            }
        }
        c.segment(i + r, j, S).copy_from_slice(&out);
    }
}
