//! Training objectives on a small network: the loss and the gradient of every parameter.

use super::{GoldenError, GoldenFile, Result, Score};
use crate::device::Device;
use crate::flow::{Path, TimeLaw};
use crate::graph::lower::lower;
use crate::graph::{Graph, Program, Session, Shape, Value};
use crate::kernel::math::Activation;
use crate::kernel::path::{self, PathKind};
use crate::kernel::{BufferId, Target, View};
use crate::nn::mlp::Mlp;
use crate::nn::{Builder, Conditioning, Inputs, NetworkSpec, ParamSpec, ParamStore, TimeInput};
use crate::objective::consistency::Consistency;
use crate::objective::denoising::Denoising;
use crate::objective::flow_matching::FlowMatching;
use crate::objective::mip::Mip;
use crate::objective::streaming::Streaming;
use crate::objective::{Loss, Method, Net, Query, Task, mean_flow, ops, shortcut};

/// The network of a file: linear layers `layers.N` with SiLU between, over [a; t; z].
pub(super) fn network(file: &GoldenFile) -> Result<NetworkSpec> {
    let mut widths = Vec::new();
    while file.has(&format!("param.layers.{}.weight", widths.len())) {
        widths.push(file.dims(&format!("param.layers.{}.weight", widths.len()))?[0]);
    }
    if widths.pop().is_none() {
        return Err(GoldenError::Unknown { what: "network", found: file.tensors().join(", ") });
    }
    Ok(NetworkSpec::Mlp(Mlp {
        hidden: widths,
        activation: Activation::Silu,
        time: TimeInput::Raw,
        conditioning: Conditioning::Concat,
    }))
}

/// The weights of a file for a network's parameters.
pub(super) fn weights(file: &GoldenFile, specs: &[ParamSpec]) -> Result<ParamStore> {
    let mut store = ParamStore::zeros(specs);
    store.load(&file.contents()?, "param.")?;
    Ok(store)
}

/// The network of a file as an objective queries it.
struct FileNet(NetworkSpec);

impl Net for FileNet {
    fn query(&self, b: &mut Builder<'_>, x: Query) -> crate::graph::Result<Value> {
        let inputs = Inputs { interval: x.interval, ..Inputs::flat(b.graph, x.a, x.t, x.obs) };
        self.0.velocity(b, &inputs)
    }
}

/// The batch of a file.
fn task(file: &GoldenFile) -> Result<Task> {
    let (a, z) = (file.shape("in.z")?.rows(), file.shape("in.z")?.cols());
    let cols = file.shape(if file.has("in.x1") { "in.x1" } else { "in.xi" })?.cols();
    Ok(Task {
        batch: a,
        horizon: 1,
        action_dim: cols,
        obs: z,
        path: Path::default(),
        time_law: TimeLaw::Uniform,
        max_delay: None,
        masked: None,
        present: None,
    })
}

/// An input of the loss graph: its name there, and its values.
type Given = (&'static str, Vec<f32>);

/// The tensors of a file under the names that a loss graph has for them.
fn given(file: &GoldenFile, names: &[(&'static str, &str)]) -> Result<Vec<Given>> {
    names.iter().map(|(name, tensor)| Ok((*name, file.f32(tensor)?))).collect()
}

/// Builds a loss, runs it with its gradients and compares `out.loss`, the named parts that the file has, and every `grad.*`.
/// `front` adds commands that make further inputs of those given.
fn check(
    file: &GoldenFile,
    device: &Device,
    score: &mut Score,
    inputs: &[Given],
    front: impl FnOnce(&mut Program, &[BufferId]) -> Result<Vec<(&'static str, BufferId)>>,
    build: impl FnOnce(&mut Builder<'_>, &dyn Net, &Task) -> crate::graph::Result<Loss>,
) -> Result<()> {
    let (net, task) = (FileNet(network(file)?), task(file)?);
    let mut g = Graph::new();
    let mut builder = Builder::new(&mut g);
    let loss = build(&mut builder, &net, &task)?;
    let specs = builder.params;
    let store = weights(file, &specs)?;
    let wrt: Vec<Value> =
        specs.iter().map(|p| g.param(&p.name, p.shape)).collect::<std::result::Result<_, _>>()?;
    let grads = g.grad(loss.value, &wrt)?;

    let mut program = Program::new(Target::of(device));
    let mut ids = Vec::new();
    for (name, values) in inputs {
        ids.push(program.resident(name, values.len())?);
    }
    let mut bound: Vec<(&str, BufferId)> = inputs.iter().map(|(name, _)| *name).zip(ids.clone()).collect();
    bound.extend(front(&mut program, &ids)?);
    let params = program.resident("params", store.layout.len())?;
    let flat = program.resident("grads", store.layout.len())?;
    let loss_at = program.resident("loss", 1)?;
    let mut outputs = vec![(loss.value, (loss_at, View::dense(0, 1)))];
    let mut parts = Vec::new();
    for (name, value) in &loss.parts {
        let (tensor, shape) = (format!("out.{name}"), g.shape(*value));
        if file.has(&tensor) {
            let at = program.resident(&tensor, shape.len())?;
            outputs.push((*value, (at, View::dense(0, shape.cols()))));
            parts.push((tensor, shape.len()));
        }
    }
    for (info, grad) in store.layout.iter().zip(&grads) {
        outputs.push((*grad, (flat, View::dense(info.offset, info.shape.cols()))));
    }
    lower(&mut program, &g, (&store.layout, params), &bound, &outputs)?;

    let mut session = Session::new(device, program.finish()?)?;
    for (name, values) in inputs {
        let id = session.plan().buffer(name)?;
        session.write(id, values)?;
    }
    let id = session.plan().buffer("params")?;
    session.write(id, &store.values)?;
    session.run(&[0])?;
    let mut read = |name: &str, n: usize| -> Result<Vec<f32>> {
        let id = session.plan().buffer(name)?;
        let mut got = vec![0.0; n];
        session.read(id, &mut got)?;
        Ok(got)
    };
    score.close(file, "out.loss", &read("loss", 1)?)?;
    for (tensor, n) in parts {
        score.close(file, &tensor, &read(&tensor, n)?)?;
    }
    let flat = read("grads", store.layout.len())?;
    for info in store.layout.iter() {
        let grad = &flat[info.offset..info.offset + info.shape.len()];
        score.close(file, &format!("grad.{}", info.name), grad)?;
    }
    Ok(())
}

/// No further inputs.
fn nothing(_: &mut Program, _: &[BufferId]) -> Result<Vec<(&'static str, BufferId)>> {
    Ok(Vec::new())
}

/// Flow matching on the OT path. The path kernel makes x_t and u_t, as it does in training.
pub(super) fn cfm(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let sigma = file.number("sigma_min")? as f32;
    let inputs = given(file, &[("x0", "in.x0"), ("x1", "in.x1"), ("t", "in.t"), ("obs", "in.z")])?;
    let a = file.shape("in.x0")?;
    let front = |p: &mut Program, ids: &[BufferId]| {
        let (x, u) = (p.temporary(a.len())?, p.temporary(a.len())?);
        let shape = [a.rows(), a.cols()];
        p.push(path::command(PathKind::Ot, sigma, shape, ids[0], ids[1], ids[2], ids[0], x, u))?;
        Ok(vec![("xt", x), ("ut", u)])
    };
    check(file, device, score, &inputs, front, |b, net, task| FlowMatching.loss(b, net, task))
}

/// MeanFlow's identity, unweighted, every sample with the interval that the file gives it.
pub(super) fn mean_flow(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let names = [("x0", "in.x0"), ("x1", "in.x1"), ("t", "in.t"), ("r", "in.r"), ("obs", "in.z")];
    check(file, device, score, &given(file, &names)?, nothing, |b, net, task| {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let (t, r) = (task.columns(b.graph, "t", 1)?, task.columns(b.graph, "r", 1)?);
        let obs = task.obs(b.graph)?;
        let v = b.graph.sub(x1, x0)?;
        let xt = b.graph.fma(v, t, x0)?;
        let [u, target] = mean_flow::identity(b, net, [xt, v, t, r, obs])?;
        Ok(Loss { value: b.graph.mse(u, target)?, parts: vec![("u", u), ("target", target)] })
    })
}

/// The self-consistency of shortcut models.
pub(super) fn shortcut(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let names = [("x0", "in.x0"), ("x1", "in.x1"), ("t", "in.t"), ("d", "in.d"), ("obs", "in.z")];
    check(file, device, score, &given(file, &names)?, nothing, |b, net, task| {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let (t, d) = (task.columns(b.graph, "t", 1)?, task.columns(b.graph, "d", 1)?);
        let obs = task.obs(b.graph)?;
        let half = b.graph.affine(d, 0.5, 0.0)?;
        let xt = ops::straight(b.graph, x0, x1, t)?;
        let target = shortcut::two_halves(b, net, [xt, t, d, half, obs])?;
        let s = net.query(b, Query { a: xt, t, interval: Some(d), obs })?;
        Ok(Loss { value: b.graph.mse(s, target)?, parts: vec![("target", target)] })
    })
}

/// Consistency flow matching with one segment.
pub(super) fn consistency(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("segments", 1)?;
    let number = |key: &str| file.number(key).map(|v| v as f32);
    let objective = Consistency { segments: 1, delta: number("delta")?, alpha: number("alpha")? };
    let names = [("x0", "in.x0"), ("x1", "in.x1"), ("t", "in.t"), ("obs", "in.z")];
    check(file, device, score, &given(file, &names)?, nothing, |b, net, task| {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let (t, obs) = (task.columns(b.graph, "t", 1)?, task.obs(b.graph)?);
        let end = b.graph.constant(Shape::matrix(task.batch, 1), vec![1.0; task.batch])?;
        Ok(Loss::of(objective.difference(b, net, [x0, x1, t, end, obs], None)?))
    })
}

/// The two regressions of MIP.
pub(super) fn mip(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let objective = Mip { t_star: file.number("t_star")? as f32 };
    let inputs = given(file, &[("x0", "in.x0"), ("x1", "in.x1"), ("obs", "in.z")])?;
    check(file, device, score, &inputs, nothing, |b, net, task| objective.loss(b, net, task))
}

/// The streaming flow policy at given points of a trajectory.
pub(super) fn streaming(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let objective = Streaming { k: file.number("k")? as f32, sigma0: file.number("sigma0")? as f32 };
    let names = [("xi", "in.xi"), ("xid", "in.xid"), ("noise", "in.noise"), ("t", "in.t"), ("obs", "in.z")];
    check(file, device, score, &given(file, &names)?, nothing, |b, net, task| {
        let (xi, slope) = (task.chunks(b.graph, "xi")?, task.chunks(b.graph, "xid")?);
        let (noise, t) = (task.chunks(b.graph, "noise")?, task.columns(b.graph, "t", 1)?);
        let obs = task.obs(b.graph)?;
        let [a, target] = objective.target(b.graph, [xi, slope, noise, t])?;
        let v = net.query(b, Query { a, t, interval: None, obs })?;
        Ok(Loss { value: b.graph.mse(v, target)?, parts: vec![("a", a)] })
    })
}

/// Diffusion policy's loss: the noise at given steps.
pub(super) fn ddpm_epsilon(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("schedule", "squaredcos_cap_v2")?;
    let steps = file.number("steps")? as usize;
    let objective = Denoising { train_steps: steps, ..Denoising::default() };
    let rows = objective.table();
    let mut inputs = given(file, &[("x0", "in.x0"), ("x1", "in.x1"), ("obs", "in.z")])?;
    let chosen = file.u32("in.step")?;
    if let Some(step) = chosen.iter().find(|k| **k as usize >= steps) {
        return Err(file.bad(format!("in.step: found {step}, needed less than {steps}")));
    }
    inputs.push(("step", chosen.iter().flat_map(|k| rows[*k as usize]).collect()));
    check(file, device, score, &inputs, nothing, |b, net, task| objective.loss(b, net, task))
}
