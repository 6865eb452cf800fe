//! `attention`: multi-head scaled dot-product attention with an online softmax; and what its derivatives' kernels share.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::target::bucket;
use super::{Arg, BufferId, Command, Kernel, Target, TwinCx, Variant, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use forward::Block;
use tile::Rows;

mod forward;
pub(super) mod gradient;
pub(super) mod tile;

/// Heads, tokens and mask of an attention. Batch sizes and the width of a head follow from the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Heads: equal parts of the columns.
    pub heads: usize,
    /// Queries of a batch entry.
    pub q_tokens: usize,
    /// Keys of a batch entry.
    pub k_tokens: usize,
    /// Query i sees keys 0 to i only.
    pub causal: bool,
}

/// All sizes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Heads, tokens, mask.
    pub shape: AttentionShape,
    /// Batch entries of the queries.
    pub batch: usize,
    /// Each batch entry of the keys serves this many of the queries'.
    pub k_batch_div: usize,
    /// Columns of a head.
    pub dim: usize,
}

/// A buffer and a view with plain rows.
pub type Place = (BufferId, View);

/// Parameters of every attention kernel; mirrors the struct in `shaders/shared/attention.wgsl`. An operand's pair is the
/// place of its first element and the distance of its rows.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Params {
    pub(super) batch: u32,
    pub(super) heads: u32,
    pub(super) q_tokens: u32,
    pub(super) k_tokens: u32,
    pub(super) dim: u32,
    pub(super) k_batch_div: u32,
    pub(super) flags: u32,
    pub(super) scale: f32,
    pub(super) q: [u32; 2],
    pub(super) k: [u32; 2],
    pub(super) v: [u32; 2],
    pub(super) y: [u32; 2],
    pub(super) d: [u32; 2],
    pub(super) out: [u32; 2],
    pub(super) tq: [u32; 2],
    pub(super) tk: [u32; 2],
    pub(super) tv: [u32; 2],
    pub(super) pad: [u32; 2],
}

const CAUSAL: u32 = 1;
pub(super) const HAS_TQ: u32 = 2;
pub(super) const HAS_TK: u32 = 4;
pub(super) const HAS_TV: u32 = 8;

/// A view with plain rows, as the parameters have it.
pub(super) fn place(view: &View) -> [u32; 2] {
    debug_assert!(view.plain_rows());
    [view.offset, view.row_stride]
}

impl Params {
    pub(super) fn new(sizes: &Sizes, q: &Place, k: &Place, v: &Place, out: &Place) -> Params {
        let Sizes { shape, batch, k_batch_div, dim } = *sizes;
        Params {
            batch: batch as u32,
            heads: shape.heads as u32,
            q_tokens: shape.q_tokens as u32,
            k_tokens: shape.k_tokens as u32,
            dim: dim as u32,
            k_batch_div: k_batch_div as u32,
            flags: if shape.causal { CAUSAL } else { 0 },
            scale: 1.0 / (dim as f32).sqrt(),
            q: place(&q.1),
            k: place(&k.1),
            v: place(&v.1),
            out: place(&out.1),
            ..Params::default()
        }
    }

    /// Whether every row of a head begins at a multiple of four elements, in the operands, and ends at one.
    fn by_fours(&self) -> bool {
        let all = [[self.dim; 2], self.q, self.k, self.v, self.y, self.d];
        all.iter().flatten().all(|n| n.is_multiple_of(4))
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Columns of all heads: where the log-sum-exps begin in a row of a result.
    pub(super) fn width(&self) -> usize {
        self.heads as usize * self.dim as usize
    }

    /// The keys that query `row` (of all) sees: their first row and how many.
    pub(super) fn keys(&self, row: usize) -> (usize, usize) {
        let (b, i) = (row / self.q_tokens as usize, row % self.q_tokens as usize);
        let first = b / self.k_batch_div as usize * self.k_tokens as usize;
        let all = self.k_tokens as usize;
        (first, if self.has(CAUSAL) { all.min(i + 1) } else { all })
    }

    /// Columns `h dim ..` of row `i` of an operand.
    pub(super) fn head<'a>(&self, data: &'a [f32], at: [u32; 2], i: usize, h: usize) -> &'a [f32] {
        let start = at[0] as usize + i * at[1] as usize + h * self.dim as usize;
        &data[start..start + self.dim as usize]
    }

    /// The log-sum-exp of head `h` in row `i` of a result (or its cotangent): it follows the columns of all heads.
    pub(super) fn last(&self, data: &[f32], at: [u32; 2], i: usize, h: usize) -> f32 {
        data[at[0] as usize + i * at[1] as usize + self.width() + h]
    }

    /// Rows of the keys and values.
    pub(super) fn key_rows(&self) -> usize {
        (self.batch / self.k_batch_div.max(1) * self.k_tokens) as usize
    }

    /// What is read of the keys or values: the rows that some query sees.
    pub(super) fn key_span(&self, at: [u32; 2]) -> Span {
        let unseen = if self.has(CAUSAL) { self.k_tokens.saturating_sub(self.q_tokens) } else { 0 };
        let entries = (self.batch / self.k_batch_div.max(1)) as usize;
        match unseen {
            0 => Span::rows(at, [self.key_rows(), self.width()]),
            // The last of each batch entry are left out, which a span cannot say.
            _ => Span::scattered((self.key_rows() - entries * unseen as usize) * self.width()),
        }
    }

    /// Pairs of a query and a key that it sees, over all heads.
    pub(super) fn pairs(&self) -> usize {
        let keys: usize = (0..self.q_tokens as usize).map(|i| self.keys(i).1).sum();
        self.batch as usize * self.heads as usize * keys
    }

    /// The cost of reading q, k and v, at bindings 0 to 2.
    pub(super) fn operands(&self, flops: usize) -> Cost {
        let rows = (self.batch * self.q_tokens) as usize;
        let cost = Cost::new(flops).reads(0, Span::rows(self.q, [rows, self.width()]));
        cost.reads(1, self.key_span(self.k)).reads(2, self.key_span(self.v))
    }

    /// A result [o | log-sum-exp].
    pub(super) fn result(&self, at: [u32; 2], rows: usize) -> Span {
        Span::rows(at, [rows, self.width() + self.heads as usize])
    }

    /// Scalar operations of a pass with `dots` products along the keys.
    pub(super) fn cost(&self, dots: usize) -> usize {
        self.batch as usize * self.q_tokens as usize * self.k_tokens as usize * self.width() * dots
    }
}

/// One of attention's kernels and its variants: by tiles, by rows; by tiles and loads of four, where there is one.
pub(super) struct Family {
    pub(super) kernel: &'static Kernel,
    pub(super) quad: Option<&'static Variant>,
    pub(super) variants: [&'static Variant; 2],
    /// Whether a workgroup takes keys; else queries.
    pub(super) of_keys: bool,
}

impl Family {
    /// A command for each variant that a target and a width of head admit: what was measured to be fastest first, else the best guess.
    pub(super) fn commands(
        &self,
        p: &Params,
        args: &[BufferId],
        target: &Target,
    ) -> impl Iterator<Item = Command> + use<> {
        let [tile, row] = self.variants;
        let fits = |v: &&Variant| {
            p.dim <= v.constant("DMAX")
                && (!target.gpu
                    || (v.shared_bytes <= target.workgroup_bytes && v.workgroup[0] <= target.invocations))
        };
        let tile = Some(tile).filter(fits);
        let quad = self.quad.filter(|v| p.by_fours() && fits(v));
        let order = match target.software || !target.gpu {
            true => [Some(row), tile, quad],
            false => [quad, tile, Some(row)],
        };
        let mut order: Vec<&'static Variant> = order.into_iter().flatten().collect();
        if let Some(best) = target.tuned(|| self.question(p), &order, |v| v.name) {
            order.sort_by_key(|v| !std::ptr::eq(*v, best));
        }
        let (entries, tokens) = match self.of_keys {
            true => (p.batch / p.k_batch_div.max(1), p.k_tokens),
            false => (p.batch, p.q_tokens),
        };
        let (kernel, groups, tokens) = (self.kernel, (entries * p.heads) as usize, tokens as usize);
        let (p, args) = (*p, args.to_vec());
        order.into_iter().map(move |v| Command::new(kernel, v, &p, &args, grid(v, groups, tokens)))
    }

    /// What a tuned choice is filed under: calls of one bucket share it.
    pub(super) fn question(&self, p: &Params) -> String {
        let [groups, queries, keys] =
            [p.batch * p.heads, p.q_tokens, p.k_tokens].map(|size| bucket(size as usize));
        let mask = if p.has(CAUSAL) { ", causal" } else { "" };
        let fours = if p.by_fours() { ", fours" } else { "" };
        format!(
            "{} {groups} x {} columns, {queries} queries, {keys} keys{mask}{fours}",
            self.kernel.name, p.dim
        )
    }
}

/// Workgroups for `tokens` rows of each of `groups` heads of batch entries.
fn grid(variant: &Variant, groups: usize, tokens: usize) -> [u32; 3] {
    let rows = variant.constant("R");
    match variant.constant("DMAX") {
        0 => fold(groups * tokens, rows),
        _ => fold(groups * tokens.div_ceil(rows as usize), 1),
    }
}

/// Whether variants have the workgroups that their constants say; for compile-time asserts.
pub(super) const fn variants_agree(variants: &[&Variant]) -> bool {
    let mut n = 0;
    while n < variants.len() {
        let v = variants[n];
        if v.workgroup[0] != v.constant("R") * v.constant("L")
            || v.params_bytes as usize != size_of::<Params>()
        {
            return false;
        }
        n += 1;
    }
    true
}

const VARIANTS: [&Variant; 3] =
    [&variant::attention::QUAD, &variant::attention::TILE, &variant::attention::ROW];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "attention",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(variants_agree(&VARIANTS));

pub(super) static FAMILY: Family = Family {
    kernel: &KERNEL,
    quad: Some(&variant::attention::QUAD),
    variants: [&variant::attention::TILE, &variant::attention::ROW],
    of_keys: false,
};

/// out = [softmax(q kᵀ / sqrt(dim)) v | log-sum-exp of the scores], head by head and batch entry by batch entry: q is
/// [batch * q_tokens, heads * dim], k and v are [batch / k_batch_div * k_tokens, heads * dim], out is
/// [batch * q_tokens, heads * dim + heads]. One command per variant that suits the target, best first.
pub fn commands(
    sizes: &Sizes,
    q: Place,
    k: Place,
    v: Place,
    out: Place,
    target: &Target,
) -> impl Iterator<Item = Command> + use<> {
    let params = Params::new(sizes, &q, &k, &v, &out);
    FAMILY.commands(&params, &[q.0, k.0, v.0, out.0], target)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let rows = (p.batch * p.q_tokens) as usize;
    p.operands(p.pairs() * (4 * p.dim as usize + 3)).writes(3, p.result(p.out, rows))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [q, k, v, out] = args else { unreachable!("attention has four bindings") };
    let (q, k, v, out) = (q.read(), k.read(), v.read(), &mut out.write()[p.out[0] as usize..]);
    let (rows, tokens, stride) = ((p.batch * p.q_tokens) as usize, p.q_tokens as usize, p.out[1] as usize);
    tile::blocks(cx, out, stride, [rows, tokens], p.cost(2), |tiles, row, count, out| {
        let (first, keys) = p.keys(row + count - 1);
        for h in 0..p.heads as usize {
            let column = h * p.dim as usize;
            let block = Block {
                q: Rows::new(q, p.q, row, column),
                k: Rows::new(k, p.k, first, column),
                v: Rows::new(v, p.v, first, column),
                own: row % tokens..row % tokens + count,
                tokens,
                keys,
                causal: p.has(CAUSAL),
                dim: p.dim as usize,
                scale: p.scale,
            };
            forward::run(&block, tiles, &mut out[column..], p.width() - column + h, stride);
        }
    });
}
