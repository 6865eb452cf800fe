//! Guided velocities: the network's Jacobian against finite differences, and what a solver step costs.

use super::engine::leaves;
use super::oracle::{Leaves, evaluate, index};
use super::staging::{FieldGraph, INPUTS, TIMES, off, staged};
use advect::flow::guidance::{PREVIOUS, WEIGHTS};
use advect::flow::{Field, Guided, Jacobian};
use advect::graph::staged::{Staged, Tail};
use advect::graph::{Graph, ParamLayout, Program, Result, Shape, Value};
use advect::kernel::Target;
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::residual::Residual;
use advect::nn::unet1d::Unet1d;
use advect::nn::{Builder, Conditioning, Inputs, NetworkSpec, TimeInput};

const DIM: usize = 4;
const BETA: f32 = 5.0;

/// A network as a field over z [requests, 3].
struct Net(NetworkSpec);

impl Field for Net {
    fn dim(&self) -> usize {
        DIM
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("z", 3)]
    }

    fn velocity(&self, g: &mut Graph, state: Value, time: Value, request: &[Value]) -> Result<Value> {
        let z = request[0];
        let inputs = Inputs { a: state, t: time, interval: None, z, horizon: DIM, action_dim: 1, history: 1 };
        self.0.velocity(&mut Builder::new(g), &inputs)
    }
}

fn networks() -> Vec<Net> {
    let time = TimeInput::Sinusoidal { dim: 8, scale: 9.0, max_period: 100.0 };
    let mut out = Vec::new();
    for conditioning in [Conditioning::Concat, Conditioning::Film] {
        let (activation, time) = (Activation::Silu, time.clone());
        out.push(Net(NetworkSpec::Mlp(Mlp {
            hidden: vec![7, 6],
            activation,
            time: time.clone(),
            conditioning,
        })));
        out.push(Net(NetworkSpec::Residual(Residual {
            width: 8,
            blocks: 1,
            activation,
            time,
            conditioning,
        })));
    }
    out.push(Net(NetworkSpec::Unet1d(Unet1d {
        down_dims: vec![4, 6],
        kernel_size: 3,
        groups: 2,
        final_groups: 2,
        time,
        film_scale: true,
    })));
    out
}

fn graph(field: &dyn Field, rows: usize) -> FieldGraph {
    let mut g = Graph::new();
    let state = g.input("state", Shape::matrix(rows, DIM)).unwrap();
    let time = g.input("time", Shape::matrix(1, 1)).unwrap();
    let request: Vec<Value> = field
        .request()
        .iter()
        .map(|(name, cols)| g.input(name, Shape::matrix(rows, *cols)).unwrap())
        .collect();
    let v = field.velocity(&mut g, state, time, &request).unwrap();
    FieldGraph { graph: g, v }
}

/// The plain network's velocity at one time, with the state moved by `h` in element `e` of every row.
fn moved(f: &FieldGraph, all: &Leaves, t: f32, (e, h): (usize, f64)) -> Vec<f64> {
    let mut all = all.clone();
    all.insert("time".into(), vec![t.into()]);
    if let Some(state) = all.get_mut("state") {
        state.iter_mut().skip(e).step_by(DIM).for_each(|x| *x += h);
    }
    evaluate(&f.graph, &all).swap_remove(index(f.v))
}

/// v + k (d x1_hat / d x)ᵀ [(y - x1_hat) w] in f64, the Jacobian by central differences or the identity.
fn expected(f: &FieldGraph, all: &Leaves, t: f32, jacobian: Jacobian) -> Vec<f64> {
    let (x, y, w) = (&all["state"], &all[PREVIOUS], &all[WEIGHTS]);
    let v = moved(f, all, t, (0, 0.0));
    let tau = f64::from(t);
    let error: Vec<f64> = (0..v.len()).map(|i| (y[i] - (x[i] + (1.0 - tau) * v[i])) * w[i]).collect();
    let k = match tau {
        0.0 => f64::from(BETA),
        _ => f64::from(BETA).min((1.0 - tau) / tau * (tau * tau + (1.0 - tau).powi(2)) / (1.0 - tau).powi(2)),
    };
    let mut out = v.clone();
    for e in 0..DIM {
        let h = 1e-5;
        let (up, down) = (moved(f, all, t, (e, h)), moved(f, all, t, (e, -h)));
        for row in 0..v.len() / DIM {
            let pull: f64 = match jacobian {
                Jacobian::Identity => error[row * DIM + e],
                Jacobian::Network => (0..DIM)
                    .map(|i| {
                        let at = row * DIM + i;
                        let slope = (1.0 - tau) * (up[at] - down[at]) / (2.0 * h);
                        error[at] * (slope + f64::from(u8::from(i == e)))
                    })
                    .sum(),
            };
            out[row * DIM + e] += k * pull;
        }
    }
    out
}

#[test]
fn the_pull_is_the_jacobians_transpose() {
    for net in networks() {
        let f = graph(&net, 3);
        for jacobian in [Jacobian::Network, Jacobian::Identity] {
            let guided = graph(&Guided::new(&net, BETA, jacobian).unwrap(), 3);
            let leaves = leaves(&guided.graph, 5);
            for staging in [true, false] {
                let (got, _) = staged(&guided, &leaves, staging, None).unwrap();
                for (got, t) in got.iter().zip(TIMES) {
                    let want = expected(&f, &leaves, t, jacobian);
                    let off = off(got, &want);
                    assert!(off < 2e-5, "{:?}, {jacobian:?}, staging {staging}, t = {t}: {off:.2e}", net.0);
                }
            }
        }
    }
}

#[test]
fn the_weight_is_finite_at_both_ends() {
    // A field that stands still, x = 0 and y = w = 1: the guided velocity is k itself.
    let still = advect::flow::field::FnField::new(DIM, |g, x, _| g.affine(x, 0.0, 0.0));
    let guided = graph(&Guided::new(&still, BETA, Jacobian::Network).unwrap(), 1);
    for (t, want) in [(0.0, 5.0), (1e-30, 5.0), (0.1, 5.0), (0.5, 2.0), (0.8, 4.25), (1.0, 5.0)] {
        let mut all = leaves(&guided.graph, 1);
        all.insert("state".into(), vec![0.0; DIM]);
        all.insert(PREVIOUS.into(), vec![1.0; DIM]);
        all.insert(WEIGHTS.into(), vec![1.0; DIM]);
        all.insert("time".into(), vec![t]);
        let got = evaluate(&guided.graph, &all).swap_remove(index(guided.v));
        assert!(got.iter().all(|k| (k - want).abs() < 1e-6), "t = {t}: {got:?}, needed {want}");
    }
}

#[test]
fn a_guided_step_goes_back_through_the_state_alone() {
    let net = &networks()[0];
    let guided = graph(&Guided::new(net, BETA, Jacobian::Network).unwrap(), 3);
    let layout = ParamLayout::of(&guided.graph);
    let mut program = Program::new(Target::CPU);
    let params = program.resident("params", layout.len()).unwrap();
    let mut field =
        Staged::new(&guided.graph, guided.v, INPUTS, TIMES.len(), (&layout, params), true).unwrap();
    let names = [("state", DIM), ("z", 3), (PREVIOUS, DIM), (WEIGHTS, DIM)];
    let mut inputs: Vec<(&str, _)> =
        names.iter().map(|(name, n)| (*name, program.resident(name, 3 * n).unwrap())).collect();
    let out = program.resident("out", 3 * DIM).unwrap();
    let times = program.constant(&TIMES).unwrap();
    program.phase("load");
    field.lower_load(&mut program, "time", times).unwrap();
    program.phase("request");
    field.lower_request(&mut program, &inputs[1..]).unwrap();
    program.phase("steps");
    let ahead = program.clone().finish().unwrap().flops;
    inputs.push(("time", program.constant(&TIMES[..1]).unwrap()));
    let tail = Tail::Step { base: inputs[0].1, h: 0.1 };
    field.lower_evaluation(&mut program, 0, &inputs, tail, (out, 0)).unwrap();
    let plan = program.finish().unwrap();
    // Forward and back through 4-7-6-4: time and observation are not in it.
    assert_eq!(plan.flops - ahead, 2.0 * 3.0 * 2.0 * (4.0 * 7.0 + 7.0 * 6.0 + 6.0 * 4.0));
    // Six products; the two activations before the next product keep their arguments for the way back, and so cost a pass
    // each; estimate, error, (1 - t) error, pull, step.
    let commands: Vec<&str> =
        plan.commands[plan.phases[2].range.clone()].iter().map(|c| c.kernel.name).collect();
    assert!(commands.len() <= 13, "found {} commands, needed at most 13: {commands:?}", commands.len());
}
