//! `manifold_exp`: steps on a product of manifolds, along geodesics or straight on and back to the manifold.

use super::attention::{Place, place};
use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::manifold::{Parts, Vector, combine, dot, part, unit, vector};
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
    x: [u32; 2],
    w: [u32; 2],
    y: [u32; 2],
    straight: u32,
    pad: u32,
}

/// How curved parts move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Way {
    /// exp_x of the tangent part of w.
    Geodesic = 0,
    /// (x + w) / |x + w|.
    Straight = 1,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "manifold_exp",
    access: &[Access::Read, Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::manifold_exp::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::manifold_exp::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::manifold_exp::ONLY.workgroup[0] == 64);

/// y: where `rows` chunks x of `horizon` actions come to along w, all [rows, horizon * dim]; `table` holds what [`Parts::table`]
/// gives. Curved parts of x are brought to unit length first.
pub fn command(
    [rows, horizon]: [usize; 2],
    parts: &Parts,
    way: Way,
    [x, w]: [Place; 2],
    table: BufferId,
    y: Place,
) -> Command {
    let params = Params {
        rows: rows as u32,
        horizon: horizon as u32,
        dim: parts.dim() as u32,
        count: parts.count() as u32,
        x: place(&x.1),
        w: place(&w.1),
        y: place(&y.1),
        straight: way as u32,
        pad: 0,
    };
    let grid = fold(rows * horizon * parts.count(), 64);
    Command::new(&KERNEL, &variant::manifold_exp::ONLY, &params, &[x.0, w.0, table, y.0], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let shape = [p.rows as usize, (p.horizon * p.dim) as usize];
    let cost =
        Cost::new(shape[0] * shape[1]).reads(0, Span::rows(p.x, shape)).reads(1, Span::rows(p.w, shape));
    cost.reads(2, Span::dense(0, 3 * p.count as usize)).writes(3, Span::rows(p.y, shape))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, w, table, y] = args else { unreachable!("manifold_exp has four bindings") };
    let (x, w, table) = (x.read(), w.read(), table.read());
    let (rows, dim, chunk) = (p.rows as usize, p.dim as usize, (p.horizon * p.dim) as usize);
    let y = &mut y.write()[p.y[0] as usize..];
    whole_rows(cx, y, p.y[1] as usize, [rows, chunk], 20 * rows * chunk, |i, y| {
        let (x, w) =
            (&x[p.x[0] as usize + i * p.x[1] as usize..], &w[p.w[0] as usize + i * p.w[1] as usize..]);
        for n in 0..p.horizon as usize * p.count as usize {
            let [start, len, kind] = part(table, n % p.count as usize);
            let at = n / p.count as usize * dim + start;
            let (x, w, y) = (&x[at..at + len], &w[at..at + len], &mut y[at..at + len]);
            match kind {
                0 => y.iter_mut().zip(x.iter().zip(w)).for_each(|(y, (x, w))| *y = x + w),
                _ => y.copy_from_slice(&moved(p.straight == 1, vector(x), vector(w))[..len]),
            }
        }
    });
}

fn moved(straight: bool, x: Vector, w: Vector) -> Vector {
    let x = unit(x);
    if straight {
        return unit(combine(1.0, x, 1.0, w));
    }
    let w = combine(1.0, w, -dot(w, x), x);
    let theta = dot(w, w).sqrt();
    let sinc = if theta < 1e-2 { 1.0 - theta * theta / 6.0 } else { theta.sin() / theta };
    unit(combine(theta.cos(), x, sinc, w))
}
