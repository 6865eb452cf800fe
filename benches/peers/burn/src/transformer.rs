//! The diffusion transformer of `transformer.py`: adaptive layer norms, rotary positions.

use crate::Network;
use crate::protocol::{CHUNK, Error};
use crate::weights::Weights;
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::prelude::*;
use burn::tensor::TensorData;
use burn::tensor::activation::{gelu_approximate, silu};
use burn::tensor::module::attention;

const WIDTH: usize = 512;
const LAYERS: usize = 6;
const HEADS: usize = 8;
const HORIZON: usize = 16;

/// Cosines and sines [1, 1, tokens, dim] of each position, the same for both halves.
#[derive(Debug, Clone)]
struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotary {
    fn new(device: &Device) -> Rotary {
        let (dim, half) = (WIDTH / HEADS, WIDTH / HEADS / 2);
        let angle = |at: usize| (at / dim) as f64 * 1e4f64.powf(-2.0 * (at % dim % half) as f64 / dim as f64);
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = (0..HORIZON * dim).map(|at| f(angle(at)) as f32).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, HORIZON, dim]), device)
        };
        Rotary { cos: table(f64::cos), sin: table(f64::sin) }
    }

    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let half = WIDTH / HEADS / 2;
        let (low, high) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        x * self.cos.clone() + Tensor::cat(vec![high.neg(), low], 3) * self.sin.clone()
    }
}

/// norm(x) (1 + scale) + shift
fn modulated(norm: &LayerNorm, x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    norm.forward(x) * (scale + 1.0) + shift
}

#[derive(Module, Debug)]
struct Block {
    norm: LayerNorm,
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
    adaptive: Linear,
}

impl Block {
    fn load(weights: &Weights<'_>, i: usize) -> Result<Block, Error> {
        let linear = |name: &str| weights.linear(&format!("transformer_blocks.{i}.{name}"));
        Ok(Block {
            norm: norm(&weights.device),
            qkv: linear("attn.in_proj")?,
            out: linear("attn.out_proj")?,
            up: linear("mlp.0")?,
            down: linear("mlp.2")?,
            adaptive: linear("adaLN_modulation.1")?,
        })
    }

    fn forward(&self, x: Tensor<3>, c: Tensor<2>, rotary: &Rotary) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        let parts = self.adaptive.forward(c).unsqueeze_dim::<3>(1);
        let part = |i: usize| parts.clone().narrow(2, i * WIDTH, WIDTH);
        let qkv = self.qkv.forward(modulated(&self.norm, x.clone(), part(0), part(1)));
        let heads = |i: usize| {
            let one = qkv.clone().narrow(2, i * WIDTH, WIDTH);
            one.reshape([batch, tokens, HEADS, WIDTH / HEADS]).swap_dims(1, 2)
        };
        let (q, k) = (rotary.turn(heads(0)), rotary.turn(heads(1)));
        let y = attention(q, k, heads(2), None, None, Default::default());
        let y = self.out.forward(y.swap_dims(1, 2).reshape([batch, tokens, WIDTH]));
        let x = x + part(2) * y;
        let h = self.up.forward(modulated(&self.norm, x.clone(), part(3), part(4)));
        x + part(5) * self.down.forward(gelu_approximate(h))
    }
}

/// A layer norm without parameters of its own to train.
fn norm(device: &Device) -> LayerNorm {
    LayerNormConfig::new(WIDTH).with_epsilon(1e-6).init(device).no_grad()
}

#[derive(Module, Debug)]
pub struct Transformer {
    input: Linear,
    time: Vec<Linear>,
    observation: Linear,
    blocks: Vec<Block>,
    norm: LayerNorm,
    adaptive: Linear,
    output: Linear,
    #[module(skip)]
    rotary: Rotary,
}

impl Network for Transformer {
    const TIME: usize = 64;
    const CONDITION: usize = 20;

    fn load(weights: &Weights<'_>) -> Result<Transformer, Error> {
        Ok(Transformer {
            input: weights.linear("input_proj")?,
            time: vec![weights.linear("time_mlp.0")?, weights.linear("time_mlp.2")?],
            observation: weights.linear("observation_proj")?,
            blocks: (0..LAYERS).map(|i| Block::load(weights, i)).collect::<Result<_, _>>()?,
            norm: norm(&weights.device),
            adaptive: weights.linear("final_layer.adaLN_modulation.1")?,
            output: weights.linear("output_proj")?,
            rotary: Rotary::new(&weights.device),
        })
    }

    fn velocity(&self, chunk: Tensor<2>, time: Tensor<2>, condition: Tensor<2>) -> Tensor<2> {
        let [batch, _] = chunk.dims();
        let mut x = self.input.forward(chunk.reshape([batch, HORIZON, CHUNK / HORIZON]));
        let time = self.time[1].forward(silu(self.time[0].forward(time)));
        let c = silu(time + self.observation.forward(condition));
        for block in &self.blocks {
            x = block.forward(x, c.clone(), &self.rotary);
        }
        let parts = self.adaptive.forward(c).unsqueeze_dim::<3>(1);
        let (shift, scale) = (parts.clone().narrow(2, 0, WIDTH), parts.narrow(2, WIDTH, WIDTH));
        self.output.forward(modulated(&self.norm, x, shift, scale)).reshape([batch, CHUNK])
    }
}
