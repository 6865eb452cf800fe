//! Cases of `geodesic`: every kind of part, times at and near both ends, noise of any length.

use super::manifold::{actions, around};
use super::{SIZES, id, values};
use crate::kernel::Target;
use crate::kernel::case::Case;
use crate::kernel::geodesic::{Buffers, command};
use crate::kernel::manifold::PartKind;

/// x_t and its velocity by the formula of spherical linear interpolation.
fn slerp(a: &[f32], b: &[f32], t: f64, projective: bool) -> (Vec<f64>, Vec<f64>) {
    let unit = |v: &[f32]| {
        let v: Vec<f64> = v.iter().map(|v| f64::from(*v)).collect();
        let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
        v.iter().map(|v| v / length).collect::<Vec<f64>>()
    };
    let (a, mut b) = (unit(a), unit(b));
    let mut c: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    if projective && c < 0.0 {
        b.iter_mut().for_each(|b| *b = -*b);
        c = -c;
    }
    let angle = c.clamp(-1.0, 1.0).acos();
    let both = |p: f64, q: f64| a.iter().zip(&b).map(|(a, b)| (p * a + q * b) / angle.sin()).collect();
    let (from, to) = ((1.0 - t) * angle, t * angle);
    (both(from.sin(), to.sin()), both(-angle * from.cos(), angle * to.cos()))
}

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, parts) in actions().into_iter().enumerate() {
        for (k, &rows) in SIZES.iter().enumerate() {
            let horizon = [1, 3, 16][k % 3];
            let chunk = horizon * parts.dim();
            let (x0, mut x1) = (values(rows * chunk, 1), values(rows * chunk, 2));
            let ends = [0.5, 0.0, 1.0, 1e-3, 0.999];
            let t: Vec<f32> =
                (0..rows).map(|i| *ends.get(i).unwrap_or(&(((i * 37) % 101) as f32 / 101.0))).collect();
            let (mut xt, mut ut) = (vec![0.0; rows * chunk], vec![0.0; rows * chunk]);
            for e in 0..rows * chunk {
                let (row, j) = (e / chunk, e % chunk);
                let (span, kind) = around(&parts, j);
                let (place, time) = (row * chunk + span.start..row * chunk + span.end, f64::from(t[row]));
                if kind == PartKind::Flat {
                    let [a, b] = [x0[e], x1[e]].map(f64::from);
                    (xt[e], ut[e]) = ((1.0 - time) * a + time * b, b - a);
                    continue;
                }
                // Nearly opposite points say little about the way between them.
                let cosine = |a: &[f32], b: &[f32]| {
                    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
                };
                if j == span.start
                    && kind == PartKind::Sphere
                    && cosine(&x0[place.clone()], &x1[place.clone()]) < -0.98
                {
                    x1[place.clone()].iter_mut().for_each(|v| *v = -*v);
                }
                let (x, u) = slerp(&x0[place.clone()], &x1[place], time, kind == PartKind::Projective);
                (xt[e], ut[e]) = (x[j - span.start], u[j - span.start]);
            }
            let b = Buffers { x0: id(0), x1: id(1), t: id(2), parts: id(3), xt: id(4), ut: id(5) };
            out.push(Case {
                label: format!("geodesic {rows}x{horizon}, action {n}"),
                command: command([rows, horizon], &parts, &b),
                buffers: vec![x0, x1, t, parts.table(), vec![0.0; rows * chunk], vec![0.0; rows * chunk]],
                expect: vec![(4, xt), (5, ut)],
                exact: false,
                tolerance: 1e-5,
            });
        }
    }
    out
}
