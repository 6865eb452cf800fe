//! Linear layers with SiLU between, over [chunk; time; observation].

use crate::Network;
use crate::protocol::Error;
use crate::weights::Weights;
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::silu;

#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Network for Mlp {
    const TIME: usize = 64;
    const CONDITION: usize = 20;

    fn load(weights: &Weights<'_>) -> Result<Mlp, Error> {
        let names =
            (0..).map(|i| format!("layers.{i}")).take_while(|name| weights.has(&format!("{name}.weight")));
        Ok(Mlp { layers: names.map(|name| weights.linear(&name)).collect::<Result<_, _>>()? })
    }

    fn velocity(&self, chunk: Tensor<2>, time: Tensor<2>, condition: Tensor<2>) -> Tensor<2> {
        let mut h = Tensor::cat(vec![chunk, time, condition], 1);
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(if i == 0 { h } else { silu(h) });
        }
        h
    }
}
