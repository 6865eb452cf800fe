//! `path`: the point on a probability path and its target velocity, for the four Euclidean paths.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::parallel::{for_each, rows_per_task};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Which path; the codes are those of `shaders/path.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PathKind {
    /// x_t = t x1 + (1 - (1 - sigma) t) x0, u = x1 - (1 - sigma) x0 (Lipman 2022).
    Ot = 0,
    /// x_t = t x1 + (1 - t) x0 + sigma eps, u = x1 - x0 (Tong 2023).
    Independent = 1,
    /// x_t = cos(pi t / 2) x0 + sin(pi t / 2) x1, u its derivative (Albergo 2023).
    VariancePreserving = 2,
    /// x_t = t x1 + (1 - t) x0 + sigma s eps with s = sqrt(t (1 - t)),
    /// u = x1 - x0 + sigma eps s (1 - 2t) / (2 s^2 + 1e-8): finite at both ends (Tong 2023).
    SchrodingerBridge = 3,
}

impl PathKind {
    /// Whether the path reads `eps`.
    pub fn reads_noise(self) -> bool {
        matches!(self, PathKind::Independent | PathKind::SchrodingerBridge)
    }
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    kind: u32,
    sigma: f32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "path",
    access: &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::path::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::path::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::path::ONLY.workgroup[0] == 64);

/// xt and ut \[rows, cols\] from x0 (noise), x1 (data) and eps (standard normal) \[rows, cols\] and t \[rows\] in \[0, 1\].
/// All dense at offset 0. `eps` may be any buffer but xt and ut when the path reads no noise.
#[allow(clippy::too_many_arguments)]
pub fn command(
    kind: PathKind,
    sigma: f32,
    [rows, cols]: [usize; 2],
    x0: BufferId,
    x1: BufferId,
    t: BufferId,
    eps: BufferId,
    xt: BufferId,
    ut: BufferId,
) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32, kind: kind as u32, sigma };
    Command::new(&KERNEL, &variant::path::ONLY, &params, &[x0, x1, t, eps, xt, ut], fold(rows * cols, 64))
}

/// The factors at time t: x_t = a x0 + b x1 + c eps, u = d x0 + e x1 + f eps.
fn factors(kind: u32, sigma: f32, t: f32) -> [f32; 6] {
    use std::f32::consts::FRAC_PI_2;
    match kind {
        0 => [1.0 - (1.0 - sigma) * t, t, 0.0, sigma - 1.0, 1.0, 0.0],
        1 => [1.0 - t, t, sigma, -1.0, 1.0, 0.0],
        2 => {
            let (sin, cos) = ((FRAC_PI_2 * t).sin(), (FRAC_PI_2 * (1.0 - t)).sin());
            [cos, sin, 0.0, -FRAC_PI_2 * sin, FRAC_PI_2 * cos, 0.0]
        }
        _ => {
            let variance = (t * (1.0 - t)).max(0.0);
            let s = variance.sqrt();
            [1.0 - t, t, sigma * s, -1.0, 1.0, sigma * s * (1.0 - 2.0 * t) / (2.0 * variance + 1e-8)]
        }
    }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let all = Span::dense(0, (p.rows * p.cols) as usize);
    let noisy = p.kind == PathKind::Independent as u32 || p.kind == PathKind::SchrodingerBridge as u32;
    let each = if noisy { 10 } else { 6 };
    let cost = Cost::new(each * all.elements()).reads(0, all).reads(1, all);
    let cost = cost.reads(2, Span::dense(0, p.rows as usize)).reads_if(noisy, 3, all);
    cost.writes(4, all).writes(5, all)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x0, x1, t, eps, xt, ut] = args else { unreachable!("path has six bindings") };
    let (x0, x1, t, eps) = (x0.read(), x1.read(), t.read(), eps.read());
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    if rows * cols == 0 {
        return;
    }
    let noisy = p.kind == PathKind::Independent as u32 || p.kind == PathKind::SchrodingerBridge as u32;
    let per = rows_per_task(cx, rows, 8 * rows * cols);
    let tasks = xt.write()[..rows * cols]
        .chunks_mut(per * cols)
        .zip(ut.write()[..rows * cols].chunks_mut(per * cols));
    for_each(cx, tasks, |task, (xt, ut): (&mut [f32], &mut [f32])| {
        for (r, (xt, ut)) in xt.chunks_mut(cols).zip(ut.chunks_mut(cols)).enumerate() {
            let i = task * per + r;
            let f = factors(p.kind, p.sigma, t[i]);
            let span = i * cols..(i + 1) * cols;
            let noise = if noisy { &eps[span.clone()] } else { &[] };
            row(f, &x0[span.clone()], &x1[span], noise, xt, ut);
        }
    });
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn row([a, b, c, d, e, f]: [f32; 6], x0: &[f32], x1: &[f32], eps: &[f32], xt: &mut [f32], ut: &mut [f32]) {
    for (((xt, ut), x0), x1) in xt.iter_mut().zip(ut.iter_mut()).zip(x0).zip(x1) {
        *xt = a * x0 + b * x1;
        *ut = d * x0 + e * x1;
    }
    for ((xt, ut), eps) in xt.iter_mut().zip(ut.iter_mut()).zip(eps) {
        *xt += c * eps;
        *ut += f * eps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::case::Case;
    use crate::selftest::golden::Golden;

    #[test]
    fn paths_follow_the_golden_cases() {
        for (name, kind) in [
            ("target", PathKind::Ot),
            ("independent", PathKind::Independent),
            ("variance_preserving", PathKind::VariancePreserving),
            ("schrodinger_bridge", PathKind::SchrodingerBridge),
        ] {
            let golden = Golden::read(&format!("path_{name}"));
            let shape = golden.shape("in.x0");
            let n = shape[0] * shape[1];
            let sigma = golden.number("sigma") as f32;
            let id = [0, 1, 2, 3, 4, 5].map(BufferId);
            let case = Case {
                label: name.into(),
                command: command(kind, sigma, [shape[0], shape[1]], id[0], id[1], id[2], id[3], id[4], id[5]),
                buffers: ["in.x0", "in.x1", "in.t", "in.eps"]
                    .map(|t| golden.f32(t))
                    .into_iter()
                    .chain([vec![0.0; n], vec![0.0; n]])
                    .collect(),
                expect: Vec::new(),
                exact: false,
                tolerance: 0.0,
            };
            let got = case.run_twin(1);
            golden.check("out.xt", &got[4][..n]);
            golden.check("out.ut", &got[5][..n]);
        }
    }

    #[test]
    fn the_bridge_is_finite_at_both_ends() {
        for t in [0.0, 1e-30, 1e-7, 1.0 - 6e-8, 1.0] {
            assert!(factors(3, 0.3, t).iter().all(|f| f.is_finite()));
        }
    }
}
