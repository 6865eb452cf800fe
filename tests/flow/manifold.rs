//! Manifolds: the identities of their groups hold for paths and steps, and solvers have their order.

use crate::common::devices;
use advect::device::Device;
use advect::flow::manifold::{Manifold, Placement, parts};
use advect::flow::{
    Batch, IntegrateOptions, Integrator, Recurrence, Solver, Step, TimeLaw, integrator::Start,
};
use advect::graph::{self, Graph, ParamLayout, Program, Session, Shape, Value};
use advect::kernel::manifold::Parts;
use advect::kernel::manifold_exp::Way;
use advect::kernel::philox::fill_normal;
use advect::kernel::{Target, View, geodesic, manifold_exp};
use advect::nn::Builder;
use advect::objective::riemannian::Riemannian;
use advect::objective::{Method, Net, Query, Sampling, State, Steps, Task};

fn one(kind: Manifold) -> (Vec<Placement>, usize) {
    let dim = match kind {
        Manifold::S1 => 2,
        Manifold::S2 => 3,
        Manifold::So3 => 4,
        Manifold::Se3 => 7,
    };
    (vec![Placement { kind, at: 0 }], dim)
}

const ALL: [Manifold; 4] = [Manifold::S1, Manifold::S2, Manifold::So3, Manifold::Se3];
const POINTS: usize = 40;

/// Random points: unit vectors where the manifold is curved.
fn points(parts: &Parts, stream: u32) -> Vec<f32> {
    let mut all = vec![0.0; POINTS * parts.dim()];
    fill_normal(11, stream, 0, 0, &mut all);
    for point in all.chunks_exact_mut(parts.dim()) {
        for part in parts.iter().filter(|p| p.kind as u32 > 0) {
            let v = &mut point[part.start..part.start + part.len];
            let length = v.iter().map(|v| v * v).sum::<f32>().sqrt();
            v.iter_mut().for_each(|v| *v /= length);
        }
    }
    all
}

/// Pairs of random points, none of them nearly opposite on a sphere: those say little about the way between them.
fn pairs(parts: &Parts) -> [Vec<f32>; 2] {
    let (a, mut b) = (points(parts, 1), points(parts, 2));
    for (a, b) in a.chunks_exact(parts.dim()).zip(b.chunks_exact_mut(parts.dim())) {
        for part in parts.iter().filter(|p| p.kind as u32 == 1) {
            let span = part.start..part.start + part.len;
            let cosine: f32 = a[span.clone()].iter().zip(&b[span.clone()]).map(|(a, b)| a * b).sum();
            if cosine < -0.9 {
                b[span].iter_mut().for_each(|v| *v = -*v);
            }
        }
    }
    [a, b]
}

/// Runs one command over resident buffers.
fn run(
    device: &Device,
    inputs: &[&[f32]],
    outputs: usize,
    len: usize,
    command: impl Fn(&[advect::kernel::BufferId]) -> advect::kernel::Command,
) -> Vec<Vec<f32>> {
    let mut p = Program::new(Target::of(device));
    let mut ids = Vec::new();
    for (i, data) in inputs.iter().enumerate() {
        ids.push(p.resident(&format!("in{i}"), data.len()).unwrap());
    }
    for i in 0..outputs {
        ids.push(p.resident(&format!("out{i}"), len).unwrap());
    }
    p.push(command(&ids)).unwrap();
    let mut session = Session::new(device, p.finish().unwrap()).unwrap();
    for (i, data) in inputs.iter().enumerate() {
        let id = session.plan().buffer(&format!("in{i}")).unwrap();
        session.write(id, data).unwrap();
    }
    session.run(&[0]).unwrap();
    let mut read = |i: usize| {
        let (mut out, id) = (vec![0.0; len], session.plan().buffer(&format!("out{i}")).unwrap());
        session.read(id, &mut out).unwrap();
        out
    };
    (0..outputs).map(&mut read).collect()
}

/// x_t and its velocity on the way from a to b at one time for all.
fn path(device: &Device, parts: &Parts, [a, b]: [&[f32]; 2], t: f32) -> [Vec<f32>; 2] {
    let rows = a.len() / parts.dim();
    let got = run(device, &[a, b, &vec![t; rows], &parts.table()], 2, a.len(), |id| {
        let buffers =
            geodesic::Buffers { x0: id[0], x1: id[1], t: id[2], parts: id[3], xt: id[4], ut: id[5] };
        geodesic::command([rows, 1], parts, &buffers)
    });
    got.try_into().unwrap()
}

/// exp_x(w).
fn exp(device: &Device, parts: &Parts, [x, w]: [&[f32]; 2]) -> Vec<f32> {
    let (rows, dim) = (x.len() / parts.dim(), parts.dim());
    let got = run(device, &[x, w, &parts.table()], 1, x.len(), |id| {
        let place = |i: usize| (id[i], View::dense(0, dim));
        manifold_exp::command([rows, 1], parts, Way::Geodesic, [place(0), place(1)], id[2], place(3))
    });
    got.into_iter().next().unwrap()
}

/// Largest distance of two sets of points; with quaternions q and -q are the same.
fn apart(parts: &Parts, a: &[f32], b: &[f32]) -> f32 {
    let mut most = 0.0f32;
    for (a, b) in a.chunks_exact(parts.dim()).zip(b.chunks_exact(parts.dim())) {
        for part in parts.iter() {
            let span = part.start..part.start + part.len;
            let far = |sign: f32| {
                a[span.clone()]
                    .iter()
                    .zip(&b[span.clone()])
                    .map(|(a, b)| (a - sign * b).abs())
                    .fold(0.0, f32::max)
            };
            let either = if part.kind as u32 == 2 { far(1.0).min(far(-1.0)) } else { far(1.0) };
            most = most.max(either);
        }
    }
    most
}

/// Hamilton's product, scalar first.
fn times(p: &[f32], q: &[f32]) -> [f32; 4] {
    [
        p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3],
        p[0] * q[1] + p[1] * q[0] + p[2] * q[3] - p[3] * q[2],
        p[0] * q[2] - p[1] * q[3] + p[2] * q[0] + p[3] * q[1],
        p[0] * q[3] + p[1] * q[2] - p[2] * q[1] + p[3] * q[0],
    ]
}

fn conjugate(q: &[f32]) -> [f32; 4] {
    [q[0], -q[1], -q[2], -q[3]]
}

/// A vector turned by a rotation.
fn turned(q: &[f32], v: &[f32]) -> [f32; 3] {
    let r = times(&times(q, &[0.0, v[0], v[1], v[2]]), &conjugate(q));
    [r[1], r[2], r[3]]
}

fn each(points: &[f32], dim: usize, f: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
    points.chunks_exact(dim).flat_map(f).collect()
}

#[test]
fn geodesics_go_from_end_to_end_at_constant_speed() {
    for device in devices() {
        for kind in ALL {
            let (manifolds, dim) = one(kind);
            let parts = parts(&manifolds, dim).unwrap();
            let [a, b] = pairs(&parts);
            let at = |t: f32| path(&device, &parts, [&a, &b], t);
            let ([start, first], [end, _]) = (at(0.0), at(1.0));
            assert!(apart(&parts, &start, &a) < 1e-6 && apart(&parts, &end, &b) < 2e-6, "{kind:?}");
            assert!(
                apart(&parts, &exp(&device, &parts, [&a, &first]), &b) < 5e-6,
                "{kind:?}: exp undoes log"
            );
            // Back from b it is the same way.
            let [back, _] = path(&device, &parts, [&b, &a], 0.7);
            assert!(apart(&parts, &at(0.3)[0], &back) < 3e-5, "{kind:?}: the way back");
            let step = 1e-2;
            let ([x, u], [before, _], [after, _]) = (at(0.4), at(0.4 - step), at(0.4 + step));
            for i in 0..a.len() {
                let slope = (after[i] - before[i]) / (2.0 * step);
                assert!((slope - u[i]).abs() < 2e-3, "{kind:?}: {slope}, {}", u[i]);
            }
            for (n, x) in x.chunks_exact(dim).enumerate() {
                for part in parts.iter().filter(|p| p.kind as u32 > 0) {
                    let x = &x[part.start..part.start + part.len];
                    let u = &u[n * dim + part.start..][..part.len];
                    let first = &first[n * dim + part.start..][..part.len];
                    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                    assert!((dot(x, x) - 1.0).abs() < 1e-6 && dot(x, u).abs() < 2e-6, "{kind:?}");
                    let (now, then) = (dot(u, u).sqrt(), dot(first, first).sqrt());
                    assert!(
                        (now - then).abs() < 1e-5 && now < std::f32::consts::PI + 1e-5,
                        "{kind:?}: {now} {then}"
                    );
                    if kind != Manifold::S1 && kind != Manifold::S2 {
                        assert!(
                            now < std::f32::consts::FRAC_PI_2 + 1e-5,
                            "no rotation is further than half a turn"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn angles_add() {
    let wrap = |x: f32| x - (x / std::f32::consts::TAU).round() * std::f32::consts::TAU;
    let (manifolds, dim) = one(Manifold::S1);
    let parts = parts(&manifolds, dim).unwrap();
    let [alpha, beta] = pairs(&parts).map(|points| each(&points, 2, |v| vec![v[1].atan2(v[0])]));
    let circle = |angles: &[f32]| each(angles, 1, |a| vec![a[0].cos(), a[0].sin()]);
    for device in devices() {
        let [x, u] = path(&device, &parts, [&circle(&alpha), &circle(&beta)], 0.6);
        for i in 0..POINTS {
            let turn = wrap(beta[i] - alpha[i]);
            let (x, u) = (&x[2 * i..2 * i + 2], &u[2 * i..2 * i + 2]);
            assert!(wrap(x[1].atan2(x[0]) - alpha[i] - 0.6 * turn).abs() < 1e-5);
            // The rate of the angle.
            assert!((x[0] * u[1] - x[1] * u[0] - turn).abs() < 1e-5);
        }
    }
}

#[test]
fn rotations_commute_with_their_geodesics() {
    let (manifolds, dim) = one(Manifold::So3);
    let parts = parts(&manifolds, dim).unwrap();
    let [a, b] = pairs(&parts);
    let g = &points(&parts, 3)[..4];
    for device in devices() {
        let at = |a: &[f32], b: &[f32]| path(&device, &parts, [a, b], 0.35).map(|v| v.to_vec());
        let [x, u] = at(&a, &b);
        let left = |q: &[f32]| each(q, 4, |q| times(g, q).to_vec());
        let right = |q: &[f32]| each(q, 4, |q| times(q, g).to_vec());
        let inverse = |q: &[f32]| each(q, 4, |q| conjugate(q).to_vec());
        for (name, map) in
            [("left", &left as &dyn Fn(&[f32]) -> Vec<f32>), ("right", &right), ("inverse", &inverse)]
        {
            let [y, v] = at(&map(&a), &map(&b));
            assert!(apart(&parts, &y, &map(&x)) < 1e-5, "{name}");
            assert!(apart(&parts, &v, &map(&u)) < 3e-5, "{name}: velocity");
        }
        // q and -q are one rotation.
        let minus: Vec<f32> = b.iter().map(|v| -v).collect();
        let [y, v] = at(&a, &minus);
        assert_eq!((y, v), (x, u));
    }
}

#[test]
fn poses_commute_with_changes_of_frame() {
    let (manifolds, dim) = one(Manifold::Se3);
    let parts = parts(&manifolds, dim).unwrap();
    let [a, b] = pairs(&parts);
    let frame = &points(&parts, 3)[..7];
    let map = |poses: &[f32]| {
        each(poses, 7, |pose| {
            let moved = turned(&frame[3..], &pose[..3]);
            let place = (0..3).map(|i| moved[i] + frame[i]);
            place.chain(times(&frame[3..], &pose[3..])).collect()
        })
    };
    for device in devices() {
        let [x, _] = path(&device, &parts, [&a, &b], 0.35);
        let [y, _] = path(&device, &parts, [&map(&a), &map(&b)], 0.35);
        assert!(apart(&parts, &y, &map(&x)) < 1e-5);
    }
}

/// Opposite points have no one geodesic: one is taken, and everything is finite.
#[test]
fn opposite_points_are_joined() {
    for device in devices() {
        for kind in [Manifold::S1, Manifold::S2] {
            let (manifolds, dim) = one(kind);
            let parts = parts(&manifolds, dim).unwrap();
            let a = points(&parts, 1);
            let b: Vec<f32> = a.iter().map(|v| -v).collect();
            let [x, u] = path(&device, &parts, [&a, &b], 0.5);
            for (x, (a, u)) in x.chunks_exact(dim).zip(a.chunks_exact(dim).zip(u.chunks_exact(dim))) {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                assert!(
                    dot(x, a).abs() < 1e-5 && (dot(x, x) - 1.0).abs() < 1e-5,
                    "{x:?} between {a:?} and its opposite"
                );
                assert!((dot(u, u).sqrt() - std::f32::consts::PI).abs() < 1e-5);
            }
        }
    }
}

/// A velocity on the sphere: turning about the third axis, faster and faster, and something that is not tangent on top.
struct Spin;

impl Net for Spin {
    fn query(&self, b: &mut Builder<'_>, x: Query) -> graph::Result<Value> {
        let g = &mut *b.graph;
        // (w x a) for w = (0, 0, 1), as a row times a matrix; and a itself.
        let matrix = vec![0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let matrix = g.constant(Shape::matrix(3, 3), matrix)?;
        let turn = g.matmul(x.a, matrix)?;
        let rate = g.affine(x.t, 2.0, 1.0)?;
        let v = g.mul(turn, rate)?;
        g.axpby(1.0, v, 0.7, x.a)
    }
}

struct Spinning {
    objective: Riemannian,
    steps: Steps,
}

impl Recurrence for Spinning {
    fn dim(&self) -> usize {
        3
    }

    fn clock(&self) -> Vec<Vec<f32>> {
        self.steps.clock.clone()
    }

    fn next(&self, g: &mut Graph, x: &Step<'_>) -> graph::Result<Value> {
        let obs = g.zeros(Shape::matrix(g.shape(x.state).rows(), 1))?;
        let state = State { x: x.state, clock: x.clock, noise: None, solver: self.steps.solver, obs };
        let task = task(g.shape(x.state).rows());
        self.objective.step(&mut Builder::new(g), &Spin, &task, &state)
    }
}

fn task(batch: usize) -> Task {
    Task {
        batch,
        horizon: 1,
        action_dim: 3,
        obs: 1,
        path: advect::flow::Path::default(),
        time_law: TimeLaw::default(),
        max_delay: None,
        masked: None,
        present: None,
    }
}

/// From any point on a circle of latitude, int (1 + 2 t) dt = 2 radians on.
#[test]
fn solvers_on_the_sphere_have_their_order() {
    let objective = Riemannian { manifolds: one(Manifold::S2).0 };
    let start = [0.8f32, 0.0, 0.6];
    let want = [0.8 * 2f32.cos(), 0.8 * 2f32.sin(), 0.6];
    for device in devices() {
        let error = |solver: String| {
            let solver: Solver = solver.parse().unwrap();
            let Sampling::Steps(steps) = objective.sampling(solver, &task(1)).unwrap() else {
                panic!("steps are what it has");
            };
            let spinning = Spinning { objective: objective.clone(), steps };
            let (layout, batch) = (ParamLayout::default(), Batch { requests: 1, samples: 1 });
            let mut integrator =
                Integrator::recurrent(&device, &spinning, &layout, batch, &IntegrateOptions::default())
                    .unwrap();
            integrator.set_params(&[]).unwrap();
            let mut end = [0.0f32; 3];
            // Twice as far out: the first step projects.
            integrator.run(Start::Given(&start.map(|v| 2.0 * v)), &[], &mut end, None).unwrap();
            let length = end.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!((length - 1.0).abs() < 1e-6, "{solver}: {end:?}");
            end.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        for (name, order, n) in
            [("euler", 1, 32), ("midpoint", 2, 16), ("heun", 2, 16), ("rk4", 4, 4), ("rk4_38", 4, 4)]
        {
            let (coarse, fine) = (error(format!("{name}:{n}")), error(format!("{name}:{}", 2 * n)));
            let found = (coarse / fine).log2();
            assert!((found - order as f32).abs() < 0.45, "{name}: order {found} ({coarse}, {fine})");
        }
    }
}
