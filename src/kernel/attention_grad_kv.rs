//! `attention_grad_kv`: the gradients of attention by its keys and values.

use super::attention::gradient::{self, Head};
use super::attention::{Family, Params, Place, Sizes, tile, variants_agree};
pub use super::attention_grad_q::Operands;
use super::call::params;
use super::cost::{Cost, Span};
use super::{Arg, Command, Kernel, Target, TwinCx, Variant, variant};
use crate::device::Access;

const VARIANTS: [&Variant; 3] =
    [&variant::attention_grad_kv::QUAD, &variant::attention_grad_kv::TILE, &variant::attention_grad_kv::ROW];

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

pub(super) static FAMILY: Family = Family {
    kernel: &KERNEL,
    quad: Some(&variant::attention_grad_kv::QUAD),
    variants: [&variant::attention_grad_kv::TILE, &variant::attention_grad_kv::ROW],
    of_keys: true,
};

/// [dk | dv], [batch / k_batch_div * k_tokens, 2 * heads * dim], one command per variant that suits the target, best
/// first. Sums over the queries are in their order.
pub fn commands(
    sizes: &Sizes,
    x: Operands,
    dkv: Place,
    target: &Target,
) -> impl Iterator<Item = Command> + use<> {
    let params = x.params(sizes, &dkv);
    FAMILY.commands(&params, &[x.q.0, x.k.0, x.v.0, x.y.0, x.d.0, dkv.0], target)
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
    let (tokens, div, stride) = (p.k_tokens as usize, p.k_batch_div as usize, p.out[1] as usize);
    let rows = p.key_rows();
    tile::blocks(cx, out, stride, [rows, tokens], p.cost(5), |tiles, row, count, out| {
        (0..count).for_each(|i| out[i * stride..i * stride + 2 * p.width()].fill(0.0));
        let (b, own) = (row / tokens, row % tokens..row % tokens + count);
        for h in 0..p.heads as usize {
            for b in b * div..(b + 1) * div {
                let head = Head::new(p, [q, k, v, y, d], b, h);
                let out = &mut out[h * p.dim as usize..];
                gradient::keys(&head, own.clone(), tiles, out, p.width(), stride);
            }
        }
    });
}
