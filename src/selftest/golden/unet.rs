//! Diffusion policy's U-Net: the network with its gradients, and flow sampling through it.

use super::graph_case::GraphCase;
use super::loss::weights;
use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::{Batch, Field, IntegrateOptions, Integrator, Recurrence, Step, TimeLaw};
use crate::graph::{Graph, Shape, Value};
use crate::nn::unet1d::Unet1d;
use crate::nn::{Builder, Inputs, ParamStore, TimeInput};
use crate::objective::denoising::{Denoising, DenoisingSampler};
use crate::objective::{Method, Net, Query, Sampling, State, Steps, Task};

/// The U-Net of a file and the shape of its chunk.
struct Unet {
    net: Unet1d,
    horizon: usize,
    action_dim: usize,
    condition: usize,
}

impl Unet {
    /// The network of a file, for times in units of 1 / `scale`.
    fn of(file: &GoldenFile, scale: f64) -> Result<Unet> {
        let number = |key: &str| file.number(key).map(|n| n as usize);
        let mut down_dims = Vec::new();
        while file.has(&format!("param.down_modules.{}.0.conv1.block.0.bias", down_dims.len())) {
            down_dims
                .push(file.dims(&format!("param.down_modules.{}.0.conv1.block.0.bias", down_dims.len()))?[0]);
        }
        let (kernel_size, groups) = (number("kernel_size")?, number("groups")?);
        let time = TimeInput::Sinusoidal { dim: number("step_embed_dim")?, scale, max_period: 1e4 };
        Ok(Unet {
            net: Unet1d { down_dims, kernel_size, groups, final_groups: 8, time, film_scale: true },
            horizon: number("horizon")?,
            action_dim: number("action_dim")?,
            condition: number("global_cond_dim")?,
        })
    }

    fn inputs(&self, a: Value, t: Value, z: Value) -> Inputs {
        Inputs { a, t, interval: None, z, horizon: self.horizon, action_dim: self.action_dim, history: 1 }
    }

    /// The weights of a file.
    fn store(&self, file: &GoldenFile) -> Result<ParamStore> {
        let mut g = Graph::new();
        let a = g.input("a", Shape::matrix(1, self.dim()))?;
        let t = g.input("t", Shape::matrix(1, 1))?;
        let z = g.input("z", Shape::matrix(1, self.condition))?;
        let mut builder = Builder::new(&mut g);
        self.net.velocity(&mut builder, &self.inputs(a, t, z))?;
        weights(file, &builder.params)
    }
}

impl Field for Unet {
    fn dim(&self) -> usize {
        self.horizon * self.action_dim
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("z", self.condition)]
    }

    fn velocity(&self, g: &mut Graph, a: Value, t: Value, request: &[Value]) -> crate::graph::Result<Value> {
        self.net.velocity(&mut Builder::new(g), &self.inputs(a, t, request[0]))
    }
}

/// The network at one time per sample; every parameter's gradient where the file has it.
pub(super) fn unet1d(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("film_scale", true)?;
    let unet = Unet::of(file, 1.0)?;
    // Every parameter of the file has its place in the network.
    let store = unet.store(file)?;
    if let Some(name) = file
        .tensors()
        .iter()
        .filter_map(|t| t.strip_prefix("param."))
        .find(|name| store.layout.get(name).is_err())
    {
        return Err(file.bad(format!("the network has no parameter {name:?}")));
    }
    let mut c = GraphCase::with_prefix(file, "param.");
    let rows = file.dims("in.x")?[0];
    let a = c.input_as("in.x", Shape::matrix(rows, unet.dim()))?;
    let t = c.input_steps("in.step")?;
    let z = c.input("in.cond")?;
    let mut builder = Builder::new(&mut c.graph);
    let y = unet.net.velocity(&mut builder, &unet.inputs(a, t, z))?;
    let specs = builder.params;
    let mut wrt = vec![("x", a), ("cond", z)];
    for spec in &specs {
        if file.has(&format!("grad.{}", spec.name)) {
            wrt.push((spec.name.as_str(), c.graph.param(&spec.name, spec.shape)?));
        }
    }
    c.check_vjp(device, y, &wrt, score)
}

/// Ten Euler steps, one observation per sample.
pub(super) fn sample_flow(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let unet = Unet::of(file, file.number("time_scale")?)?;
    let store = unet.store(file)?;
    let (noise, z) = (file.f32("in.noise")?, file.f32("in.cond")?);
    let solver = format!("{}:{}", file.text("method")?, file.number("steps")?).parse()?;
    let batch = Batch { requests: noise.len() / unet.dim(), samples: 1 };
    let mut integrator =
        Integrator::new(device, &unet, &store.layout, solver, batch, &IntegrateOptions::default())?;
    integrator.set_params(&store.values)?;
    let mut actions = vec![0.0; noise.len()];
    integrator.run(Start::Given(&noise), &[&z], &mut actions, None)?;
    score.close(file, "out.actions", &actions)
}

impl Net for Unet {
    fn query(&self, b: &mut Builder<'_>, x: Query) -> crate::graph::Result<Value> {
        self.net.velocity(b, &self.inputs(x.a, x.t, x.obs))
    }
}

/// Denoising by the objective's own steps.
struct Denoise<'a> {
    unet: &'a Unet,
    objective: Denoising,
    task: Task,
    steps: Steps,
}

impl Recurrence for Denoise<'_> {
    fn dim(&self) -> usize {
        self.unet.dim()
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        self.unet.request()
    }

    fn clock(&self) -> Vec<Vec<f32>> {
        self.steps.clock.clone()
    }

    fn noise(&self) -> usize {
        self.steps.noise
    }

    fn next(&self, g: &mut Graph, x: &Step<'_>) -> crate::graph::Result<Value> {
        let (solver, obs) = (self.steps.solver, x.request[0]);
        let state = State { x: x.state, clock: x.clock, noise: x.noise, solver, obs };
        self.objective.step(&mut Builder::new(g), self.unet, &self.task, &state)
    }
}

/// DDIM over the network, from given noise.
pub(super) fn sample_ddim(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("eta", 0.0)?;
    file.expect("schedule", "squaredcos_cap_v2")?;
    let (train, count) = (file.number("train_steps")? as usize, file.number("steps")? as usize);
    let objective = Denoising {
        train_steps: train,
        clip: Some(file.number("clip")?),
        sampler: DenoisingSampler::Ddim,
        inference_steps: count,
        ..Denoising::default()
    };
    file.expect("timesteps", objective.grid(count))?;
    // The reference's network reads the number of the step.
    let unet = Unet::of(file, (train - 1) as f64)?;
    let store = unet.store(file)?;
    let (noise, z) = (file.f32("in.noise")?, file.f32("in.cond")?);
    let task = Task {
        batch: noise.len() / unet.dim(),
        horizon: unet.horizon,
        action_dim: unet.action_dim,
        obs: unet.condition,
        path: crate::flow::Path::default(),
        time_law: TimeLaw::Uniform,
        max_delay: None,
        masked: None,
        present: None,
    };
    let solver = format!("ddim:{count}").parse()?;
    let steps = match objective.sampling(solver, &task) {
        Ok(Sampling::Steps(steps)) => steps,
        other => return Err(file.bad(format!("found {other:?}, needed steps of DDIM"))),
    };
    let batch = Batch { requests: task.batch, samples: 1 };
    let denoise = Denoise { unet: &unet, objective, task, steps };
    let options = IntegrateOptions::default();
    let mut integrator = Integrator::recurrent(device, &denoise, &store.layout, batch, &options)?;
    integrator.set_params(&store.values)?;
    let mut actions = vec![0.0; noise.len()];
    integrator.run(Start::Given(&noise), &[&z], &mut actions, None)?;
    score.close(file, "out.actions", &actions)
}
