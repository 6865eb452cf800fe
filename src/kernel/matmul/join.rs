//! `matmul_join`: adds the parts of a product that `matmul_split` wrote, and applies the epilogue.

use super::epilogue::Finish;
use super::{Activation, Epilogue, HAS_BIAS, HAS_RESIDUAL, Params};
use crate::device::Access;
use crate::kernel::call::{fold, params};
use crate::kernel::cost::{Cost, Span};
use crate::kernel::variant::matmul_join;
use crate::kernel::{Arg, BufferId, Command, Kernel, TwinCx, View};

/// The kernel. Of [`Params`], k is the number of parts and `a_ld` the distance from one to the next.
pub static JOIN: Kernel = Kernel {
    name: "matmul_join",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&matmul_join::ONLY],
    twin,
    cost,
};
const _: () = assert!(matmul_join::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(matmul_join::ONLY.workgroup[0] == 64);

/// What `product` computes, from `slices` parts at the start of `parts`.
pub(super) fn command(
    product: &Command,
    slices: usize,
    parts: BufferId,
    [bias, residual]: [BufferId; 2],
) -> Command {
    let p: &Params = params(&product.params);
    let elements = p.m * p.n;
    let p = Params {
        k: slices as u32,
        form: 0,
        a_offset: 0,
        a_ld: elements,
        b_offset: 0,
        b_ld: 0,
        groups_n: 0,
        ..*p
    };
    let c = product.args[4];
    Command::new(&JOIN, &matmul_join::ONLY, &p, &[parts, bias, residual, c], fold(elements as usize, 64))
}

/// Where a command of this kernel leaves its result, and what it does to the sum.
pub(super) fn result(command: &Command) -> Option<((BufferId, View), Epilogue)> {
    if !std::ptr::eq(command.kernel, &JOIN) {
        return None;
    }
    let p: &Params = params(&command.params);
    let [_, bias, residual, c] = command.args[..] else { return None };
    Some(((c, View::strided(p.c_offset as usize, p.c_ld as usize)), p.epilogue(bias, residual)?))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [m, n, parts] = [p.m, p.n, p.k].map(|d| d as usize);
    let (bias, residual) = (p.has(HAS_BIAS), p.has(HAS_RESIDUAL));
    let act = usize::from(p.act != Activation::Identity.code());
    let each = act + usize::from(p.alpha != 1.0) + usize::from(bias) + 2 * usize::from(residual);
    let cost = Cost::new((parts.saturating_sub(1) + each) * m * n);
    let cost = cost.reads(0, Span::rows([p.a_offset, p.a_ld], [parts, m * n]));
    let cost = cost.reads_if(bias, 1, Span::dense(p.bias_offset, n));
    let cost = cost.reads_if(residual, 2, Span::view(&p.residual, [m, n]));
    cost.writes(3, Span::rows([p.c_offset, p.c_ld], [m, n]))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], _: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [parts, bias, residual, c] = args else { unreachable!("a join has four bindings") };
    let finish = Finish::new(p, bias.read(), residual.read());
    let (parts, c) = (&parts.read()[p.a_offset as usize..], c.write());
    let [n, count, stride] = [p.n, p.k, p.a_ld].map(|d| d as usize);
    for i in 0..p.m as usize {
        let row = &mut c[p.c_offset as usize + i * p.c_ld as usize..][..n];
        row.fill(0.0);
        for s in 0..count {
            row.iter_mut().zip(&parts[s * stride + i * n..]).for_each(|(c, part)| *c += part);
        }
        finish.row(i, 0, row);
    }
}
