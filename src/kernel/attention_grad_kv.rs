//! `attention_grad_kv`: the gradients of attention by its keys and values.

use super::attention::{Params, Place, Sizes, choose, grid, variants_agree};
pub use super::attention_grad_q::Operands;
use super::call::params;
use super::cost::{Cost, Span};
use super::math::exp;
use super::rowwise::{dot, whole_rows};
use super::{Arg, Command, Kernel, Target, TwinCx, Variant, variant};
use crate::device::Access;
use multiversion::multiversion;

const VARIANTS: [&Variant; 2] = [&variant::attention_grad_kv::TILE, &variant::attention_grad_kv::ROW];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "attention_grad_kv",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(variants_agree(&VARIANTS));

/// [dk | dv], [batch / k_batch_div * k_tokens, 2 * heads * dim], one command per variant that suits the target, best
/// first. Sums over the queries are in their order.
pub fn commands(sizes: &Sizes, x: Operands, dkv: Place, target: &Target) -> impl Iterator<Item = Command> {
    let params = x.params(sizes, &dkv);
    let groups = sizes.batch / sizes.k_batch_div * sizes.shape.heads;
    let tokens = sizes.shape.k_tokens;
    choose(VARIANTS, sizes.dim, target).map(move |variant| {
        let args = [x.q.0, x.k.0, x.v.0, x.y.0, x.d.0, dkv.0];
        Command::new(&KERNEL, variant, &params, &args, grid(variant, groups, tokens))
    })
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let rows = (p.batch * p.q_tokens) as usize;
    let cost = p.operands(p.pairs() * (8 * p.dim as usize + 5) + 2 * rows * p.width());
    let cost = cost.reads(3, p.result(p.y, rows)).reads(4, p.result(p.d, rows));
    cost.writes(5, Span::rows(p.out, [p.key_rows(), 2 * p.width()]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [q, k, v, y, d, out] = args else { unreachable!("attention_grad_kv has six bindings") };
    let (q, k, v, y, d) = (q.read(), k.read(), v.read(), y.read(), d.read());
    let out = &mut out.write()[p.out[0] as usize..];
    let (k_tokens, div) = (p.k_tokens as usize, p.k_batch_div as usize);
    let (rows, width, dim) = (p.batch as usize / div * k_tokens, p.width(), p.dim as usize);
    whole_rows(cx, out, p.out[1] as usize, [rows, 2 * width], p.cost(5), |row, out| {
        let (b, j) = (row / k_tokens, row % k_tokens);
        let (dk, dv) = out.split_at_mut(width);
        dk.fill(0.0);
        dv.fill(0.0);
        for (h, (dk, dv)) in dk.chunks_exact_mut(dim).zip(dv.chunks_exact_mut(dim)).enumerate() {
            let (k, v) = (p.head(k, p.k, row, h), p.head(v, p.v, row, h));
            for b in b * div..(b + 1) * div {
                for i in p.first_query(j)..p.q_tokens as usize {
                    let i = b * p.q_tokens as usize + i;
                    let (o, d_o) = (p.head(y, p.y, i, h), p.head(d, p.d, i, h));
                    let scalars = [p.scale, p.last(y, p.y, i, h), p.last(d, p.d, i, h)];
                    line(p.head(q, p.q, i, h), k, v, o, d_o, scalars, dk, dv);
                }
            }
        }
    });
}

/// What one query adds to one key's and value's gradients.
#[multiversion(targets("x86_64+avx2+fma"))]
#[allow(clippy::too_many_arguments)]
fn line(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    o: &[f32],
    d: &[f32],
    [scale, lse, d_lse]: [f32; 3],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let weight = exp(scale * dot(q, k) - lse);
    let slope = scale * weight * (dot(d, v) - dot(d, o) + d_lse);
    for (dk, q) in dk.iter_mut().zip(q) {
        *dk += slope * q;
    }
    for (dv, d) in dv.iter_mut().zip(d) {
        *dv += weight * d;
    }
}
