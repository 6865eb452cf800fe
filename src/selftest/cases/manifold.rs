//! Cases of `manifold_dot` and `manifold_exp`: every kind of part, either way to move, no move at all.

use super::{Operand, SIZES, at, id, operand, output};
use crate::kernel::case::Case;
use crate::kernel::manifold::{Part, PartKind, Parts};
use crate::kernel::manifold_exp::Way;
use crate::kernel::{Target, manifold_dot, manifold_exp};

/// Actions of all kinds of parts: nothing curved, one circle, one rotation, a pose with a gripper, all at once.
pub(super) fn actions() -> Vec<Parts> {
    let part = |start, len, kind| Part { start, len, kind };
    let (sphere, rotation) = (PartKind::Sphere, PartKind::Projective);
    let all: [(usize, &[Part]); 5] = [
        (3, &[]),
        (2, &[part(0, 2, sphere)]),
        (4, &[part(0, 4, rotation)]),
        (8, &[part(3, 4, rotation)]),
        (13, &[part(1, 2, sphere), part(4, 3, sphere), part(7, 4, rotation)]),
    ];
    all.iter().filter_map(|(dim, curved)| Parts::new(*dim, curved)).collect()
}

/// The columns of the part that column j of an action lies in, and whether it is curved.
pub(super) fn around(parts: &Parts, j: usize) -> (std::ops::Range<usize>, PartKind) {
    let (action, column) = (j / parts.dim() * parts.dim(), j % parts.dim());
    let mut spans = parts.iter().map(|p| (p.start..p.start + p.len, p.kind));
    match spans.find(|(span, _)| span.contains(&column)) {
        Some((span, kind)) => (action + span.start..action + span.end, kind),
        None => (j..j + 1, PartKind::Flat),
    }
}

/// The cases of `manifold_dot`.
pub fn dot_cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, parts) in actions().into_iter().enumerate() {
        for (k, &rows) in SIZES.iter().enumerate() {
            let horizon = [1, 3, 16][k % 3];
            let shape = [rows, horizon * parts.dim()];
            let kinds = [Operand::Dense, Operand::Gaps];
            let [(a, av), (b, bv), (c, cv)] =
                [0, 1, 2].map(|i| operand(kinds[(n + k + i) % 2], shape, i as u64 + 1));
            let (yv, want) = output(shape, n + k, |i, j| match around(&parts, j) {
                (_, PartKind::Flat) => 0.0,
                (span, _) => {
                    span.map(|j| at(&a, &av, i, j) * at(&b, &bv, i, j)).sum::<f64>() * at(&c, &cv, i, j)
                }
            });
            let places = [(id(0), av), (id(1), bv), (id(2), cv)];
            out.push(Case {
                label: format!("manifold_dot {rows}x{horizon}, action {n}"),
                command: manifold_dot::command([rows, horizon], &parts, places, id(3), (id(4), yv)),
                buffers: vec![a, b, c, parts.table(), vec![0.0; want.len()]],
                expect: vec![(4, want)],
                exact: false,
                tolerance: 2e-6,
            });
        }
    }
    out
}

/// Column `want` of where the unit vector along x comes to by w.
fn moved(way: Way, x: &[f64], w: &[f64], want: usize) -> f64 {
    let length = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let unit = |v: &[f64]| v.iter().map(|x| x / length(v)).collect::<Vec<f64>>();
    let x = unit(x);
    let sum = |p: f64, q: f64, w: &[f64]| x.iter().zip(w).map(|(x, w)| p * x + q * w).collect::<Vec<f64>>();
    if way == Way::Straight {
        return unit(&sum(1.0, 1.0, w))[want];
    }
    let along: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
    let tangent: Vec<f64> = x.iter().zip(w).map(|(x, w)| w - along * x).collect();
    let angle = length(&tangent);
    sum(angle.cos(), if angle > 0.0 { angle.sin() / angle } else { 1.0 }, &tangent)[want]
}

/// The cases of `manifold_exp`.
pub fn exp_cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (n, parts) in actions().into_iter().enumerate() {
        for (k, &rows) in SIZES.iter().enumerate() {
            for (m, (way, far)) in
                [(Way::Geodesic, 1.0), (Way::Geodesic, 0.0), (Way::Geodesic, 1e-3), (Way::Straight, 0.3)]
                    .into_iter()
                    .enumerate()
            {
                let horizon = [1, 3, 16][k % 3];
                let shape = [rows, horizon * parts.dim()];
                let kinds = [Operand::Dense, Operand::Gaps];
                let (x, xv) = operand(kinds[(n + m) % 2], shape, 1);
                let (mut w, wv) = operand(kinds[(k + m) % 2], shape, 2);
                w.iter_mut().for_each(|w| *w *= far);
                let (yv, want) = output(shape, n + k + m, |i, j| match around(&parts, j) {
                    (_, PartKind::Flat) => at(&x, &xv, i, j) + at(&w, &wv, i, j),
                    (span, _) => {
                        let of = |b: &[f32], v| span.clone().map(|j| at(b, v, i, j)).collect::<Vec<f64>>();
                        moved(way, &of(&x, &xv), &of(&w, &wv), j - span.start)
                    }
                });
                out.push(Case {
                    label: format!("manifold_exp {way:?} by {far} {rows}x{horizon}, action {n}"),
                    command: manifold_exp::command(
                        [rows, horizon],
                        &parts,
                        way,
                        [(id(0), xv), (id(1), wv)],
                        id(2),
                        (id(3), yv),
                    ),
                    buffers: vec![x, w, parts.table(), vec![0.0; want.len()]],
                    expect: vec![(3, want)],
                    exact: false,
                    tolerance: 5e-6,
                });
            }
        }
    }
    out
}
