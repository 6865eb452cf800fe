//! PyTorch's weights, under advect's names, as burn's layers.

use crate::protocol::{self, Error};
use burn::module::Param;
use burn::nn::conv::{Conv1d, Conv1dConfig, ConvTranspose1d, ConvTranspose1dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Linear, PaddingConfig1d};
use burn::prelude::*;
use burn::tensor::TensorData;
use safetensors::SafeTensors;

/// An open file, and where its tensors go.
pub struct Weights<'a> {
    file: SafeTensors<'a>,
    pub device: Device,
}

impl<'a> Weights<'a> {
    pub fn of(bytes: &'a [u8], device: &Device) -> Result<Weights<'a>, Error> {
        Ok(Weights { file: SafeTensors::deserialize(bytes)?, device: device.clone() })
    }

    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_ok()
    }

    /// A parameter as it is.
    fn param<const D: usize>(&self, name: &str) -> Result<Param<Tensor<D>>, Error> {
        let (shape, values) = protocol::floats(&self.file, name)?;
        Ok(Param::from_data(TensorData::new(values, shape), &self.device))
    }

    /// PyTorch's weights are [out, in], burn's [in, out]. The names are `name` + `.weight` and `.bias`, or with `_` before them.
    pub fn linear(&self, name: &str) -> Result<Linear, Error> {
        let dot = if self.has(&format!("{name}.weight")) { '.' } else { '_' };
        let (shape, weight) = protocol::floats(&self.file, &format!("{name}{dot}weight"))?;
        let (out, columns) = (shape[0], shape[1]);
        let turned = (0..out * columns).map(|at| weight[at % out * columns + at / out]).collect::<Vec<f32>>();
        Ok(Linear {
            weight: Param::from_data(TensorData::new(turned, [columns, out]), &self.device),
            bias: Some(self.param(&format!("{name}{dot}bias"))?),
        })
    }

    pub fn conv(&self, name: &str, stride: usize, padding: usize) -> Result<Conv1d, Error> {
        let weight = self.param::<3>(&format!("{name}.weight"))?;
        let [out, columns, kernel] = weight.dims();
        let config = Conv1dConfig::new(columns, out, kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig1d::Explicit(padding, padding));
        Ok(Conv1d { weight, bias: Some(self.param(&format!("{name}.bias"))?), ..config.init(&self.device) })
    }

    pub fn conv_transpose(
        &self,
        name: &str,
        stride: usize,
        padding: usize,
    ) -> Result<ConvTranspose1d, Error> {
        let weight = self.param::<3>(&format!("{name}.weight"))?;
        let [columns, out, kernel] = weight.dims();
        let config =
            ConvTranspose1dConfig::new([columns, out], kernel).with_stride(stride).with_padding(padding);
        Ok(ConvTranspose1d {
            weight,
            bias: Some(self.param(&format!("{name}.bias"))?),
            ..config.init(&self.device)
        })
    }

    pub fn group_norm(&self, name: &str, groups: usize) -> Result<GroupNorm, Error> {
        let gamma = self.param::<1>(&format!("{name}.weight"))?;
        let [channels] = gamma.dims();
        let config = GroupNormConfig::new(groups, channels);
        Ok(GroupNorm {
            gamma: Some(gamma),
            beta: Some(self.param(&format!("{name}.bias"))?),
            ..config.init(&self.device)
        })
    }
}
