//! The observation encoder z = E(o), trained jointly with the velocity network.

use super::Builder;
use crate::graph::{Result, Value};
use crate::kernel::math::Activation;
use serde::{Deserialize, Serialize};

/// How the flattened observation history becomes z.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EncoderSpec {
    /// z is the normalised observation itself.
    Identity,
    /// Linear layers `encoder.layers.i`, each followed by the activation.
    Mlp {
        /// Widths; the last is z's.
        widths: Vec<usize>,
        /// After every layer.
        activation: Activation,
    },
}

impl EncoderSpec {
    /// Checks widths and the number of layers.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> std::result::Result<(), super::SizeError> {
        match self {
            EncoderSpec::Identity => Ok(()),
            EncoderSpec::Mlp { widths, .. } => super::layers("encoder.widths", widths),
        }
    }

    /// z [rows, Z] of the normalised observations [rows, history * obs_dim].
    pub fn encode(&self, b: &mut Builder<'_>, obs: Value) -> Result<Value> {
        match self {
            EncoderSpec::Identity => Ok(obs),
            EncoderSpec::Mlp { widths, activation } => {
                let mut h = obs;
                for (i, width) in widths.iter().enumerate() {
                    h = b.linear(&format!("encoder.layers.{i}"), h, *width)?;
                    h = b.activate(*activation, h)?;
                }
                Ok(h)
            }
        }
    }
}
