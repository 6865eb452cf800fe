//! Staged fields compute what the plain graph does, with fewer operations at every evaluation.

use super::engine::{cpu, leaves, normal};
use super::oracle::{Leaves, evaluate, index};
use advect::graph::staged::{FieldInputs, Staged, Tail};
use advect::graph::{Graph, ParamLayout, Program, Result, Session, Shape, Value};
use advect::kernel::Target;
use advect::kernel::math::Activation;
use advect::kernel::time_embed::TimeEmbedding;
use advect::nn::mlp::Mlp;
use advect::nn::residual::Residual;
use advect::nn::transformer::{Observation, Transformer};
use advect::nn::unet1d::Unet1d;
use advect::nn::{Builder, Conditioning, Inputs, NetworkSpec, TimeInput};
use proptest::prelude::*;

pub const INPUTS: FieldInputs<'static> = FieldInputs { state: "state", time: "time", time_per_sample: false };
pub const TIMES: [f32; 3] = [0.1, 0.4, 0.85];

/// A field's graph over `requests` observations with `samples` states each.
pub struct FieldGraph {
    pub graph: Graph,
    pub v: Value,
}

fn m(rows: usize, cols: usize) -> Shape {
    Shape::matrix(rows, cols)
}

fn network(spec: &NetworkSpec, requests: usize, samples: usize) -> FieldGraph {
    let mut graph = Graph::new();
    let a = graph.input("state", m(requests * samples, 4)).unwrap();
    let t = graph.input("time", m(1, 1)).unwrap();
    let z = graph.input("z", m(requests, 3)).unwrap();
    // Networks with tokens take observations that are not repeated, too, and share their keys.
    let tokens = matches!(spec, NetworkSpec::Transformer(_));
    let z = if tokens { z } else { graph.repeat_rows(z, samples).unwrap() };
    let [horizon, action_dim, history] = if tokens { [2, 2, 3] } else { [4, 1, 1] };
    let inputs = Inputs { a, t, interval: None, z, horizon, action_dim, history };
    let v = spec.velocity(&mut Builder::new(&mut graph), &inputs).unwrap();
    FieldGraph { graph, v }
}

fn unet(time: TimeInput, film_scale: bool) -> NetworkSpec {
    NetworkSpec::Unet1d(Unet1d {
        down_dims: vec![4, 6],
        kernel_size: 3,
        groups: 2,
        final_groups: 4,
        time,
        film_scale,
    })
}

/// The field at every time of the grid, [time][element], staged or not; and the census.
pub fn staged(
    f: &FieldGraph,
    leaves: &Leaves,
    staging: bool,
    step: Option<f32>,
) -> Result<(Vec<Vec<f32>>, [usize; 5])> {
    let f32s = |name: &str| leaves[name].iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let device = cpu();
    let layout = ParamLayout::of(&f.graph);
    let mut program = Program::new(Target::of(&device));
    let params = program.resident("params", layout.len().max(1))?;
    let mut field = Staged::new(&f.graph, f.v, INPUTS, TIMES.len(), (&layout, params), staging)?;
    let (mut state, mut request) = (None, Vec::new());
    for (name, shape) in super::engine::inputs(&f.graph) {
        if name == "time" {
            continue;
        }
        let id = program.resident(&name, shape.len())?;
        if name == "state" {
            state = Some(id);
        } else {
            request.push((name, id));
        }
    }
    let state = state.unwrap();
    let request: Vec<_> = request.iter().map(|(n, id)| (n.as_str(), *id)).collect();
    let n = f.graph.shape(f.v).len();
    let out = program.resident("out", TIMES.len() * n)?;
    program.phase("load");
    let times = program.constant(&TIMES)?;
    field.lower_load(&mut program, "time", times)?;
    program.phase("request");
    field.lower_request(&mut program, &request)?;
    program.phase("steps");
    for (e, t) in TIMES.iter().enumerate() {
        let mut inputs = request.clone();
        inputs.extend([("state", state), ("time", program.constant(&[*t])?)]);
        let tail = step.map_or(Tail::Store, |h| Tail::Step { base: state, h });
        field.lower_evaluation(&mut program, e, &inputs, tail, (out, e * n))?;
    }
    let mut session = Session::new(&device, program.finish()?)?;
    for (name, _) in super::engine::inputs(&f.graph).iter().filter(|(n, _)| n != "time") {
        let id = session.plan().buffer(name)?;
        session.write(id, &f32s(name))?;
    }
    let id = session.plan().buffer("params")?;
    for info in layout.iter() {
        session.write_at(id, info.offset, &f32s(&info.name))?;
    }
    session.run(&[0, 1, 2])?;
    // What was computed ahead outlives the steps.
    session.run(&[2])?;
    let id = session.plan().buffer("out")?;
    let mut all = vec![f32::NAN; TIMES.len() * n];
    session.read(id, &mut all)?;
    Ok((all.chunks(n.max(1)).map(<[f32]>::to_vec).collect(), field.census()))
}

/// The oracle's field at one time of the grid.
fn plain(f: &FieldGraph, leaves: &Leaves, t: f32) -> Vec<f64> {
    let mut leaves = leaves.clone();
    leaves.insert("time".into(), vec![t.into()]);
    evaluate(&f.graph, &leaves).swap_remove(index(f.v))
}

pub fn off(got: &[f32], want: &[f64]) -> f64 {
    super::engine::distance(got, want)
}

fn networks() -> Vec<(String, NetworkSpec)> {
    let times = [TimeInput::Raw, TimeInput::Sinusoidal { dim: 8, scale: 9.0, max_period: 100.0 }];
    let mut out = Vec::new();
    for (t, time) in times.iter().enumerate() {
        for conditioning in [Conditioning::Concat, Conditioning::Film] {
            let name = |n: &str| format!("{n}, {conditioning:?}, time {t}");
            let (activation, time) = (Activation::Silu, time.clone());
            out.push((
                name("mlp"),
                NetworkSpec::Mlp(Mlp { hidden: vec![7, 6], activation, time: time.clone(), conditioning }),
            ));
            out.push((
                name("residual"),
                NetworkSpec::Residual(Residual { width: 8, blocks: 2, activation, time, conditioning }),
            ));
        }
        for film_scale in [true, false] {
            let name = format!("unet1d, Film with scale {film_scale}, time {t}");
            out.push((name, unet(time.clone(), film_scale)));
        }
    }
    for observation in [Observation::Conditioning, Observation::CrossAttention] {
        let small = Transformer { width: 8, layers: 2, heads: 2, mlp_ratio: 2, ..Transformer::default() };
        let time = times[1].clone();
        let spec = Transformer { time, observation, ..small };
        out.push((format!("transformer, {observation:?}"), NetworkSpec::Transformer(spec)));
    }
    out
}

const BATCHES: [(usize, usize); 5] = [(1, 1), (1, 5), (4, 1), (3, 2), (2, 3)];

#[test]
fn networks_are_the_same_staged_and_not() {
    for (name, spec) in networks() {
        for (requests, samples) in BATCHES {
            let f = network(&spec, requests, samples);
            let leaves = leaves(&f.graph, 3);
            // Deeper, and divided by deviations.
            let near = if name.contains("transformer") { 2e-5 } else { 3e-6 };
            for staging in [true, false] {
                let label = format!("{name}, {requests} x {samples}, staging {staging}");
                let (got, _) = staged(&f, &leaves, staging, None).unwrap_or_else(|e| panic!("{label}: {e}"));
                let (steps, _) = staged(&f, &leaves, staging, Some(-0.3)).unwrap();
                for ((got, step), t) in got.iter().zip(&steps).zip(TIMES) {
                    let want = plain(&f, &leaves, t);
                    assert!(off(got, &want) < near, "{label}, t = {t}: {:.2e}", off(got, &want));
                    let end: Vec<f64> =
                        want.iter().zip(&leaves["state"]).map(|(v, a)| a + f64::from(-0.3f32) * v).collect();
                    assert!(off(step, &end) < near, "{label}, step at {t}: {:.2e}", off(step, &end));
                }
            }
        }
    }
}

#[test]
fn staging_leaves_less_to_do_at_every_evaluation() {
    for (name, spec) in networks() {
        for (requests, samples) in BATCHES {
            let f = network(&spec, requests, samples);
            let leaves = leaves(&f.graph, 3);
            let every = |staging| staged(&f, &leaves, staging, None).unwrap().1;
            let (with, without) = (every(true), every(false));
            // Products: what costs. Only those of the state are left at an evaluation.
            assert_eq!(
                without[1] + without[3],
                0,
                "{name}: nothing is computed for all times without staging"
            );
            assert!(with[1] > 0, "{name}, {requests} x {samples}: {with:?}");
            // A raw time beside the state leaves as many (narrower) operations; whatever is computed from time and
            // observation alone leaves the loop.
            let ahead = ["Film", "time 1", "transformer"].iter().any(|n| name.contains(n));
            let fewer = if ahead { with[4] < without[4] } else { with[4] <= without[4] + 2 };
            assert!(fewer, "{name}, {requests} x {samples}: {with:?} staged, {without:?} not");
        }
    }
}

/// Bytes of weights that an evaluation multiplies with.
#[test]
fn the_first_layer_multiplies_the_state_alone() {
    for (requests, samples) in BATCHES {
        let spec = NetworkSpec::Mlp(Mlp {
            hidden: vec![7],
            activation: Activation::Silu,
            time: TimeInput::Raw,
            conditioning: Conditioning::Concat,
        });
        let f = network(&spec, requests, samples);
        let layout = ParamLayout::of(&f.graph);
        let flops = |staging: bool| {
            let mut program = Program::new(Target::CPU);
            let params = program.resident("params", layout.len()).unwrap();
            let mut field =
                Staged::new(&f.graph, f.v, INPUTS, TIMES.len(), (&layout, params), staging).unwrap();
            let [state, z] = [("state", 4 * requests * samples), ("z", 3 * requests)]
                .map(|(name, n)| program.resident(name, n).unwrap());
            let out = program.resident("out", 4 * requests * samples).unwrap();
            let times = program.constant(&TIMES).unwrap();
            program.phase("load");
            field.lower_load(&mut program, "time", times).unwrap();
            program.phase("request");
            field.lower_request(&mut program, &[("z", z)]).unwrap();
            let ahead = program.clone().finish().unwrap().flops;
            let t = program.constant(&TIMES[..1]).unwrap();
            let inputs = [("state", state), ("time", t), ("z", z)];
            field.lower_evaluation(&mut program, 0, &inputs, Tail::Store, (out, 0)).unwrap();
            program.finish().unwrap().flops - ahead
        };
        let rows = (requests * samples) as f64;
        assert_eq!(flops(true), rows * 2.0 * (4.0 * 7.0 + 7.0 * 4.0), "{requests} x {samples}");
        assert_eq!(flops(false), rows * 2.0 * (8.0 * 7.0 + 7.0 * 4.0), "{requests} x {samples}");
    }
}

/// Dispatches and operations of load, request and one evaluation.
fn work(f: &FieldGraph, staging: bool) -> [(usize, f64); 3] {
    let layout = ParamLayout::of(&f.graph);
    let mut program = Program::new(Target::CPU);
    let params = program.resident("params", layout.len()).unwrap();
    let mut field = Staged::new(&f.graph, f.v, INPUTS, TIMES.len(), (&layout, params), staging).unwrap();
    let mut inputs = Vec::new();
    for (name, shape) in super::engine::inputs(&f.graph) {
        if name != "time" {
            let id = program.resident(&name, shape.len()).unwrap();
            inputs.push((name, id));
        }
    }
    let mut inputs: Vec<_> = inputs.iter().map(|(n, id)| (n.as_str(), *id)).collect();
    let out = program.resident("out", f.graph.shape(f.v).len()).unwrap();
    let times = program.constant(&TIMES).unwrap();
    let state = inputs.iter().find(|(n, _)| *n == "state").unwrap().1;
    let mut flops = Vec::new();
    let total = |program: &Program| program.clone().finish().unwrap().flops;
    program.phase("load");
    field.lower_load(&mut program, "time", times).unwrap();
    flops.push(total(&program));
    program.phase("request");
    let request: Vec<_> = inputs.iter().copied().filter(|(n, _)| *n != "state").collect();
    field.lower_request(&mut program, &request).unwrap();
    flops.push(total(&program));
    program.phase("steps");
    inputs.push(("time", program.constant(&TIMES[..1]).unwrap()));
    let tail = Tail::Step { base: state, h: 0.5 };
    field.lower_evaluation(&mut program, 0, &inputs, tail, (out, 0)).unwrap();
    flops.push(total(&program));
    let plan = program.finish().unwrap();
    let phase = |i: usize| (plan.dispatches(i), flops[i] - if i > 0 { flops[i - 1] } else { 0.0 });
    [phase(0), phase(1), phase(2)]
}

/// Time and observation reach a U-Net's blocks as scales and shifts, which do not depend on the chunk: for all solver
/// times they are computed before the loop, in which only convolutions and norms are left.
#[test]
fn a_unet_step_is_convolutions_and_norms() {
    let time = TimeInput::Sinusoidal { dim: 8, scale: 9.0, max_period: 100.0 };
    for (requests, samples) in BATCHES {
        let f = network(&unet(time.clone(), true), requests, samples);
        let label = format!("{requests} x {samples}");
        let (with, without) = (work(&f, true), work(&f, false));
        let census = |staging| staged(&f, &leaves(&f.graph, 3), staging, None).unwrap().1;
        println!(
            "{label}: {with:?} staged, {without:?} not; census {:?} and {:?}",
            census(true),
            census(false)
        );
        // Rows times weights of every convolution: 4 steps of 4 channels, then 2 steps of 6 (and back to 4 before the steps
        // are doubled again), the steps' changes, and the output.
        let high = 4 * (3 * 4 + 3 * (3 * 4 * 4) + 4);
        let low = 2 * (3 * 4 * 6 + 7 * (3 * 6 * 6) + 4 * 6) + 2 * (3 * 12 * 4 + 3 * (3 * 4 * 4) + 12 * 4);
        let between = 2 * (3 * 4 * 4) + 2 * (4 * 4 * 4);
        let last = 4 * (3 * 4 * 4 + 4);
        let rows = (requests * samples) as f64;
        let convolutions = rows * 2.0 * (high + low + between + last) as f64;
        assert_eq!(with[2].1, convolutions, "{label}: operations of a step");
        // Unfold, product and norm for each of 2 x 8 convolutions; three residual convolutions; down, up (with its skip),
        // and the output, which takes the solver's step along.
        assert_eq!(with[2].0, 3 * 16 + 3 + 2 + (2 + 3) + (3 + 1), "{label}: dispatches of a step");
        // Of every block's condition only the sum of its time's and its observation's part is left per request and time.
        let census = census(true);
        assert_eq!(census[3], 8, "{label}: operations per request and time, {census:?}");
        // Without staging the step encoder and every block's layer are in the loop.
        let encoder = 2.0 * (8 * 32 + 32 * 8) as f64;
        let films = rows * 2.0 * ((8 + 3) * 2 * (4 * 4 + 4 * 6)) as f64;
        assert_eq!(without[2].1, convolutions + encoder + films, "{label}: operations of an unstaged step");
        assert!(without[2].0 >= with[2].0 + 12, "{label}: {with:?} staged, {without:?} not");
    }
}

/// A random field: operations on state, time, its embedding, observation, their repetitions, parameters, constants.
fn random_field(steps: &[(u8, [u16; 3], usize)], requests: usize, samples: usize) -> FieldGraph {
    let mut g = Graph::new();
    let rows = requests * samples;
    let a = g.input("state", m(rows, 5)).unwrap();
    let t = g.input("time", m(1, 1)).unwrap();
    let z = g.input("z", m(requests, 3)).unwrap();
    let kind = TimeEmbedding::Sinusoidal { dim: 4, scale: 3.0, max_period: 10.0 };
    let e = g.time_embedding(&kind, t).unwrap();
    let repeated = g.repeat_rows(z, samples).unwrap();
    let c = g.constant(m(rows, 5), normal(1, 50, rows * 5).iter().map(|v| *v as f32).collect()).unwrap();
    let mut values = vec![a, t, z, e, repeated, c];
    for (i, (r, c)) in [(5, 5), (5, 3), (5, 4), (3, 3), (4, 4), (1, 5), (1, 3)].into_iter().enumerate() {
        values.push(g.param(&format!("p{i}"), m(r, c)).unwrap());
    }
    for (op, picks, number) in steps {
        let [a, b, c] = picks.map(|p| values[usize::from(p) % values.len()]);
        let cols = g.shape(a).cols();
        let all = g.shape(a).rows();
        let factor = [1.0, -0.5, 1.0, 2.0][number % 4];
        let act = [Activation::Silu, Activation::Tanh, Activation::Sin, Activation::Sigmoid][number % 4];
        let new = match op {
            0..=3 => g.matmul_nt(a, b),
            4 => g.matmul(a, b),
            5 | 6 => g.axpby(factor, a, 1.0, b),
            7 => g.mul(a, b),
            8 => g.affine(a, factor, 0.1),
            9 => g.map(act, a),
            10 => g.fma(a, b, c),
            11 => g.layer_norm(a, None, None, 0.1),
            12 => g.slice(a, number % cols, 1 + number / 7 % cols),
            13 | 14 => {
                // As the networks do: parts with fewer rows are repeated.
                let rows = [a, b].iter().map(|v| g.shape(*v).rows()).max().unwrap_or(1);
                let parts: Result<Vec<Value>> =
                    [a, b].iter().map(|v| g.repeat_rows(*v, rows / g.shape(*v).rows())).collect();
                parts.and_then(|p| g.concat(&p))
            }
            15 => g.repeat_rows(a, (rows / all).max(1)),
            16 => g.col_sum(a, [1, all][number % 2], 0.5),
            17 => g.row_sum(a, 0.5),
            _ => g.softmax(a),
        };
        if let Ok(v) = new
            && g.shape(v).len() <= 300
        {
            let v = if matches!(op, 0..=4 | 7 | 10) { g.map(Activation::Tanh, v).unwrap() } else { v };
            values.push(v);
        }
    }
    let v = *values.last().unwrap();
    // Most fields end at the state's rows and depend on it.
    let v = match g.add(a, v) {
        Ok(sum) => sum,
        Err(_) => v,
    };
    FieldGraph { graph: g, v }
}

proptest! {
    #![proptest_config(super::engine::cases(600))]

    #[test]
    fn random_fields_are_the_same_staged_and_not(
        steps in prop::collection::vec((0u8..19, any::<[u16; 3]>(), 0usize..1000), 1..16),
        batch in 0usize..BATCHES.len(),
        seed in 0u64..1000,
    ) {
        let (requests, samples) = BATCHES[batch];
        let f = random_field(&steps, requests, samples);
        let leaves = leaves(&f.graph, seed);
        for staging in [true, false] {
            let (got, _) = staged(&f, &leaves, staging, None).unwrap();
            for (got, t) in got.iter().zip(TIMES) {
                let want = plain(&f, &leaves, t);
                let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
                let off = off(got, &want) * if norm > 0.0 { norm } else { 1.0 };
                prop_assert!(off <= 5e-5 * norm.max(1.0), "staging {staging}, t = {t}: off by {off:.2e} of {norm:.2e}");
            }
        }
    }
}
