//! burn on the benchmark's workloads, written as its book has it: modules, an optimiser from its configuration.

mod mlp;
#[path = "../../protocol.rs"]
mod protocol;
mod transformer;
mod unet;
mod weights;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::{Distribution, Int, TensorData};
use protocol::{Args, CHUNK, Error, Peer, Work};
use weights::Weights;

/// Pairs of the resident data set that training draws from.
const PAIRS: usize = 65_536;
const LEARNING_RATE: f64 = 1e-4;
const EMA_DECAY: f32 = 0.999;

/// A velocity network.
trait Network: Module + Sized + 'static {
    /// Numbers in a time's embedding.
    const TIME: usize;
    /// Numbers in a condition.
    const CONDITION: usize;

    fn load(weights: &Weights<'_>) -> Result<Self, Error>;

    /// Of chunks [batch, 32] at embedded times [batch, TIME], given [batch, CONDITION].
    fn velocity(&self, chunk: Tensor<2>, time: Tensor<2>, condition: Tensor<2>) -> Tensor<2>;
}

/// A network with the run's weights.
fn loaded<N: Network>(args: &Args, device: &Device) -> Result<N, Error> {
    N::load(&Weights::of(&std::fs::read(&args.weights)?, device)?)
}

/// Sampling from given noise; everything is on the device already.
struct Sampling<N> {
    network: N,
    device: Device,
    noise: Tensor<2>,
    condition: Tensor<2>,
    /// The embedding of each step's time, [batch, TIME].
    times: Vec<Tensor<2>>,
    last: Option<Tensor<2>>,
}

impl<N: Network> Sampling<N> {
    fn new(args: &Args, device: &Device, batch: usize) -> Result<Sampling<N>, Error> {
        let (noise, condition) = args.rows(batch)?;
        let matrix = |values: Vec<f32>, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [batch, columns]), device)
        };
        let embeddings = protocol::time_embeddings(args.steps, N::TIME);
        Ok(Sampling {
            network: loaded(args, device)?,
            device: device.clone(),
            noise: matrix(noise, CHUNK),
            condition: matrix(condition, N::CONDITION),
            times: embeddings.into_iter().map(|e| matrix(e.repeat(batch), N::TIME)).collect(),
            last: None,
        })
    }
}

impl<N: Network> Work for Sampling<N> {
    fn run(&mut self) -> Result<(), Error> {
        let mut x = self.noise.clone();
        for time in &self.times {
            let v = self.network.velocity(x.clone(), time.clone(), self.condition.clone());
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
struct Training<N> {
    /// Taken out while a step makes the next one of it.
    network: Option<N>,
    optimizer: ModuleOptimizer,
    average: Vec<Tensor<1>>,
    actions: Tensor<2>,
    conditions: Tensor<2>,
    frequencies: Tensor<2>,
    batch: usize,
    device: Device,
}

impl<N: Network> Training<N> {
    fn new(args: &Args, device: &Device, batch: usize) -> Result<Training<N>, Error> {
        let device = device.clone().autodiff();
        let optimizer = AdamWConfig::new()
            .with_beta_1(0.95)
            .with_beta_2(0.999)
            .with_epsilon(1e-8)
            .with_weight_decay(1e-6)
            .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
            .init();
        let half = N::TIME / 2;
        let frequency = |i: usize| (-(1e4f64.ln()) * i as f64 / (half - 1) as f64).exp() as f32;
        let frequencies = TensorData::new((0..half).map(frequency).collect::<Vec<f32>>(), [1, half]);
        let normal = Distribution::Normal(0.0, 1.0);
        Ok(Training {
            network: Some(loaded(args, &device)?),
            optimizer,
            average: Vec::new(),
            actions: Tensor::random([PAIRS, CHUNK], normal, &device),
            conditions: Tensor::random([PAIRS, N::CONDITION], normal, &device),
            frequencies: Tensor::from_data(frequencies, &device),
            batch,
            device,
        })
    }
}

impl<N: Network> Work for Training<N> {
    fn run(&mut self) -> Result<(), Error> {
        let device = &self.device;
        let network = self.network.take().ok_or("an earlier step failed")?;
        let rows = Tensor::<1, Int>::random([self.batch], Distribution::Uniform(0.0, PAIRS as f64), device);
        let action = self.actions.clone().select(0, rows.clone());
        let condition = self.conditions.clone().select(0, rows);
        let noise = Tensor::<2>::random([self.batch, CHUNK], Distribution::Normal(0.0, 1.0), device);
        let t = Tensor::<2>::random([self.batch, 1], Distribution::Default, device);
        let target = action - noise.clone();
        let x = noise + target.clone() * t.clone();
        let angles = t.mul_scalar(99.0).matmul(self.frequencies.clone());
        let time = Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1);
        let loss = (network.velocity(x, time, condition) - target).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        let network = self.optimizer.step(LEARNING_RATE, network, gradients);
        network.visit(&mut Averaging { average: &mut self.average, at: 0 });
        self.network = Some(network);
        Ok(device.sync()?)
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        Ok(None)
    }
}

/// A step of the moving average, parameter by parameter; the first one takes the values as they are.
struct Averaging<'a> {
    average: &'a mut Vec<Tensor<1>>,
    at: usize,
}

impl ModuleVisitor for Averaging<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        let elements = value.shape().num_elements();
        let live = value.reshape([elements]);
        match self.average.get_mut(self.at) {
            Some(average) => {
                *average = average.clone().mul_scalar(EMA_DECAY) + live.mul_scalar(1.0 - EMA_DECAY);
            }
            None => self.average.push(live),
        }
        self.at += 1;
    }
}

struct Burn {
    args: Args,
    device: Device,
}

impl Burn {
    fn work<N: Network>(&self, what: &str, batch: usize) -> Result<Box<dyn Work>, Error> {
        match what {
            "sample" => Ok(Box::new(Sampling::<N>::new(&self.args, &self.device, batch)?)),
            "train" => Ok(Box::new(Training::<N>::new(&self.args, &self.device, batch)?)),
            _ => Err(format!("unknown work {what:?}").into()),
        }
    }
}

impl Peer for Burn {
    fn describe(&self) -> (String, String, String) {
        let (name, device) = match self.args.device.as_str() {
            "cpu" => ("burn-flex", format!("threads: {}", self.args.threads)),
            _ => ("burn-wgpu", format!("{:?}", self.device)),
        };
        (name.into(), protocol::locked_version(include_str!("../Cargo.lock"), "burn"), device)
    }

    fn prepare(&mut self, what: &str, batch: usize) -> Result<Box<dyn Work>, Error> {
        match self.args.workload.as_str() {
            "mlp256" | "mlp512" => self.work::<mlp::Mlp>(what, batch),
            "unet1d" => self.work::<unet::Unet>(what, batch),
            "transformer" => self.work::<transformer::Transformer>(what, batch),
            other => Err(format!("not written for burn: {other}").into()),
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
