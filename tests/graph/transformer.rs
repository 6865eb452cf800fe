//! The transformer as a graph: what of it is computed at every evaluation, how times and observations enter, its derivatives.

use super::engine::{agree, cpu, distance, leaves, run};
use super::oracle::{evaluate, index};
use advect::graph::staged::{FieldInputs, Staged, Tail};
use advect::graph::{Graph, ParamLayout, Program, Shape, Value};
use advect::kernel::Target;
use advect::nn::transformer::{Observation, Transformer};
use advect::nn::{Builder, Inputs, TimeInput};

const WIDTH: usize = 8;
const LAYERS: usize = 2;
const HORIZON: usize = 3;
const ACTION: usize = 2;
const HISTORY: usize = 2;
const OBS: usize = 5;
const MLP: usize = 3;
const TIMES: [f32; 4] = [0.0, 0.25, 0.5, 0.75];

fn spec(observation: Observation) -> Transformer {
    Transformer {
        width: WIDTH,
        layers: LAYERS,
        heads: 2,
        mlp_ratio: MLP,
        time: TimeInput::Sinusoidal { dim: 6, scale: 9.0, max_period: 100.0 },
        rope_base: 100.0,
        observation,
    }
}

/// The velocity of `requests * samples` chunks with times of the shape [rows, columns].
fn velocity(observation: Observation, [requests, samples]: [usize; 2], times: [usize; 2]) -> (Graph, Value) {
    let mut g = Graph::new();
    let a = g.input("state", Shape::matrix(requests * samples, HORIZON * ACTION)).unwrap();
    let t = g.input("time", Shape::matrix(times[0], times[1])).unwrap();
    let z = g.input("z", Shape::matrix(requests, HISTORY * OBS)).unwrap();
    let inputs = Inputs { a, t, interval: None, z, horizon: HORIZON, action_dim: ACTION, history: HISTORY };
    let v = spec(observation).velocity(&mut Builder::new(&mut g), &inputs).unwrap();
    (g, v)
}

const BOTH: [Observation; 2] = [Observation::Conditioning, Observation::CrossAttention];

/// Operations and commands: of the load, of a request, of an evaluation.
fn work(observation: Observation, batch: [usize; 2], staging: bool) -> [(f64, usize); 3] {
    let (graph, v) = velocity(observation, batch, [1, 1]);
    let inputs = FieldInputs { state: "state", time: "time", time_per_sample: false };
    let layout = ParamLayout::of(&graph);
    let mut program = Program::new(Target::CPU);
    let params = program.resident("params", layout.len()).unwrap();
    let mut field = Staged::new(&graph, v, inputs, TIMES.len(), (&layout, params), staging).unwrap();
    let rows = batch[0] * batch[1];
    let state = program.resident("state", rows * HORIZON * ACTION).unwrap();
    let z = program.resident("z", batch[0] * HISTORY * OBS).unwrap();
    let out = program.resident("out", rows * HORIZON * ACTION).unwrap();
    let times = program.constant(&TIMES).unwrap();
    let mut so_far = vec![(0.0, 0)];
    let measure = |program: &Program| {
        let plan = program.clone().finish().unwrap();
        (plan.flops, plan.commands.len())
    };
    program.phase("load");
    field.lower_load(&mut program, "time", times).unwrap();
    so_far.push(measure(&program));
    program.phase("request");
    field.lower_request(&mut program, &[("z", z)]).unwrap();
    so_far.push(measure(&program));
    program.phase("steps");
    let t = program.constant(&TIMES[..1]).unwrap();
    let inputs = [("state", state), ("time", t), ("z", z)];
    field.lower_evaluation(&mut program, 0, &inputs, Tail::Store, (out, 0)).unwrap();
    so_far.push(measure(&program));
    [0, 1, 2].map(|i| (so_far[i + 1].0 - so_far[i].0, so_far[i + 1].1 - so_far[i].1))
}

#[test]
fn an_evaluation_has_no_adaptive_parameters_nor_keys_of_the_observation_left() {
    for batch in [[1, 1], [1, 4], [3, 1], [2, 3]] {
        let [requests, samples] = batch.map(|n| n as f64);
        let (tokens, w) = (requests * samples * HORIZON as f64, WIDTH as f64);
        let block = |cross: bool| {
            let own = 4.0 * w * w + 2.0 * HORIZON as f64 * w + 2.0 * MLP as f64 * w * w;
            own + if cross { 2.0 * w * w + 2.0 * HISTORY as f64 * w } else { 0.0 }
        };
        for observation in BOTH {
            let cross = observation == Observation::CrossAttention;
            let label = format!("{observation:?}, {batch:?}");
            let [load, request, step] = work(observation, batch, true);
            let ends = 2.0 * ACTION as f64 * w;
            let left = 2.0 * tokens * (LAYERS as f64 * block(cross) + ends);
            assert_eq!(step.0, left, "{label}: only what reads the state is left");
            // Adaptive parameters of all layers and times, once: with the time alone at load, else per request.
            let parts = if cross { 9.0 } else { 6.0 };
            let adaptive = 2.0 * TIMES.len() as f64 * w * w * (LAYERS as f64 * parts + 2.0);
            let keys = 2.0 * requests * HISTORY as f64 * (OBS as f64 * w + LAYERS as f64 * 2.0 * w * w);
            let projected = 2.0 * requests * (HISTORY * OBS) as f64 * w;
            let time = 2.0 * TIMES.len() as f64 * (6.0 * w + w * w);
            if cross {
                assert_eq!((load.0, request.0), (time + adaptive, keys), "{label}");
            } else {
                assert_eq!((load.0, request.0), (time, projected + requests * adaptive), "{label}");
            }
            let [none, nothing, all] = work(observation, batch, false);
            assert_eq!(none.0, 0.0, "{label}: nothing is computed for all times without staging");
            let ahead = (load.0 + adaptive * f64::from(u8::from(!cross)) * requests) / TIMES.len() as f64;
            assert!(nothing.0 <= request.0 && all.0 > step.0 && all.1 > step.1, "{label}: {step:?} {all:?}");
            assert!(all.0 - step.0 >= 0.9 * ahead - 1.0, "{label}: {} left out, {ahead}", all.0 - step.0);
            println!(
                "{label}: an evaluation is {} operations in {} commands staged, {} in {} not",
                step.0, step.1, all.0, all.1
            );
        }
    }
}

#[test]
fn the_engine_computes_it() {
    for observation in BOTH {
        for batch in [[1, 1], [2, 3]] {
            for times in [[1, 1], [batch[0] * batch[1], 1], [batch[0] * batch[1], HORIZON]] {
                let (g, v) = velocity(observation, batch, times);
                agree(&format!("{observation:?} {batch:?} {times:?}"), &g, &leaves(&g, 4), &[v], 1e-5);
            }
        }
    }
}

#[test]
fn an_actions_own_time_reaches_that_action_first() {
    let rows = 2;
    for observation in BOTH {
        let (g, v) = velocity(observation, [rows, 1], [rows, 1]);
        let mut leaves = leaves(&g, 4);
        leaves.insert("time".into(), vec![0.25, 0.75]);
        let shared = evaluate(&g, &leaves).swap_remove(index(v));
        let (g, v) = velocity(observation, [rows, 1], [rows, HORIZON]);
        leaves.insert("time".into(), [[0.25; HORIZON], [0.75; HORIZON]].concat());
        let own = run(&cpu(), &g, &leaves, &[v]);
        assert!(distance(&own[0], &shared) < 1e-5, "{observation:?}: the same time for every action");
        let mut times = [[0.25; HORIZON], [0.75; HORIZON]].concat();
        times[1] = 0.9;
        leaves.insert("time".into(), times);
        let moved = run(&cpu(), &g, &leaves, &[v]);
        let change = |a: usize| {
            let at = a * ACTION..(a + 1) * ACTION;
            moved[0][at.clone()].iter().zip(&own[0][at]).map(|(x, y)| (x - y).abs()).sum::<f32>()
        };
        assert!(change(1) > 1e-3, "{observation:?}: its own action moves");
        assert!((HORIZON..2 * HORIZON).all(|a| change(a) == 0.0), "{observation:?}: another chunk does not");
    }
}

#[test]
fn gradients_of_every_parameter_agree_with_differences() {
    for observation in BOTH {
        let (mut g, v) = velocity(observation, [2, 2], [4, 1]);
        let shape = g.shape(v);
        let cot = g.constant(shape, (0..shape.len()).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap();
        let product = g.mul(v, cot).unwrap();
        let sums = g.row_sum(product, 1.0).unwrap();
        let loss = g.col_sum(sums, shape.rows(), 1.0).unwrap();
        let wrt: Vec<(String, Value)> = g
            .values()
            .filter_map(|v| match &g.node(v).op {
                advect::graph::Op::Param(p) => Some((p.name.to_string(), v)),
                _ => None,
            })
            .collect();
        let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
        let grads = g.grad(loss, &values).unwrap();
        let leaves: super::oracle::Leaves =
            leaves(&g, 8).into_iter().map(|(n, v)| (n, v.iter().map(|x| 0.5 * x).collect())).collect();
        let got = run(&cpu(), &g, &leaves, &grads);
        for ((name, _), grad) in wrt.iter().zip(&got) {
            // Along the gradient itself the difference is its squared norm.
            let norm: f64 = grad.iter().map(|v| f64::from(*v).powi(2)).sum();
            let h = 1e-5 / norm.sqrt().max(1e-3);
            let at = |by: f64| {
                let mut moved = leaves.clone();
                let leaf = moved.get_mut(name).unwrap();
                leaf.iter_mut().zip(grad).for_each(|(v, d)| *v += by * f64::from(*d));
                evaluate(&g, &moved).swap_remove(index(loss))[0]
            };
            let slope = (at(h) - at(-h)) / (2.0 * h);
            assert!((slope - norm).abs() < 1e-3 * norm.max(1e-6), "{observation:?} {name}: {slope} {norm}");
        }
    }
}
