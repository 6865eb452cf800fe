//! `attention_grad_q`: the gradient of attention by its queries.

use super::attention::gradient::{self, Head};
use super::attention::{Family, Params, Place, Sizes, place, tile, variants_agree};
use super::call::params;
use super::cost::{Cost, Span};
use super::{Arg, Command, Kernel, Target, TwinCx, Variant, variant};
use crate::device::Access;

const VARIANTS: [&Variant; 3] =
    [&variant::attention_grad_q::QUAD, &variant::attention_grad_q::TILE, &variant::attention_grad_q::ROW];

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

pub(super) static FAMILY: Family = Family {
    kernel: &KERNEL,
    quad: Some(&variant::attention_grad_q::QUAD),
    variants: [&variant::attention_grad_q::TILE, &variant::attention_grad_q::ROW],
    of_keys: false,
};

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
pub fn commands(
    sizes: &Sizes,
    x: Operands,
    dq: Place,
    target: &Target,
) -> impl Iterator<Item = Command> + use<> {
    let params = x.params(sizes, &dq);
    FAMILY.commands(&params, &[x.q.0, x.k.0, x.v.0, x.y.0, x.d.0, dq.0], target)
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
    let (rows, tokens, stride) = ((p.batch * p.q_tokens) as usize, p.q_tokens as usize, p.out[1] as usize);
    tile::blocks(cx, out, stride, [rows, tokens], p.cost(3), |tiles, row, count, out| {
        (0..count).for_each(|i| out[i * stride..i * stride + p.width()].fill(0.0));
        let own = row % tokens..row % tokens + count;
        for h in 0..p.heads as usize {
            let head = Head::new(p, [q, k, v, y, d], row / tokens, h);
            gradient::queries(&head, own.clone(), tiles, &mut out[h * p.dim as usize..], stride);
        }
    });
}
