//! The plain velocity MLP: linear layers `layers.0`, `layers.1`, ... with an activation between.

use super::{Builder, Conditioning, Inputs, TimeInput};
use crate::graph::{Result, Value};
use crate::kernel::math::Activation;
use serde::{Deserialize, Serialize};

/// Linear layers over [a; t; z] (or, with FiLM, over a) with an activation between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mlp {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Between the layers.
    pub activation: Activation,
    /// How the time enters.
    pub time: TimeInput,
    /// How time and observation enter.
    pub conditioning: Conditioning,
}

impl Default for Mlp {
    /// Three layers of 256 with SiLU; a sinusoidal time, and all beside the state.
    fn default() -> Mlp {
        Mlp {
            hidden: vec![256; 3],
            activation: Activation::Silu,
            time: TimeInput::default(),
            conditioning: Conditioning::Concat,
        }
    }
}

impl Mlp {
    /// v(a, t, z); shapes as [`super::NetworkSpec::velocity`].
    pub fn velocity(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let (a, z) = (x.a, x.z);
        let out = b.graph.shape(a).cols();
        let t = self.time.columns(b, x)?;
        let (mut h, condition) = match self.conditioning {
            Conditioning::Concat => (b.concat(&[a, t, z])?, None),
            Conditioning::Film => (a, Some(b.concat(&[t, z])?)),
        };
        for (i, width) in self.hidden.iter().enumerate() {
            h = b.linear(&format!("layers.{i}"), h, *width)?;
            if let Some(c) = condition {
                h = b.film(&format!("film.{i}"), h, c)?;
            }
            h = b.activate(self.activation, h)?;
        }
        b.linear(&format!("layers.{}", self.hidden.len()), h, out)
    }
}
