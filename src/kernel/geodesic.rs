//! `geodesic`: the point on the geodesic from noise to data and its velocity, on a product of manifolds.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::manifold::{Parts, across, combine, dot, part, unit, vector};
use super::parallel::{for_each, rows_per_task};
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
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "geodesic",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::geodesic::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::geodesic::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::geodesic::ONLY.workgroup[0] == 64);

/// The buffers, dense from their start.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Noise, [rows, horizon * dim]; curved parts of any length.
    pub x0: BufferId,
    /// Data, [rows, horizon * dim].
    pub x1: BufferId,
    /// Times, `[rows]`, in [0, 1].
    pub t: BufferId,
    /// What [`Parts::table`] gives.
    pub parts: BufferId,
    /// x_t, [rows, horizon * dim].
    pub xt: BufferId,
    /// Its velocity, [rows, horizon * dim].
    pub ut: BufferId,
}

/// x_t = exp_x0(t log_x0 x1) and d/dt x_t for `rows` chunks of `horizon` actions.
pub fn command([rows, horizon]: [usize; 2], parts: &Parts, b: &Buffers) -> Command {
    let params = Params {
        rows: rows as u32,
        horizon: horizon as u32,
        dim: parts.dim() as u32,
        count: parts.count() as u32,
    };
    let grid = fold(rows * horizon * parts.count(), 64);
    Command::new(&KERNEL, &variant::geodesic::ONLY, &params, &[b.x0, b.x1, b.t, b.parts, b.xt, b.ut], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let all = Span::dense(0, (p.rows * p.horizon * p.dim) as usize);
    let cost = Cost::new(4 * all.elements()).reads(0, all).reads(1, all);
    let cost = cost.reads(2, Span::dense(0, p.rows as usize)).reads(3, Span::dense(0, 3 * p.count as usize));
    cost.writes(4, all).writes(5, all)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x0, x1, t, parts, xt, ut] = args else { unreachable!("geodesic has six bindings") };
    let (x0, x1, t, parts) = (x0.read(), x1.read(), t.read(), parts.read());
    let (rows, dim, chunk) = (p.rows as usize, p.dim as usize, (p.horizon * p.dim) as usize);
    if rows * chunk == 0 {
        return;
    }
    let per = rows_per_task(cx, rows, 20 * rows * chunk);
    let tasks = xt.write()[..rows * chunk]
        .chunks_mut(per * chunk)
        .zip(ut.write()[..rows * chunk].chunks_mut(per * chunk));
    for_each(cx, tasks, |task, (xt, ut): (&mut [f32], &mut [f32])| {
        let first = task * per * chunk;
        for (n, (xt, ut)) in xt.chunks_mut(dim).zip(ut.chunks_mut(dim)).enumerate() {
            let at = first + n * dim;
            for i in 0..p.count as usize {
                let [start, len, kind] = part(parts, i);
                let ends = [&x0[at + start..][..len], &x1[at + start..][..len]];
                let out = [&mut xt[start..start + len], &mut ut[start..start + len]];
                piece(kind, t[at / chunk], ends, out);
            }
        }
    });
}

fn piece(kind: usize, t: f32, [x0, x1]: [&[f32]; 2], [xt, ut]: [&mut [f32]; 2]) {
    if kind == 0 {
        for i in 0..x0.len() {
            xt[i] = (1.0 - t) * x0[i] + t * x1[i];
            ut[i] = x1[i] - x0[i];
        }
        return;
    }
    let (a, mut b) = (unit(vector(x0)), unit(vector(x1)));
    if kind == 2 && dot(a, b) < 0.0 {
        b = b.map(|v| -v);
    }
    let c = dot(a, b);
    let w = combine(1.0, b, -c, a);
    let s = dot(w, w).sqrt();
    let (theta, e) = match (s < 1e-6, c > 0.0) {
        (false, _) => (s.atan2(c), w.map(|v| v / s)),
        (true, true) => (0.0, w),
        (true, false) => (s.atan2(c), across(a, x0.len())),
    };
    let (sin, cos) = (t * theta).sin_cos();
    let (x, u) = (combine(cos, a, sin, e), combine(theta * cos, e, -theta * sin, a));
    xt.copy_from_slice(&x[..xt.len()]);
    ut.copy_from_slice(&u[..ut.len()]);
}
