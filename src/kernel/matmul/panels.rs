//! Products with packed weights on the CPU: B in panels of 32 columns (see `pack_weights`), A straight from its rows. What the
//! gemm crate spends on packing B at each call is spent once per load.
#![allow(clippy::needless_range_loop)] // as in `dot`

use super::Params;
use super::cpu::{Panel, cost};
use super::dot::Operand;
use super::epilogue::Finish;
use crate::kernel::call::params;
use crate::kernel::lanes::{self, Lanes};
use crate::kernel::pack_weights::PANEL;
use crate::kernel::{Arg, TwinCx};
use multiversion::multiversion;
use multiversion::target::match_target;

/// Rows that pass over all panels together: a multiple of every tile's, and enough for B to be read seldom.
const ROWS: usize = 96;
/// Depth that is summed at a time: so much of `ROWS` rows of A stays in the second-level cache, a panel's part with it.
const DEPTH: usize = 1024;
/// Elements of B that are asked for ahead of their use (8 KiB): weights of a batch of one come from far, a few rows do not hide how far, and
/// the processor's own prefetching ends at each page.
const AHEAD: usize = 2048;

/// The twin of `matmul_packed`.
pub(super) fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, bias, residual, c] = args else { unreachable!("a matrix product has five bindings") };
    let [m, n, k] = [p.m, p.n, p.k].map(|d| d as usize);
    if m == 0 || n == 0 {
        return;
    }
    let finish = Finish::new(p, bias.read(), residual.read());
    let a = Operand { data: &a.read()[p.a_offset as usize..], ld: p.a_ld as usize };
    let b = &b.read()[p.b_offset as usize..][..n.div_ceil(PANEL) * PANEL * k];
    let out = Panel::new(&mut c.write()[p.c_offset as usize..], p.c_ld as usize);
    let block = |at: usize, j: usize, cols: usize| {
        let height = ROWS.min(m - at);
        let a = Operand { data: &a.data[at * a.ld..], ..a };
        let out = out.from(at, j);
        if k == 0 {
            (0..height).for_each(|i| out.segment(i, 0, cols).fill(0.0));
        }
        multiply(a, &b[j * k..], [height, cols, k], out);
        (0..height).for_each(|i| finish.row(at + i, j, out.segment(i, 0, cols)));
    };
    let blocks = m.div_ceil(ROWS);
    // Few rows are shared out by columns, whole panels each. The parts of C are disjoint.
    let parts = cx.threads(cost([m, n, k])).div_ceil(blocks).min(n.div_ceil(PANEL));
    let width = n.div_ceil(PANEL).div_ceil(parts) * PANEL;
    cx.for_each(blocks * parts, |part| {
        let j = part % parts * width;
        if j < n {
            block(part / parts * ROWS, j, width.min(n - j));
        }
    });
}

/// C = A B for [rows, cols, k].
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq+avx2+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn multiply(a: Operand<'_>, b: &[f32], shape: [usize; 3], c: Panel<'_>) {
    match_target! {
        "x86_64+avx512f+avx512vl+avx512dq+avx2+fma" => panels::<lanes::Avx512, 12, 2>(a, b, shape, c),
        "x86_64+avx2+fma" => panels::<lanes::Avx2, 6, 2>(a, b, shape, c),
        "aarch64+neon" => panels::<lanes::Neon, 6, 4>(a, b, shape, c),
        _ => panels::<lanes::Plain, 4, 2>(a, b, shape, c),
    }
}

/// A part of the depth at a time, all panels of it, tiles of R rows by W vectors; left-over rows in tiles of four, two and one. One or two
/// rows take several panels at once, or each multiply-add would wait for the one before. Whichever tile computes an element, its terms are
/// added in the same order.
#[inline(always)]
fn panels<V: Lanes, const R: usize, const W: usize>(
    a: Operand<'_>,
    b: &[f32],
    [rows, cols, k]: [usize; 3],
    c: Panel<'_>,
) {
    let count = cols.div_ceil(PANEL);
    let mut first = 0;
    while first < k {
        // No short last part: what is left joins the one before it.
        let depth = if k - first < DEPTH + DEPTH / 2 { k - first } else { DEPTH };
        let mut q = 0;
        while q < count {
            let together = match rows {
                1 => 4,
                2 => 2,
                _ => 1,
            };
            let together = if q + together <= count { together } else { 1 };
            let panel = &b[q * PANEL * k + first * PANEL..];
            let mut from = 0;
            while from < PANEL && q * PANEL + from < cols {
                let part = Part { first, depth, j: q * PANEL + from, cols, next: PANEL * k };
                let panel = &panel[from..];
                // The first tile of a panel brings it in.
                let mut i = match (rows, together) {
                    (1, 4) => tile::<V, 1, W, 4, true>(a, panel, 0, part, c),
                    (2, 2) => tile::<V, 2, W, 2, true>(a, panel, 0, part, c),
                    _ if rows >= R => tile::<V, R, W, 1, true>(a, panel, 0, part, c),
                    (4.., _) => tile::<V, 4, W, 1, true>(a, panel, 0, part, c),
                    (2.., _) => tile::<V, 2, W, 1, true>(a, panel, 0, part, c),
                    _ => tile::<V, 1, W, 1, true>(a, panel, 0, part, c),
                };
                while i + R <= rows {
                    i += tile::<V, R, W, 1, false>(a, panel, i, part, c);
                }
                while i + 4 <= rows {
                    i += tile::<V, 4, W, 1, false>(a, panel, i, part, c);
                }
                while i + 2 <= rows {
                    i += tile::<V, 2, W, 1, false>(a, panel, i, part, c);
                }
                if i < rows {
                    tile::<V, 1, W, 1, false>(a, panel, i, part, c);
                }
                from += W * V::N;
            }
            q += together;
        }
        first += depth;
    }
}

/// What a tile computes: a part of the depth, from a column on, of so many columns in all; panels begin `next` elements apart.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    depth: usize,
    j: usize,
    cols: usize,
    next: usize,
}

/// R rows by W vectors of each of P panels, the first of which begins at the first column and depth of this tile; added to what C holds
/// already, but for the first part. If the panels are `FAR`, asks for what follows in them. Returns R.
#[inline(always)]
fn tile<V: Lanes, const R: usize, const W: usize, const P: usize, const FAR: bool>(
    a: Operand<'_>,
    panel: &[f32],
    i: usize,
    Part { first, depth, j, cols, next }: Part,
    c: Panel<'_>,
) -> usize {
    let a: [&[f32]; R] = std::array::from_fn(|r| a.row(i + r, first, depth));
    // Each panel from here on, without the rows beyond this part.
    let panels: [&[f32]; P] =
        std::array::from_fn(|p| &panel[p * next..p * next + (depth - 1) * PANEL + W * V::N]);
    let zero = V::splat(0.0);
    let mut acc = [[[zero; W]; P]; R];
    for d in 0..depth {
        let mut y = [[zero; W]; P];
        for p in 0..P {
            let row = &panels[p][d * PANEL..d * PANEL + W * V::N];
            if FAR {
                lanes::prefetch(row.as_ptr().wrapping_add(AHEAD), W * V::N);
            }
            for w in 0..W {
                y[p][w] = V::load(&row[w * V::N..(w + 1) * V::N]);
            }
        }
        for r in 0..R {
            let x = V::splat(a[r][d]);
            for p in 0..P {
                for w in 0..W {
                    acc[r][p][w] = acc[r][p][w].fma(x, y[p][w]);
                }
            }
        }
    }
    let one = V::splat(1.0);
    let mut edge = [0.0f32; PANEL];
    for r in 0..R {
        for p in 0..P {
            let j = j + p * PANEL;
            let width = cols.saturating_sub(j).min(W * V::N);
            let out = c.segment(i + r, j.min(cols), width);
            let whole = width == W * V::N;
            if !whole {
                edge[..width].copy_from_slice(out);
            }
            let to: &mut [f32] = if whole { &mut *out } else { &mut edge };
            for w in 0..W {
                let to = &mut to[w * V::N..(w + 1) * V::N];
                let sum = if first == 0 { acc[r][p][w] } else { acc[r][p][w].fma(V::load(to), one) };
                sum.store(to);
            }
            if !whole {
                out.copy_from_slice(&edge[..width]);
            }
        }
    }
    R
}
