//! Integrating a learned or an analytic field.

use super::loss::{network, weights};
use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::log_prob::{Divergence, LogProb};
use crate::flow::{Batch, Field, IntegrateOptions, Integrator, Solver};
use crate::graph::{Graph, Shape, Value};
use crate::nn::{Builder, Inputs, NetworkSpec, ParamStore};

/// v(a, t, z) of a network.
pub(super) struct Network {
    spec: NetworkSpec,
    dim: usize,
    z: usize,
}

impl Network {
    /// The field of a file and its weights.
    pub(super) fn of(file: &GoldenFile, state: &str) -> Result<(Network, ParamStore)> {
        let field =
            Network { spec: network(file)?, dim: file.shape(state)?.cols(), z: file.shape("in.z")?.cols() };
        let mut g = Graph::new();
        let a = g.input("a", Shape::matrix(1, field.dim))?;
        let t = g.input("t", Shape::matrix(1, 1))?;
        let z = g.input("z", Shape::matrix(1, field.z))?;
        let inputs = Inputs::flat(&g, a, t, z);
        let mut builder = Builder::new(&mut g);
        field.spec.velocity(&mut builder, &inputs)?;
        let store = weights(file, &builder.params)?;
        Ok((field, store))
    }
}

impl Field for Network {
    fn dim(&self) -> usize {
        self.dim
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("z", self.z)]
    }

    fn velocity(&self, g: &mut Graph, a: Value, t: Value, request: &[Value]) -> crate::graph::Result<Value> {
        let inputs = Inputs::flat(g, a, t, request[0]);
        self.spec.velocity(&mut Builder::new(g), &inputs)
    }
}

fn integrate(file: &GoldenFile, device: &Device, solver: Solver, score: &mut Score) -> Result<()> {
    let (field, store) = Network::of(file, "in.x0")?;
    let (x0, z) = (file.f32("in.x0")?, file.f32("in.z")?);
    let batch = Batch { requests: x0.len() / field.dim, samples: 1 };
    let trajectory = file.has("out.trajectory");
    let options = IntegrateOptions { trajectory, ..IntegrateOptions::default() };
    let mut integrator = Integrator::new(device, &field, &store.layout, solver, batch, &options)?;
    integrator.set_params(&store.values)?;
    let mut y = vec![0.0; x0.len()];
    let mut all = vec![0.0; if trajectory { (integrator.steps() + 1) * x0.len() } else { 0 }];
    integrator.run(Start::Given(&x0), &[&z], &mut y, trajectory.then_some(all.as_mut_slice()))?;
    score.close(file, "out.y", &y)?;
    if trajectory {
        score.close(file, "out.trajectory", &all)?;
    }
    Ok(())
}

pub(super) fn fixed(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let solver = format!("{}:{}", file.text("method")?, file.number("steps")?).parse()?;
    integrate(file, device, solver, score)
}

pub(super) fn adaptive(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let [rtol, atol] = [file.number("rtol")?, file.number("atol")?];
    integrate(file, device, format!("{}:{rtol}:{atol}", file.text("method")?).parse()?, score)
}

/// dx/dt = -rate (x - 1) with a rate per sample.
struct Relaxation {
    dim: usize,
}

impl Field for Relaxation {
    fn dim(&self) -> usize {
        self.dim
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("rate", 1)]
    }

    fn velocity(&self, g: &mut Graph, x: Value, _: Value, request: &[Value]) -> crate::graph::Result<Value> {
        let toward = g.affine(x, -1.0, 1.0)?;
        g.mul(toward, request[0])
    }
}

/// Every adaptive method on samples whose time scales differ forty-fold.
pub(super) fn relaxation(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let field = Relaxation { dim: file.shape("in.x0")?.cols() };
    let (x0, rate) = (file.f32("in.x0")?, file.f32("in.rate")?);
    let [rtol, atol] = [file.number("rtol")?, file.number("atol")?];
    for method in ["bosh3", "dopri5", "tsit5"] {
        let solver = format!("{method}:{rtol}:{atol}").parse()?;
        let batch = Batch { requests: rate.len(), samples: 1 };
        let layout = Default::default();
        let mut integrator =
            Integrator::new(device, &field, &layout, solver, batch, &IntegrateOptions::default())?;
        integrator.set_params(&[])?;
        let mut y = vec![0.0; x0.len()];
        integrator.run(Start::Given(&x0), &[&rate], &mut y, None)?;
        score.close(file, "out.y", &y)?;
    }
    Ok(())
}

pub(super) fn log_prob(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("divergence", "exact")?;
    let (field, store) = Network::of(file, "in.x1")?;
    let (x1, z) = (file.f32("in.x1")?, file.f32("in.z")?);
    let solver = format!("{}:{}", file.text("method")?, file.number("steps")?).parse()?;
    let batch = Batch { requests: x1.len() / field.dim, samples: 1 };
    let mut log_prob = LogProb::new(device, &field, &store.layout, solver, batch, Divergence::Exact)?;
    log_prob.set_params(&store.values)?;
    let (density, x0) = log_prob.run(&x1, &[&z])?;
    let density: Vec<f32> = density.iter().map(|v| *v as f32).collect();
    score.close(file, "out.log_prob", &density)?;
    score.close(file, "out.x0", &x0)
}
