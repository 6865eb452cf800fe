//! `attention_grad_q`: the gradient of attention by its queries.

use super::attention::{KeyRows, Params, Place, Sizes, choose, grid, place, variants_agree};
use super::call::params;
use super::cost::{Cost, Span};
use super::math::exp;
use super::rowwise::{dot, whole_rows};
use super::{Arg, Command, Kernel, Target, TwinCx, Variant, variant};
use crate::device::Access;
use multiversion::multiversion;

const VARIANTS: [&Variant; 2] = [&variant::attention_grad_q::TILE, &variant::attention_grad_q::ROW];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "attention_grad_q",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(variants_agree(&VARIANTS));

/// What both gradients read: q, k and v, the result y = [o | lse] of [`super::attention`], and its cotangent d, shaped like it.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Queries.
    pub q: Place,
    /// Keys.
    pub k: Place,
    /// Values.
    pub v: Place,
    /// Result.
    pub y: Place,
    /// Cotangent.
    pub d: Place,
}

impl Operands {
    pub(super) fn params(&self, sizes: &Sizes, out: &Place) -> Params {
        let Operands { q, k, v, y, d } = self;
        Params { y: place(&y.1), d: place(&d.1), ..Params::new(sizes, q, k, v, out) }
    }
}

/// dq, [batch * q_tokens, heads * dim], one command per variant that suits the target, best first.
pub fn commands(sizes: &Sizes, x: Operands, dq: Place, target: &Target) -> impl Iterator<Item = Command> {
    let params = x.params(sizes, &dq);
    let (groups, tokens) = (sizes.batch * sizes.shape.heads, sizes.shape.q_tokens);
    choose(VARIANTS, sizes.dim, target).map(move |variant| {
        let args = [x.q.0, x.k.0, x.v.0, x.y.0, x.d.0, dq.0];
        Command::new(&KERNEL, variant, &params, &args, grid(variant, groups, tokens))
    })
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let rows = (p.batch * p.q_tokens) as usize;
    let cost = p.operands(p.pairs() * (6 * p.dim as usize + 4) + 2 * rows * p.width());
    let cost = cost.reads(3, p.result(p.y, rows)).reads(4, p.result(p.d, rows));
    cost.writes(5, Span::rows(p.out, [rows, p.width()]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [q, k, v, y, d, out] = args else { unreachable!("attention_grad_q has six bindings") };
    let (q, k, v, y, d) = (q.read(), k.read(), v.read(), y.read(), d.read());
    let out = &mut out.write()[p.out[0] as usize..];
    let (rows, width, dim) = ((p.batch * p.q_tokens) as usize, p.width(), p.dim as usize);
    whole_rows(cx, out, p.out[1] as usize, [rows, width], p.cost(3), |row, out| {
        let (first, keys) = p.keys(row);
        for (h, out) in out.chunks_exact_mut(dim).enumerate() {
            let rows = |data, at: [u32; 2]| KeyRows::new(data, at, first, h * dim);
            let cotangent = p.head(d, p.d, row, h);
            let delta = dot(cotangent, p.head(y, p.y, row, h)) - p.last(d, p.d, row, h);
            let (q, lse) = (p.head(q, p.q, row, h), p.last(y, p.y, row, h));
            line(q, cotangent, [p.scale, lse, delta], rows(k, p.k), rows(v, p.v), keys, out);
        }
    });
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(
    q: &[f32],
    d: &[f32],
    [scale, lse, delta]: [f32; 3],
    k: KeyRows<'_>,
    v: KeyRows<'_>,
    keys: usize,
    out: &mut [f32],
) {
    out.fill(0.0);
    for j in 0..keys {
        let k = k.row(j, q.len());
        let weight = exp(scale * dot(q, k) - lse);
        let slope = scale * weight * (dot(d, v.row(j, q.len())) - delta);
        for (out, k) in out.iter_mut().zip(k) {
            *out += slope * k;
        }
    }
}
