//! The CPU twin of the matrix products: the work split over threads, then per part either the direct kernels of
//! `dot` (few rows) or the gemm crate in row blocks, each block finished while it is still in cache.
//!
//! The way is chosen by the shape of the whole product, and each way adds an element's terms in an order that depends on the
//! depth alone. So how rows and columns are split, and over how many threads, does not change a bit of the result.

use super::dot::{self, Operand};
use super::epilogue::Finish;
use super::{Form, Params};
use crate::kernel::call::params;
use crate::kernel::{Arg, TwinCx};
use std::marker::PhantomData;
use std::ops::Range;

/// Rows up to which a product with a weight matrix [n, k] takes dot products instead of packing.
const DOT_ROWS: usize = 96;
/// The same where the weights have enough columns to fill tiles, and are few enough to stay in a second-level cache over all rows: the
/// least columns, the most elements.
const DOT_ROWS_WIDE: usize = 256;
const WIDE: [usize; 2] = [64, 256 * 1024];
/// Rows of dot products between two readings of the weights: what they read of A stays near.
const DOT_BLOCK: usize = 64;
/// Depth below which the sums over a vector's lanes cost more than packing, from `AXPY_ROWS` rows on; and below which elements that fill no
/// vector do.
const DOT_DEPTH: [usize; 2] = [64, 512];
/// Rows up to which a product with [k, n] runs without packing.
const AXPY_ROWS: usize = 8;
/// Elements of C finished at a time (half a typical L2), but at least `BLOCK_ROWS` rows, since each block packs B anew: at 256
/// rows turning and packing a weight matrix [n, k] takes a fifth of the time.
const BLOCK: usize = 96 * 1024;
const BLOCK_ROWS: usize = 1024;
/// Depth that the gemm crate sums at a time. It cuts a deeper sum where the caches of this machine suggest, never below 512: slices of
/// this many make the order of summation that of the depth alone.
const SLICE: usize = 512;
/// Elements of C up to which the gemm crate takes sums over a vector's lanes where both operands lie along k. No part may be so small where
/// the whole is not.
const HORIZONTAL: usize = 256;
/// Rows and columns that parts are cut at multiples of.
const STEP: [usize; 2] = [4, 16];
/// Multiply-adds of a product in the time of one operation of a twin that passes over its elements.
const PER_OPERATION: usize = 10;

/// C during a call: a window whose rows lie `ld` elements apart, shared by threads that write disjoint parts.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    base: *mut f32,
    len: usize,
    ld: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the parts that threads write are disjoint ranges of rows and columns (see `twin`), and a panel
// lives no longer than the exclusive borrow that it was made from.
unsafe impl Send for Panel<'_> {}
// SAFETY: as above.
unsafe impl Sync for Panel<'_> {}

impl<'a> Panel<'a> {
    pub(super) fn new(c: &'a mut [f32], ld: usize) -> Self {
        Panel { base: c.as_mut_ptr(), len: c.len(), ld, life: PhantomData }
    }

    /// The panel from row `i` and column `j` on.
    pub(super) fn from(self, i: usize, j: usize) -> Self {
        let start = i * self.ld + j;
        assert!(start <= self.len, "a product's output ends before its last element");
        // SAFETY: start lies within the borrow or at its end.
        Panel { base: unsafe { self.base.add(start) }, len: self.len - start, ..self }
    }

    /// `len` elements of row `i` from column `j` on. Callers hold at most one segment at a time, of their own part.
    #[inline(always)]
    pub(super) fn segment(&self, i: usize, j: usize, len: usize) -> &'a mut [f32] {
        let start = i * self.ld + j;
        assert!(start + len <= self.len, "a product's output ends before its last element");
        // SAFETY: in bounds by the assertion; each thread writes only its own part and no two segments that it
        // holds overlap, since it drops each before it asks for the next.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(start), len) }
    }
}

/// The twin of `matmul`, `matvec` and `matmul_soft`.
pub(super) fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, bias, residual, c] = args else { unreachable!("a matrix product has five bindings") };
    let [m, n, k] = [p.m, p.n, p.k].map(|d| d as usize);
    if m == 0 || n == 0 {
        return;
    }
    let finish = Finish::new(p, bias.read(), residual.read());
    let a = Operand { data: &a.read()[p.a_offset as usize..], ld: p.a_ld as usize };
    let b = Operand { data: &b.read()[p.b_offset as usize..], ld: p.b_ld as usize };
    let job = Job { form: form(p.form), k, a, b, finish: Some(&finish) };
    let panel = Panel::new(&mut c.write()[p.c_offset as usize..], p.c_ld as usize);
    job.run([m, n], panel, cx);
}

/// C = A B for [m, n, k], bare.
pub(super) fn product(
    form: Form,
    [m, n, k]: [usize; 3],
    a: Operand<'_>,
    b: Operand<'_>,
    c: Panel<'_>,
    cx: &TwinCx<'_>,
) {
    Job { form, k, a, b, finish: None }.run([m, n], c, cx);
}

pub(super) fn form(code: u32) -> Form {
    match code {
        0 => Form::NN,
        1 => Form::NT,
        _ => Form::TN,
    }
}

/// What a product [m, n, k] costs, for [`TwinCx::threads`].
pub(super) fn cost([m, n, k]: [usize; 3]) -> usize {
    m * n * k / PER_OPERATION
}

/// How many parts rows and columns are split into: nearly square parts, each with something to do.
fn split(threads: usize, m: usize, n: usize) -> [usize; 2] {
    let mut best = [1, 1];
    let mut least = usize::MAX;
    for parts_m in 1..=threads {
        if !threads.is_multiple_of(parts_m) {
            continue;
        }
        let parts_n = threads / parts_m;
        let (rows, cols) =
            (m.div_ceil(parts_m).next_multiple_of(4), n.div_ceil(parts_n).next_multiple_of(16));
        // What a part computes, then what it reads.
        let cost = rows * cols * 64 + (rows + cols);
        if cost < least {
            (best, least) = ([parts_m, parts_n], cost);
        }
    }
    best
}

/// Part `part` of `parts` of `0..n`, cut at multiples of `step`. May be empty; else it has `least` elements at least, or all.
fn share(n: usize, parts: usize, part: usize, [step, least]: [usize; 2]) -> Range<usize> {
    let each = n.div_ceil(parts.min(n / least).max(1)).next_multiple_of(step);
    let cut = |part: usize| match part * each {
        0 => 0,
        at if at + least <= n => at,
        _ => n,
    };
    cut(part)..cut(part + 1)
}

/// How the parts of a product are computed: a matter of its form and shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Straight from the operands, by `dot`.
    Few,
    /// By the gemm crate, in parts of this many rows and columns at least.
    Gemm { least: [usize; 2] },
    /// By the gemm crate, all at once: it has ways of its own for such shapes.
    Whole,
}

impl Way {
    fn of(form: Form, [m, n, k]: [usize; 3]) -> Way {
        let few = match form {
            Form::NT => {
                let shallow = k < DOT_DEPTH[usize::from(!k.is_multiple_of(16))];
                m <= match shallow {
                    true => AXPY_ROWS,
                    false if n >= WIDE[0] && n * k <= WIDE[1] => DOT_ROWS_WIDE,
                    false => DOT_ROWS,
                }
            }
            Form::NN => m <= AXPY_ROWS,
            Form::TN => false,
        };
        if few {
            return Way::Few;
        }
        // A single row or column is another special case of the crate's.
        if m == 1 || n == 1 || m * n <= HORIZONTAL {
            return Way::Whole;
        }
        // Enough of the one for what there is of the other.
        let enough = |beside: usize, step: usize| (HORIZONTAL / beside + 1).next_multiple_of(step);
        let cols = enough(m, STEP[1]);
        Way::Gemm { least: [enough(n.min(cols), STEP[0]).min(m), cols] }
    }
}

/// A product, resolved.
struct Job<'a> {
    form: Form,
    k: usize,
    a: Operand<'a>,
    b: Operand<'a>,
    finish: Option<&'a Finish<'a>>,
}

impl Job<'_> {
    /// Computes C, split over threads where that pays.
    fn run(&self, [m, n]: [usize; 2], c: Panel<'_>, cx: &TwinCx<'_>) {
        let way = Way::of(self.form, [m, n, self.k]);
        let (threads, least) = match way {
            Way::Few => (cx.threads(cost([m, n, self.k])), STEP),
            Way::Gemm { least } => (cx.threads(cost([m, n, self.k])), least),
            Way::Whole => (1, STEP),
        };
        let [parts_m, parts_n] = split(threads, m, n);
        cx.for_each(parts_m * parts_n, |part| {
            let rows = share(m, parts_m, part / parts_n, [STEP[0], least[0]]);
            let cols = share(n, parts_n, part % parts_n, [STEP[1], least[1]]);
            self.part(rows, cols, c, way == Way::Few);
        });
    }

    /// Computes and finishes some rows and columns of C.
    fn part(&self, rows: Range<usize>, cols: Range<usize>, c: Panel<'_>, few: bool) {
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        if few {
            // Blocks whose outputs stay in L1 until they are finished. Up to DOT_ROWS rows go at once.
            let height = if rows.len() <= DOT_ROWS { rows.len() } else { DOT_BLOCK };
            for i in rows.clone().step_by(height) {
                let block = i..rows.end.min(i + height);
                let width = (4096 / block.len()).next_multiple_of(128);
                for j in cols.clone().step_by(width) {
                    self.block(block.clone(), j..cols.end.min(j + width), c, true);
                }
            }
        } else {
            let height = (BLOCK / cols.len()).max(BLOCK_ROWS).next_multiple_of(16);
            let mut i = rows.start;
            while i < rows.end {
                // No short last block: the remainder joins the one before it.
                let end = if i + height + height / 2 >= rows.end { rows.end } else { i + height };
                self.block(i..end, cols.clone(), c, false);
                i = end;
            }
        }
    }

    fn block(&self, rows: Range<usize>, cols: Range<usize>, c: Panel<'_>, few: bool) {
        let shape = [rows.len(), cols.len(), self.k];
        let out = c.from(rows.start, cols.start);
        if self.k == 0 {
            (0..shape[0]).for_each(|i| out.segment(i, 0, shape[1]).fill(0.0));
        } else {
            let (a, b) = (self.a, self.b);
            let (a_at, b_at) = match self.form {
                Form::NN => (rows.start * a.ld, cols.start),
                Form::NT => (rows.start * a.ld, cols.start * b.ld),
                Form::TN => (rows.start, cols.start),
            };
            let a = Operand { data: &a.data[a_at..], ..a };
            let b = Operand { data: &b.data[b_at..], ..b };
            match self.form {
                Form::NT if few => dot::rows_nt(a, b, shape, out),
                Form::NN if few => dot::rows_nn(a, b, shape, out),
                form => packed(form, a, b, shape, out),
            }
        }
        for i in 0..shape[0] {
            if let Some(finish) = self.finish {
                finish.row(rows.start + i, cols.start, out.segment(i, 0, shape[1]));
            }
        }
    }
}

/// The gemm crate on one thread, a slice of the depth at a time.
fn packed(form: Form, a: Operand<'_>, b: Operand<'_>, [m, n, k]: [usize; 3], c: Panel<'_>) {
    let ((a_rows, a_cols), (b_rows, b_cols)) = match form {
        Form::NN => ((m, k), (k, n)),
        Form::NT => ((m, k), (n, k)),
        Form::TN => ((k, m), (k, n)),
    };
    assert!((a_rows - 1) * a.ld + a_cols <= a.data.len(), "operand A ends before its last element");
    assert!((b_rows - 1) * b.ld + b_cols <= b.data.len(), "operand B ends before its last element");
    assert!((m - 1) * c.ld + n <= c.len, "a product's output ends before its last element");
    let (a_row, a_col) = if form == Form::TN { (1, a.ld as isize) } else { (a.ld as isize, 1) };
    let (b_row, b_col) = if form == Form::NT { (1, b.ld as isize) } else { (b.ld as isize, 1) };
    let mut first = 0;
    while first < k {
        // No short last slice (which would be another case of the crate's): two halves in its place.
        let left = k - first;
        let depth = if left > SLICE && left < 2 * SLICE { left.div_ceil(2) } else { left.min(SLICE) };
        // SAFETY: the assertions above bound every element that the strides reach; C's part is this thread's alone.
        unsafe {
            gemm::gemm(
                m,
                n,
                depth,
                c.base,
                1,
                c.ld as isize,
                first > 0,
                a.data.as_ptr().offset(first as isize * a_col),
                a_col,
                a_row,
                b.data.as_ptr().offset(first as isize * b_row),
                b_col,
                b_row,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        first += depth;
    }
}
