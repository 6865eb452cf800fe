//! Diffusion policy's U-Net along time, the twin of `unet.py`.

use crate::Network;
use crate::protocol::{CHUNK, Error};
use crate::weights::Weights;
use burn::nn::conv::{Conv1d, ConvTranspose1d};
use burn::nn::{GroupNorm, Linear};
use burn::prelude::*;
use burn::tensor::activation::mish;

const GROUPS: usize = 8;
const LEVELS: usize = 3;
const HORIZON: usize = 16;

/// Convolution, group norm, Mish.
#[derive(Module, Debug)]
struct ConvBlock {
    conv: Conv1d,
    norm: GroupNorm,
}

impl ConvBlock {
    fn load(weights: &Weights<'_>, name: &str) -> Result<ConvBlock, Error> {
        Ok(ConvBlock {
            conv: weights.conv(&format!("{name}.block.0"), 1, 2)?,
            norm: weights.group_norm(&format!("{name}.block.1"), GROUPS)?,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        mish(self.norm.forward(self.conv.forward(x)))
    }
}

/// Two convolution blocks with FiLM between, and the input added.
#[derive(Module, Debug)]
struct Residual {
    conv1: ConvBlock,
    film: Linear,
    conv2: ConvBlock,
    residual: Option<Conv1d>,
}

impl Residual {
    fn load(weights: &Weights<'_>, name: &str) -> Result<Residual, Error> {
        let residual = format!("{name}.residual_conv");
        let has = weights.has(&format!("{residual}.weight"));
        Ok(Residual {
            conv1: ConvBlock::load(weights, &format!("{name}.conv1"))?,
            film: weights.linear(&format!("{name}.cond_encoder.1"))?,
            conv2: ConvBlock::load(weights, &format!("{name}.conv2"))?,
            residual: has.then(|| weights.conv(&residual, 1, 0)).transpose()?,
        })
    }

    /// The condition is Mish of it already, [batch, columns].
    fn forward(&self, x: Tensor<3>, condition: Tensor<2>) -> Tensor<3> {
        let mut film = self.film.forward(condition).unsqueeze_dim::<3>(2).chunk(2, 1).into_iter();
        let h = self.conv1.forward(x.clone());
        let h = match (film.next(), film.next()) {
            (Some(scale), Some(shift)) => scale * h + shift,
            _ => unreachable!("a tensor in two parts"),
        };
        let x = match &self.residual {
            Some(conv) => conv.forward(x),
            None => x,
        };
        self.conv2.forward(h) + x
    }
}

#[derive(Module, Debug)]
struct Down {
    first: Residual,
    second: Residual,
    down: Option<Conv1d>,
}

#[derive(Module, Debug)]
struct Up {
    first: Residual,
    second: Residual,
    up: ConvTranspose1d,
}

#[derive(Module, Debug)]
pub struct Unet {
    step_encoder: Vec<Linear>,
    down: Vec<Down>,
    middle: Vec<Residual>,
    up: Vec<Up>,
    last: ConvBlock,
    out: Conv1d,
}

impl Network for Unet {
    const TIME: usize = 128;
    const CONDITION: usize = 40;

    fn load(weights: &Weights<'_>) -> Result<Unet, Error> {
        let block = |name: String| Residual::load(weights, &name);
        let down = |i: usize| -> Result<Down, Error> {
            let down =
                (i + 1 < LEVELS).then(|| weights.conv(&format!("down_modules.{i}.2"), 2, 1)).transpose()?;
            let (first, second) =
                (block(format!("down_modules.{i}.0"))?, block(format!("down_modules.{i}.1"))?);
            Ok(Down { first, second, down })
        };
        let up = |i: usize| -> Result<Up, Error> {
            let (first, second) = (block(format!("up_modules.{i}.0"))?, block(format!("up_modules.{i}.1"))?);
            Ok(Up { first, second, up: weights.conv_transpose(&format!("up_modules.{i}.2"), 2, 1)? })
        };
        let encoder = |i: usize| weights.linear(&format!("diffusion_step_encoder.{i}"));
        Ok(Unet {
            step_encoder: vec![encoder(1)?, encoder(3)?],
            down: (0..LEVELS).map(down).collect::<Result<_, _>>()?,
            middle: vec![block("mid_modules.0".into())?, block("mid_modules.1".into())?],
            up: (0..LEVELS - 1).map(up).collect::<Result<_, _>>()?,
            last: ConvBlock::load(weights, "final_conv.0")?,
            out: weights.conv("final_conv.1", 1, 0)?,
        })
    }

    fn velocity(&self, chunk: Tensor<2>, time: Tensor<2>, condition: Tensor<2>) -> Tensor<2> {
        let [batch, _] = chunk.dims();
        let mut x = chunk.reshape([batch, HORIZON, CHUNK / HORIZON]).swap_dims(1, 2);
        let step = self.step_encoder[1].forward(mish(self.step_encoder[0].forward(time)));
        let condition = mish(Tensor::cat(vec![step, condition], 1));
        let mut skips = Vec::new();
        for level in &self.down {
            x = level.second.forward(level.first.forward(x, condition.clone()), condition.clone());
            skips.push(x.clone());
            if let Some(down) = &level.down {
                x = down.forward(x);
            }
        }
        for block in &self.middle {
            x = block.forward(x, condition.clone());
        }
        for (level, skip) in self.up.iter().zip(skips.into_iter().rev()) {
            x = Tensor::cat(vec![x, skip], 1);
            x = level.second.forward(level.first.forward(x, condition.clone()), condition.clone());
            x = level.up.forward(x);
        }
        self.out.forward(self.last.forward(x)).swap_dims(1, 2).reshape([batch, CHUNK])
    }
}
