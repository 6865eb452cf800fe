//! `attention_jvp`: the tangent of attention's result, in one pass over the keys.

use super::attention::tile::Rows;
use super::attention::{Family, HAS_TK, HAS_TQ, HAS_TV, Params, Place, Sizes, place, variants_agree};
use super::call::params;
use super::cost::{Cost, Span};
use super::math::exp;
use super::rowwise::{dot, whole_rows};
use super::{Arg, BufferId, Command, Kernel, Target, TwinCx, Variant, variant};
use crate::device::Access;
use multiversion::multiversion;

const VARIANTS: [&Variant; 2] = [&variant::attention_jvp::TILE, &variant::attention_jvp::ROW];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "attention_jvp",
    access: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Write,
    ],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(variants_agree(&VARIANTS));

pub(super) static FAMILY: Family = Family { kernel: &KERNEL, quad: None, variants: VARIANTS, of_keys: false };

/// The tangent, shaped like the result y = [o | lse] of [`super::attention`], of q, k and v with `tangents` (none: zero),
/// shaped like them. `empty` is bound, and never read, where there is none. One command per variant that suits the target,
/// best first.
pub fn commands(
    sizes: &Sizes,
    [q, k, v, y]: [Place; 4],
    tangents: [Option<Place>; 3],
    out: Place,
    empty: BufferId,
    target: &Target,
) -> impl Iterator<Item = Command> + use<> {
    let mut params = Params { y: place(&y.1), ..Params::new(sizes, &q, &k, &v, &out) };
    let at = tangents.map(|t| t.map_or([0; 2], |t| place(&t.1)));
    [params.tq, params.tk, params.tv] = at;
    for (t, flag) in tangents.iter().zip([HAS_TQ, HAS_TK, HAS_TV]) {
        params.flags |= if t.is_some() { flag } else { 0 };
    }
    let [tq, tk, tv] = tangents.map(|t| t.map_or(empty, |t| t.0));
    FAMILY.commands(&params, &[q.0, k.0, v.0, y.0, tq, tk, tv, out.0], target)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (rows, dim) = ((p.batch * p.q_tokens) as usize, p.dim as usize);
    let tangents = [HAS_TQ, HAS_TK, HAS_TV].map(|flag| p.has(flag));
    let products = 2 + tangents.iter().filter(|t| **t).count();
    let cost = p.operands(p.pairs() * (2 * dim * products + 4)).reads(3, p.result(p.y, rows));
    let cost = cost.reads_if(tangents[0], 4, Span::rows(p.tq, [rows, p.width()]));
    let cost = cost.reads_if(tangents[1], 5, p.key_span(p.tk));
    cost.reads_if(tangents[2], 6, p.key_span(p.tv)).writes(7, p.result(p.out, rows))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [q, k, v, y, tq, tk, tv, out] = args else { unreachable!("attention_jvp has eight bindings") };
    let (q, k, v, y, tq, tk, tv) = (q.read(), k.read(), v.read(), y.read(), tq.read(), tk.read(), tv.read());
    let out = &mut out.write()[p.out[0] as usize..];
    let (rows, width, dim) = ((p.batch * p.q_tokens) as usize, p.width(), p.dim as usize);
    whole_rows(cx, out, p.out[1] as usize, [rows, width + p.heads as usize], p.cost(5), |row, out| {
        let (first, keys) = p.keys(row);
        let (to, tlse) = out.split_at_mut(width);
        for (h, (to, tlse)) in to.chunks_exact_mut(dim).zip(tlse).enumerate() {
            let rows = |data, at: [u32; 2]| Rows::new(data, at, first, h * dim);
            let query = Query {
                q: p.head(q, p.q, row, h),
                tq: p.has(HAS_TQ).then(|| p.head(tq, p.tq, row, h)),
                scale: p.scale,
                lse: p.last(y, p.y, row, h),
                keys,
            };
            let tangents = [p.has(HAS_TK).then(|| rows(tk, p.tk)), p.has(HAS_TV).then(|| rows(tv, p.tv))];
            *tlse = line(&query, rows(k, p.k), rows(v, p.v), tangents, to);
            for (to, o) in to.iter_mut().zip(p.head(y, p.y, row, h)) {
                *to -= *tlse * o;
            }
        }
    });
}

/// One query of one head.
struct Query<'a> {
    q: &'a [f32],
    tq: Option<&'a [f32]>,
    scale: f32,
    lse: f32,
    keys: usize,
}

/// The sum over the keys of p (ds v + tv) into `out`; the tangent of the log-sum-exp, sum p ds.
#[multiversion(targets("x86_64+avx2+fma"))]
fn line(x: &Query<'_>, k: Rows<'_>, v: Rows<'_>, [tk, tv]: [Option<Rows<'_>>; 2], out: &mut [f32]) -> f32 {
    out.fill(0.0);
    let (dim, mut total) = (x.q.len(), 0.0f32);
    for j in 0..x.keys {
        let key = k.row(j, dim);
        let weight = exp(x.scale * dot(x.q, key) - x.lse);
        let mut slope = 0.0;
        if let Some(tq) = x.tq {
            slope += dot(tq, key);
        }
        if let Some(tk) = tk {
            slope += dot(x.q, tk.row(j, dim));
        }
        let slope = weight * x.scale * slope;
        total += slope;
        for (out, v) in out.iter_mut().zip(v.row(j, dim)) {
            *out += slope * v;
        }
        if let Some(tv) = tv {
            for (out, tv) in out.iter_mut().zip(tv.row(j, dim)) {
                *out += weight * tv;
            }
        }
    }
    total
}
