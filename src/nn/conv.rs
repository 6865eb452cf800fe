//! Convolution layers, with PyTorch's parameter names, layouts and initial values.

use super::{Builder, Init};
use crate::graph::op::conv::Conv1d;
use crate::graph::op::group_norm::GroupNorm;
use crate::graph::{Result, Value};

impl Builder<'_> {
    /// PyTorch's Conv1d on channels-last rows: `name.weight` \[out, in, kernel\] and `name.bias` \[out\], both uniform in
    /// +-1/sqrt(in kernel).
    pub fn conv1d(&mut self, name: &str, x: Value, out: usize, kernel: usize, conv: Conv1d) -> Result<Value> {
        let channels = self.graph.shape(x).cols();
        let init = Init::Uniform(1.0 / ((channels * kernel) as f32).sqrt());
        let w = self.param(format!("{name}.weight"), &[out, channels, kernel], init)?;
        let b = self.param(format!("{name}.bias"), &[out], init)?;
        self.graph.conv1d(x, w, Some(b), conv)
    }

    /// PyTorch's ConvTranspose1d on channels-last rows: `name.weight` \[in, out, kernel\] and `name.bias` \[out\], both
    /// uniform in +-1/sqrt(out kernel).
    pub fn conv_transpose1d(
        &mut self,
        name: &str,
        x: Value,
        out: usize,
        kernel: usize,
        conv: Conv1d,
    ) -> Result<Value> {
        let channels = self.graph.shape(x).cols();
        let init = Init::Uniform(1.0 / ((out * kernel) as f32).sqrt());
        let w = self.param(format!("{name}.weight"), &[channels, out, kernel], init)?;
        let b = self.param(format!("{name}.bias"), &[out], init)?;
        self.graph.conv_transpose1d(x, w, Some(b), conv)
    }

    /// PyTorch's GroupNorm on channels-last rows with `steps` rows a sample, eps 1e-5: `name.weight` ones, `name.bias`
    /// zeros.
    pub fn group_norm(&mut self, name: &str, x: Value, groups: usize, steps: usize) -> Result<Value> {
        let channels = self.graph.shape(x).cols();
        let w = self.param(format!("{name}.weight"), &[channels], Init::Ones)?;
        let b = self.param(format!("{name}.bias"), &[channels], Init::Zeros)?;
        self.graph.group_norm(x, GroupNorm { steps, groups, eps: 1e-5 }, Some(w), Some(b))
    }
}
