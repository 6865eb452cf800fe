//! burn on the MLP workloads, written as its book has it: modules of `nn::Linear`, an optimiser from its configuration.

#[path = "../../protocol.rs"]
mod protocol;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::Param;
use burn::nn::Linear;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::silu;
use burn::tensor::{Distribution, Int, TensorData};
use protocol::{Args, CHUNK, Error, Peer, Work};
use safetensors::SafeTensors;

const OBSERVATION: usize = 20;
const TIME: usize = 64;
/// Pairs of the resident data set that training draws from.
const PAIRS: usize = 65_536;
const LEARNING_RATE: f64 = 1e-4;
const EMA_DECAY: f32 = 0.999;

/// Linear layers with SiLU between, over [chunk; time; observation].
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// PyTorch's weights are [out, in], burn's [in, out].
    fn load(path: &std::path::Path, device: &Device) -> Result<Mlp, Error> {
        let bytes = std::fs::read(path)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let count = file.names().iter().filter(|name| name.ends_with(".weight")).count();
        let layer = |i: usize| -> Result<Linear, Error> {
            let (shape, weight) = protocol::floats(&file, &format!("layers.{i}.weight"))?;
            let (out, columns) = (shape[0], shape[1]);
            let turned =
                (0..out * columns).map(|at| weight[at % out * columns + at / out]).collect::<Vec<f32>>();
            let (_, bias) = protocol::floats(&file, &format!("layers.{i}.bias"))?;
            Ok(Linear {
                weight: Param::from_data(TensorData::new(turned, [columns, out]), device),
                bias: Some(Param::from_data(TensorData::new(bias, [out]), device)),
            })
        };
        Ok(Mlp { layers: (0..count).map(layer).collect::<Result<_, _>>()? })
    }

    fn forward(&self, chunk: Tensor<2>, time: Tensor<2>, observation: Tensor<2>) -> Tensor<2> {
        let mut h = Tensor::cat(vec![chunk, time, observation], 1);
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(if i == 0 { h } else { silu(h) });
        }
        h
    }
}

/// Sampling from given noise; everything is on the device already.
struct Sampling {
    model: Mlp,
    device: Device,
    noise: Tensor<2>,
    observation: Tensor<2>,
    /// The embedding of each step's time, [batch, 64].
    times: Vec<Tensor<2>>,
    last: Option<Tensor<2>>,
}

impl Work for Sampling {
    fn run(&mut self) -> Result<(), Error> {
        let mut x = self.noise.clone();
        for time in &self.times {
            let v = self.model.forward(x.clone(), time.clone(), self.observation.clone());
            x = x + v.div_scalar(self.times.len() as f32);
        }
        self.last = Some(x);
        Ok(self.device.sync()?)
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        let last = self.last.clone().ok_or("nothing was sampled")?;
        Ok(Some(last.into_data().try_to_vec::<f32>().map_err(|e| format!("{e:?}"))?))
    }
}

/// Flow-matching steps. burn clips each parameter's gradient by its own norm, not all by theirs together.
struct Training {
    /// Taken out while a step makes the next one of it.
    model: Option<Mlp>,
    optimizer: ModuleOptimizer,
    average: Vec<(Tensor<2>, Tensor<1>)>,
    actions: Tensor<2>,
    observations: Tensor<2>,
    frequencies: Tensor<2>,
    batch: usize,
    device: Device,
}

impl Work for Training {
    fn run(&mut self) -> Result<(), Error> {
        let device = &self.device;
        let model = self.model.take().ok_or("an earlier step failed")?;
        let rows = Tensor::<1, Int>::random([self.batch], Distribution::Uniform(0.0, PAIRS as f64), device);
        let action = self.actions.clone().select(0, rows.clone());
        let observation = self.observations.clone().select(0, rows);
        let noise = Tensor::<2>::random([self.batch, CHUNK], Distribution::Normal(0.0, 1.0), device);
        let t = Tensor::<2>::random([self.batch, 1], Distribution::Default, device);
        let velocity = action - noise.clone();
        let x = noise + velocity.clone() * t.clone();
        let angles = t.mul_scalar(99.0).matmul(self.frequencies.clone());
        let time = Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1);
        let loss = (model.forward(x, time, observation) - velocity).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let model = self.optimizer.step(LEARNING_RATE, model, gradients);
        for ((weight, bias), layer) in self.average.iter_mut().zip(&model.layers) {
            *weight = mixed(weight.clone(), layer.weight.val().inner());
            if let Some(live) = &layer.bias {
                *bias = mixed(bias.clone(), live.val().inner());
            }
        }
        self.model = Some(model);
        Ok(device.sync()?)
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        Ok(None)
    }
}

/// A step of the moving average.
fn mixed<const D: usize>(average: Tensor<D>, live: Tensor<D>) -> Tensor<D> {
    average.mul_scalar(EMA_DECAY) + live.mul_scalar(1.0 - EMA_DECAY)
}

struct Burn {
    args: Args,
    device: Device,
}

impl Burn {
    fn sampling(&self, batch: usize) -> Result<Sampling, Error> {
        let (noise, observation) = self.args.rows(batch)?;
        let device = self.device.clone();
        let matrix = |values: Vec<f32>, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [batch, columns]), &self.device)
        };
        let embeddings = protocol::time_embeddings(self.args.steps, TIME);
        Ok(Sampling {
            model: Mlp::load(&self.args.weights, &device)?,
            noise: matrix(noise, CHUNK),
            observation: matrix(observation, OBSERVATION),
            times: embeddings.into_iter().map(|e| matrix(e.repeat(batch), TIME)).collect(),
            last: None,
            device,
        })
    }

    fn training(&self, batch: usize) -> Result<Training, Error> {
        let device = self.device.clone().autodiff();
        let model = Mlp::load(&self.args.weights, &device)?;
        let optimizer = AdamWConfig::new()
            .with_beta_1(0.95)
            .with_beta_2(0.999)
            .with_epsilon(1e-8)
            .with_weight_decay(1e-6)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
            .init();
        let average = model.layers.iter().map(|layer| {
            let bias = layer.bias.as_ref().ok_or("a layer without bias")?;
            Ok::<_, Error>((layer.weight.val().inner(), bias.val().inner()))
        });
        let half = TIME / 2;
        let frequency = |i: usize| (-(1e4f64.ln()) * i as f64 / (half - 1) as f64).exp() as f32;
        let frequencies = TensorData::new((0..half).map(frequency).collect::<Vec<f32>>(), [1, half]);
        let normal = Distribution::Normal(0.0, 1.0);
        Ok(Training {
            average: average.collect::<Result<_, _>>()?,
            model: Some(model),
            optimizer,
            actions: Tensor::random([PAIRS, CHUNK], normal, &device),
            observations: Tensor::random([PAIRS, OBSERVATION], normal, &device),
            frequencies: Tensor::from_data(frequencies, &device),
            batch,
            device,
        })
    }
}

impl Peer for Burn {
    fn describe(&self) -> (String, String, String) {
        let flex = cfg!(feature = "flex") && self.args.device == "cpu";
        let name = if flex { "burn-flex" } else { "burn-wgpu" };
        let device =
            if flex { format!("{} threads", self.args.threads) } else { format!("{:?}", self.device) };
        (name.into(), protocol::locked_version(include_str!("../Cargo.lock"), "burn"), device)
    }

    fn prepare(&mut self, what: &str, batch: usize) -> Result<Box<dyn Work>, Error> {
        if !self.args.workload.starts_with("mlp") {
            return Err("not written for burn".into());
        }
        match what {
            "sample" => Ok(Box::new(self.sampling(batch)?)),
            "train" => Ok(Box::new(self.training(batch)?)),
            _ => Err(format!("unknown work {what:?}").into()),
        }
    }
}

/// The CPU by flex, a GPU by wgpu through Vulkan.
fn open(name: &str) -> Result<Device, Error> {
    match name {
        #[cfg(feature = "flex")]
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "gpu" => Ok(Device::vulkan(Default::default())),
        _ => Err(format!("built without a backend for {name}").into()),
    }
}

fn main() -> Result<(), Error> {
    let args = Args::parse()?;
    let device = open(&args.device)?;
    protocol::serve(&args, &mut Burn { args: args.clone(), device })
}
