//! The residual velocity network: h = W_in [a; t; z]; per block h += W_down act(W_up norm(h)); out = W_out act(h).

use super::{Builder, Conditioning, Inputs, TimeInput};
use crate::graph::{Result, Value};
use crate::kernel::math::Activation;
use serde::{Deserialize, Serialize};

/// Residual blocks with layer norm, parameters `input`, `blocks.i.norm`, `blocks.i.up`, `blocks.i.down`, `output`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Residual {
    /// Columns of h.
    pub width: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Within the blocks and before the output.
    pub activation: Activation,
    /// How the time enters.
    pub time: TimeInput,
    /// How time and observation enter: beside a, or as FiLM of every block's norm.
    pub conditioning: Conditioning,
}

impl Default for Residual {
    /// That of the reference Push-T policy: width 384, 2 blocks, SiLU; a sinusoidal time, and all beside the state.
    fn default() -> Residual {
        Residual {
            width: 384,
            blocks: 2,
            activation: Activation::Silu,
            time: TimeInput::default(),
            conditioning: Conditioning::Concat,
        }
    }
}

impl Residual {
    /// v(a, t, z); shapes as [`super::NetworkSpec::velocity`].
    pub fn velocity(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let (a, z) = (x.a, x.z);
        let out = b.graph.shape(a).cols();
        let t = self.time.columns(b, x)?;
        let (input, condition) = match self.conditioning {
            Conditioning::Concat => (b.concat(&[a, t, z])?, None),
            Conditioning::Film => {
                let c = b.concat(&[t, z])?;
                let c = b.linear("condition", c, self.width)?;
                (a, Some(b.activate(self.activation, c)?))
            }
        };
        let mut h = b.linear("input", input, self.width)?;
        for i in 0..self.blocks {
            let mut x = b.layer_norm(&format!("blocks.{i}.norm"), h)?;
            if let Some(c) = condition {
                x = b.film(&format!("blocks.{i}.film"), x, c)?;
            }
            x = b.linear(&format!("blocks.{i}.up"), x, self.width)?;
            x = b.activate(self.activation, x)?;
            x = b.linear(&format!("blocks.{i}.down"), x, self.width)?;
            h = b.graph.add(h, x)?;
        }
        let h = b.activate(self.activation, h)?;
        b.linear("output", h, out)
    }
}
