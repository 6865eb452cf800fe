//! Graphs run by the engine: lowered into a program, resident in a session.

use super::oracle::{Leaves, evaluate, index};
pub use crate::common::cpu;
use advect::device::Device;
use advect::graph::lower::lower;
use advect::graph::{Graph, Op, ParamLayout, Plan, Program, Session, Shape, Value};
use advect::kernel::{Target, View, philox};

/// At least `n` random cases; PROPTEST_CASES asks for more.
pub fn cases(n: u32) -> proptest::prelude::ProptestConfig {
    let default = proptest::prelude::ProptestConfig::default();
    proptest::prelude::ProptestConfig { cases: default.cases.max(n), failure_persistence: None, ..default }
}

/// A graph's inputs by name.
pub fn inputs(g: &Graph) -> Vec<(String, Shape)> {
    let input = |v| match &g.node(v).op {
        Op::Input(i) => Some((i.name.to_string(), i.shape)),
        _ => None,
    };
    g.values().filter_map(input).collect()
}

/// A graph's plan for a device; output i goes to the resident buffer `out i`.
pub fn plan(device: &Device, g: &Graph, outputs: &[Value]) -> Plan {
    let layout = ParamLayout::of(g);
    let mut program = Program::new(Target::of(device));
    let params = program.resident("params", layout.len().max(1)).unwrap();
    let inputs = inputs(g);
    let bound: Vec<_> =
        inputs.iter().map(|(n, s)| (n.as_str(), program.resident(n, s.len()).unwrap())).collect();
    let mut places = Vec::new();
    for (i, v) in outputs.iter().enumerate() {
        let shape = g.shape(*v);
        let id = program.resident(&format!("out {i}"), shape.len()).unwrap();
        places.push((*v, (id, View::dense(0, shape.cols()))));
    }
    lower(&mut program, g, (&layout, params), &bound, &places).unwrap();
    program.finish().unwrap()
}

/// The outputs' values.
pub fn run(device: &Device, g: &Graph, leaves: &Leaves, outputs: &[Value]) -> Vec<Vec<f32>> {
    let plan = plan(device, g, outputs);
    let phases: Vec<usize> = (0..plan.phases.len()).collect();
    let mut session = Session::new(device, plan).unwrap();
    let f32s = |name: &str| leaves[name].iter().map(|v| *v as f32).collect::<Vec<f32>>();
    for (name, _) in inputs(g) {
        let id = session.plan().buffer(&name).unwrap();
        session.write(id, &f32s(&name)).unwrap();
    }
    let params = session.plan().buffer("params").unwrap();
    for info in ParamLayout::of(g).iter() {
        session.write_at(params, info.offset, &f32s(&info.name)).unwrap();
    }
    session.run(&phases).unwrap();
    let read = |(i, v): (usize, &Value)| {
        let id = session.plan().buffer(&format!("out {i}")).unwrap();
        let mut out = vec![f32::NAN; g.shape(*v).len()];
        session.read(id, &mut out).unwrap();
        out
    };
    outputs.iter().enumerate().map(read).collect()
}

/// Standard normal values, exact in f32, for every input and parameter.
pub fn leaves(g: &Graph, seed: u64) -> Leaves {
    let mut out = Leaves::new();
    for v in g.values() {
        let name = match &g.node(v).op {
            Op::Input(i) => &i.name,
            Op::Param(p) => &p.name,
            _ => continue,
        };
        out.insert(name.to_string(), normal(seed, out.len() as u32, g.shape(v).len()));
    }
    out
}

/// Standard normal values, exact in f32.
pub fn normal(seed: u64, stream: u32, n: usize) -> Vec<f64> {
    let mut data = vec![0.0f32; n];
    philox::fill_normal(seed, stream, 0, 0, &mut data);
    data.into_iter().map(f64::from).collect()
}

/// ||got - want|| / ||want||, infinite where something is not finite or of another length.
pub fn distance(got: &[f32], want: &[f64]) -> f64 {
    if got.len() != want.len() || got.iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let square = |f: &dyn Fn(usize) -> f64| (0..want.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let (off, norm) = (square(&|i| f64::from(got[i]) - want[i]), square(&|i| want[i]));
    if norm > 0.0 { (off / norm).sqrt() } else { off.sqrt() }
}

/// Asserts that the engine computes `outputs` as the oracle does.
pub fn agree(label: &str, g: &Graph, leaves: &Leaves, outputs: &[Value], tolerance: f64) {
    let want = evaluate(g, leaves);
    for (got, v) in run(&cpu(), g, leaves, outputs).iter().zip(outputs) {
        let off = distance(got, &want[index(*v)]);
        assert!(off <= tolerance, "{label}: {:?} off by {off:.2e}", g.node(*v).op);
    }
}
