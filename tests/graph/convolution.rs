//! Convolutions whose windows are read where they lie: on GPUs one command, and what two commands compute.

use super::engine::{agree, distance, leaves};
use super::oracle::{evaluate, index};
use crate::common::devices;
use advect::graph::lower::lower;
use advect::graph::op::conv::Conv1d;
use advect::graph::{Graph, ParamLayout, Plan, Program, Session, Shape, Value};
use advect::kernel::math::Activation;
use advect::kernel::{Target, View};

/// Two convolutions of 20 samples with an activation between: 16 steps of 3 channels to 70, to 8 steps of 80.
fn network(g: &mut Graph) -> Value {
    let x = g.input("x", Shape::matrix(20 * 16, 3)).unwrap();
    let (w, b) = (
        g.param("w1", Shape::new(&[70, 3, 5]).unwrap()).unwrap(),
        g.param("b1", Shape::matrix(1, 70)).unwrap(),
    );
    let h = g.conv1d(x, w, Some(b), Conv1d { steps: 16, stride: 1, padding: 2 }).unwrap();
    let h = g.map(Activation::Silu, h).unwrap();
    let (w, b) = (
        g.param("w2", Shape::new(&[80, 70, 3]).unwrap()).unwrap(),
        g.param("b2", Shape::matrix(1, 80)).unwrap(),
    );
    g.conv1d(h, w, Some(b), Conv1d { steps: 16, stride: 2, padding: 1 }).unwrap()
}

fn plan(target: &Target, g: &Graph, outputs: &[Value]) -> Plan {
    let layout = ParamLayout::of(g);
    let mut program = Program::new(target.clone());
    let params = program.resident("params", layout.len()).unwrap();
    let x = program.resident("x", 20 * 16 * 3).unwrap();
    let mut places = Vec::new();
    for (i, v) in outputs.iter().enumerate() {
        let id = program.resident(&format!("out {i}"), g.shape(*v).len()).unwrap();
        places.push((*v, (id, View::dense(0, g.shape(*v).cols()))));
    }
    lower(&mut program, g, (&layout, params), &[("x", x)], &places).unwrap();
    program.finish().unwrap()
}

fn count(plan: &Plan, kernel: &str) -> usize {
    plan.commands.iter().filter(|c| c.kernel.name == kernel).count()
}

#[test]
fn a_gpu_reads_windows_where_they_lie() {
    let mut g = Graph::new();
    let y = network(&mut g);
    let merged = plan(&Target::MINIMAL_GPU, &g, &[y]);
    assert_eq!((count(&merged, "conv1d"), count(&merged, "unfold1d"), merged.commands.len()), (2, 0, 2));
    assert_eq!((merged.phases.len(), merged.phases[0].range.clone()), (1, 0..2));
    for other in [Target::CPU, Target { software: true, ..Target::MINIMAL_GPU }] {
        let apart = plan(&other, &g, &[y]);
        assert_eq!((count(&apart, "conv1d"), count(&apart, "unfold1d")), (0, 2), "{other:?}");
        assert_eq!(apart.flops, merged.flops);
    }
    let leaves = leaves(&g, 7);
    agree("apart", &g, &leaves, &[y], 2e-6);
    let want = &evaluate(&g, &leaves)[index(y)];
    for device in devices() {
        let mut session = Session::new(&device, plan(&Target::MINIMAL_GPU, &g, &[y])).unwrap();
        let f32s = |name: &str| leaves[name].iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let [x, params, out] = ["x", "params", "out 0"].map(|name| session.plan().buffer(name).unwrap());
        session.write(x, &f32s("x")).unwrap();
        for info in ParamLayout::of(&g).iter() {
            session.write_at(params, info.offset, &f32s(&info.name)).unwrap();
        }
        session.run(&[0]).unwrap();
        let mut got = vec![f32::NAN; want.len()];
        session.read(out, &mut got).unwrap();
        let off = distance(&got, want);
        assert!(off <= 2e-6, "{}: off by {off:.2e}", device.describe());
    }
}

#[test]
fn windows_that_others_read_stay_in_memory() {
    // The gradient of the first weight multiplies the same windows once more.
    let mut g = Graph::new();
    let y = network(&mut g);
    let half = g.affine(y, 0.5, 0.0).unwrap();
    let loss = g.mse(y, half).unwrap();
    let w = g.param("w1", Shape::new(&[70, 3, 5]).unwrap()).unwrap();
    let d = g.grad(loss, &[w]).unwrap();
    let plan = plan(&Target::MINIMAL_GPU, &g, &[loss, d[0]]);
    assert_eq!((count(&plan, "conv1d"), count(&plan, "unfold1d")), (1, 1));
}
