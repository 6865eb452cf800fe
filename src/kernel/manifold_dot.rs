//! `manifold_dot`: <a, b> c over the curved parts of actions: the building block of projections to tangent spaces.

use super::attention::{Place, place};
use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::manifold::{Parts, part};
use super::rowwise::whole_rows;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    horizon: u32,
    dim: u32,
    count: u32,
    a: [u32; 2],
    b: [u32; 2],
    c: [u32; 2],
    y: [u32; 2],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "manifold_dot",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::manifold_dot::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::manifold_dot::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::manifold_dot::ONLY.workgroup[0] == 64);

/// y = <a, b> c on each curved part, 0 on flat ones, for `rows` chunks of `horizon` actions, [rows, horizon * dim]; `table` holds
/// what [`Parts::table`] gives.
pub fn command(
    [rows, horizon]: [usize; 2],
    parts: &Parts,
    [a, b, c]: [Place; 3],
    table: BufferId,
    y: Place,
) -> Command {
    let params = Params {
        rows: rows as u32,
        horizon: horizon as u32,
        dim: parts.dim() as u32,
        count: parts.count() as u32,
        a: place(&a.1),
        b: place(&b.1),
        c: place(&c.1),
        y: place(&y.1),
    };
    let grid = fold(rows * horizon * parts.count(), 64);
    Command::new(&KERNEL, &variant::manifold_dot::ONLY, &params, &[a.0, b.0, c.0, table, y.0], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, (p.horizon * p.dim) as usize];
    // Which columns are flat, and need no a and b, the parameters do not say: all count.
    let cost = [p.a, p.b, p.c].into_iter().enumerate();
    let cost =
        cost.fold(Cost::new(3 * shape[0] * shape[1]), |cost, (n, at)| cost.reads(n, Span::rows(at, shape)));
    cost.reads(3, Span::dense(0, 3 * p.count as usize)).writes(4, Span::rows(p.y, shape))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, c, table, y] = args else { unreachable!("manifold_dot has five bindings") };
    let (a, b, c, table) = (a.read(), b.read(), c.read(), table.read());
    let (rows, dim, chunk) = (p.rows as usize, p.dim as usize, (p.horizon * p.dim) as usize);
    let y = &mut y.write()[p.y[0] as usize..];
    whole_rows(cx, y, p.y[1] as usize, [rows, chunk], 4 * rows * chunk, |i, y| {
        let row = |x: &'_ [f32], [at, ld]: [u32; 2]| at as usize + i * ld as usize..x.len();
        let (a, b, c) = (&a[row(a, p.a)], &b[row(b, p.b)], &c[row(c, p.c)]);
        for n in 0..p.horizon as usize * p.count as usize {
            let [start, len, kind] = part(table, n % p.count as usize);
            let at = n / p.count as usize * dim + start;
            let span = at..at + len;
            let inner: f32 = match kind {
                0 => 0.0,
                _ => a[span.clone()].iter().zip(&b[span.clone()]).map(|(a, b)| a * b).sum(),
            };
            y[span.clone()].iter_mut().zip(&c[span]).for_each(|(y, c)| *y = inner * c);
        }
    });
}
