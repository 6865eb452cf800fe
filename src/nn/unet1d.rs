//! Diffusion policy's one-dimensional U-Net over the steps of a chunk (Chi et al. 2023, ConditionalUnet1d), with the
//! parameter names of LeRobot's `DiffusionConditionalUnet1d`.
//!
//! Activations are rows [samples * steps, channels]: a chunk [samples, horizon * action_dim] is that already. Time and
//! observation reach every residual block as a scale and a shift per channel (FiLM); they do not depend on the chunk, so
//! staging computes those of all blocks and solver steps before the loop.

use super::{Builder, Inputs, SizeError, TimeInput, layers, size};
use crate::graph::error::shape_error;
use crate::graph::op::conv::Conv1d;
use crate::graph::{GraphError, Result, Shape, Value};
use crate::kernel::math::Activation;
use serde::{Deserialize, Serialize};

/// Residual convolution blocks at halving resolutions, then back up with skip connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Unet1d {
    /// Channels of each resolution; each but the last halves the steps.
    pub down_dims: Vec<usize>,
    /// Steps that a block's convolutions cover; odd.
    pub kernel_size: usize,
    /// Groups of the norms; divides every entry of `down_dims`.
    pub groups: usize,
    /// Groups of the last norm, before the output; divides `down_dims[0]`. The reference has 8 here whatever `groups` is.
    pub final_groups: usize,
    /// How the time enters: its columns d become the step embedding d -> 4 d -> d.
    pub time: TimeInput,
    /// FiLM with scale and shift; false: a shift only.
    pub film_scale: bool,
}

impl Default for Unet1d {
    /// Diffusion policy's for low-dimensional observations: 256, 512, 1024 channels, kernel 5, 8 groups, FiLM with scale and shift.
    fn default() -> Unet1d {
        Unet1d {
            down_dims: vec![256, 512, 1024],
            kernel_size: 5,
            groups: 8,
            final_groups: 8,
            time: TimeInput::Sinusoidal { dim: 256, scale: 99.0, max_period: 1e4 },
            film_scale: true,
        }
    }
}

/// What every block needs besides its input.
struct Context<'n> {
    net: &'n Unet1d,
    /// Mish of the condition, [samples or fewer, columns].
    condition: Value,
    samples: usize,
}

impl Unet1d {
    /// Checks widths.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> std::result::Result<(), SizeError> {
        size("network.down_dims (resolutions)", self.down_dims.len(), 1, 16)?;
        layers("network.down_dims", &self.down_dims)?;
        size("network.kernel_size", self.kernel_size, 1, 255)?;
        size("network.groups", self.groups, 1, self.down_dims.iter().copied().min().unwrap_or(1))?;
        size("network.final_groups", self.final_groups, 1, self.down_dims[0])
    }

    /// What must divide the horizon: the steps are halved once for each resolution but the last.
    pub fn horizon_multiple(&self) -> usize {
        1 << self.down_dims.len().saturating_sub(1).min(32)
    }

    /// v(a, t, z); shapes as [`super::NetworkSpec::velocity`]. The time is one for all rows or one per row.
    pub fn velocity(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let chunk = b.graph.shape(x.a);
        let samples = chunk.rows();
        self.fits(x, [chunk, b.graph.shape(x.t)])?;
        let t = self.time.apply(b, x.t)?;
        let d = b.graph.shape(t).cols();
        let t = self.time.with_interval(b, t, x.interval)?;
        let t = b.linear("diffusion_step_encoder.1", t, 4 * d)?;
        let t = b.activate(Activation::Mish, t)?;
        let t = b.linear("diffusion_step_encoder.3", t, d)?;
        let condition = b.concat(&[t, x.z])?;
        let condition = b.activate(Activation::Mish, condition)?;
        let cx = Context { net: self, condition, samples };

        let mut h = b.graph.reshape(x.a, Shape::matrix(samples * x.horizon, x.action_dim))?;
        let (mut steps, mut skips) = (x.horizon, Vec::new());
        let last = self.down_dims.len() - 1;
        for (i, &channels) in self.down_dims.iter().enumerate() {
            h = cx.block(b, &format!("down_modules.{i}.0"), h, channels)?;
            h = cx.block(b, &format!("down_modules.{i}.1"), h, channels)?;
            skips.push(h);
            if i < last {
                let down = Conv1d { steps, stride: 2, padding: 1 };
                h = b.conv1d(&format!("down_modules.{i}.2"), h, channels, 3, down)?;
                steps /= 2;
            }
        }
        for i in 0..2 {
            h = cx.block(b, &format!("mid_modules.{i}"), h, self.down_dims[last])?;
        }
        for (i, &channels) in self.down_dims[..last].iter().rev().enumerate() {
            let skip = skips.pop().unwrap_or(h);
            h = b.graph.concat(&[h, skip])?;
            h = cx.block(b, &format!("up_modules.{i}.0"), h, channels)?;
            h = cx.block(b, &format!("up_modules.{i}.1"), h, channels)?;
            let up = Conv1d { steps, stride: 2, padding: 1 };
            h = b.conv_transpose1d(&format!("up_modules.{i}.2"), h, channels, 4, up)?;
            steps *= 2;
        }
        h = cx.conv_norm(b, "final_conv.0", h, self.down_dims[0], self.final_groups)?;
        h = b.conv1d("final_conv.1", h, x.action_dim, 1, Conv1d { steps, stride: 1, padding: 0 })?;
        b.graph.reshape(h, chunk)
    }

    /// Whether the inputs are what this network takes.
    fn fits(&self, x: &Inputs, [a, t]: [Shape; 2]) -> Result<()> {
        const NETWORK: &str = "unet1d";
        if self.down_dims.is_empty() || self.kernel_size.is_multiple_of(2) {
            let found = format!("down_dims {:?} and kernel_size {}", self.down_dims, self.kernel_size);
            return Err(GraphError::Shape {
                op: NETWORK,
                found,
                needed: "at least one resolution and an odd kernel",
            });
        }
        if a.cols() != x.horizon * x.action_dim {
            return Err(shape_error(NETWORK, &[a], "a chunk [rows, horizon * action_dim]"));
        }
        let of = self.horizon_multiple();
        if x.horizon == 0 || !x.horizon.is_multiple_of(of) {
            return Err(GraphError::Multiple { network: NETWORK, what: "horizon", found: x.horizon, of });
        }
        if t.cols() != 1 || (t.rows() != 1 && t.rows() != a.rows()) {
            return Err(shape_error(
                NETWORK,
                &[t],
                "one time for all rows or one per row, not one per action",
            ));
        }
        Ok(())
    }
}

impl Context<'_> {
    /// Convolution, group norm, Mish.
    fn conv_norm(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        x: Value,
        channels: usize,
        groups: usize,
    ) -> Result<Value> {
        let (kernel, steps) = (self.net.kernel_size, b.graph.shape(x).rows() / self.samples);
        let conv = Conv1d { steps, stride: 1, padding: kernel / 2 };
        let h = b.conv1d(&format!("{name}.block.0"), x, channels, kernel, conv)?;
        let h = b.group_norm(&format!("{name}.block.1"), h, groups, steps)?;
        b.activate(Activation::Mish, h)
    }

    /// A residual block: two convolutions with FiLM between, and the input (through a convolution of one step where the
    /// channels differ).
    fn block(&self, b: &mut Builder<'_>, name: &str, x: Value, channels: usize) -> Result<Value> {
        let (rows, columns) = (b.graph.shape(x).rows(), b.graph.shape(x).cols());
        let h = self.conv_norm(b, &format!("{name}.conv1"), x, channels, self.net.groups)?;
        let parts = if self.net.film_scale { 2 } else { 1 };
        let film = b.linear(&format!("{name}.cond_encoder.1"), self.condition, parts * channels)?;
        let h = if self.net.film_scale {
            let (scale, shift) =
                (b.graph.slice(film, 0, channels)?, b.graph.slice(film, channels, channels)?);
            let (scale, shift) = (b.rows(scale, rows)?, b.rows(shift, rows)?);
            b.graph.fma(h, scale, shift)?
        } else {
            let shift = b.rows(film, rows)?;
            b.graph.add(h, shift)?
        };
        let h = self.conv_norm(b, &format!("{name}.conv2"), h, channels, self.net.groups)?;
        if columns == channels {
            return b.graph.add(h, x);
        }
        let steps = rows / self.samples;
        let one = Conv1d { steps, stride: 1, padding: 0 };
        let x = b.conv1d(&format!("{name}.residual_conv"), x, channels, 1, one)?;
        b.graph.add(h, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    fn velocity(net: &Unet1d, horizon: usize, time: [usize; 2]) -> Result<Shape> {
        let mut g = Graph::new();
        let a = g.input("a", Shape::matrix(3, 2 * horizon))?;
        let t = g.input("t", Shape::matrix(time[0], time[1]))?;
        let z = g.input("z", Shape::matrix(3, 5))?;
        let v = net.velocity(
            &mut Builder::new(&mut g),
            &Inputs { a, t, interval: None, z, horizon, action_dim: 2, history: 1 },
        )?;
        Ok(g.shape(v))
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let time = TimeInput::Sinusoidal { dim: 8, scale: 99.0, max_period: 1e4 };
        let net = Unet1d {
            down_dims: vec![8, 16, 24],
            kernel_size: 5,
            groups: 4,
            final_groups: 8,
            time,
            film_scale: true,
        };
        assert_eq!(velocity(&net, 8, [1, 1]).unwrap(), Shape::matrix(3, 16));
        assert_eq!(velocity(&net, 4, [3, 1]).unwrap(), Shape::matrix(3, 8));
        let error = |net: &Unet1d, horizon, time| velocity(net, horizon, time).unwrap_err().to_string();
        assert_eq!(error(&net, 10, [1, 1]), "unet1d: found horizon 10, needed a multiple of 4");
        let per_action = error(&net, 8, [3, 8]);
        assert!(per_action.contains("[3, 8]") && per_action.contains("one per row"), "{per_action}");
        let groups = error(&Unet1d { groups: 5, ..net.clone() }, 8, [1, 1]);
        assert!(groups.contains("[24, 8] in 5 groups"), "{groups}");
        let even = error(&Unet1d { kernel_size: 4, ..net.clone() }, 8, [1, 1]);
        assert!(even.contains("kernel_size 4") && even.contains("odd"), "{even}");
        let none = Unet1d { down_dims: vec![], ..net.clone() };
        assert!(none.check().is_err() && velocity(&none, 8, [1, 1]).is_err());
        assert!(net.check().is_ok());
    }
}
