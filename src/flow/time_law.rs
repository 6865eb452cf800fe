//! Laws of the training time t.

use super::{FlowError, Result};
use crate::kernel::draw::{Law, beta_quantiles};
use serde::{Deserialize, Serialize};

/// How t is drawn in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TimeLaw {
    /// Uniform in (0, 1).
    #[default]
    Uniform,
    /// sigmoid(mean + sd normal) (Esser 2024).
    LogitNormal {
        /// Mean of the logit.
        #[serde(default)]
        mean: f32,
        /// Standard deviation of the logit.
        #[serde(default = "one")]
        sd: f32,
    },
    /// t = shift + scale Beta(a, b). pi0's law in this direction of time is a = 1.5, b = 1, scale = -0.999, shift = 0.999.
    Beta {
        /// First shape.
        #[serde(default = "pi0_a")]
        a: f64,
        /// Second shape.
        #[serde(default = "pi0_b")]
        b: f64,
        /// Factor.
        #[serde(default = "pi0_scale")]
        scale: f32,
        /// Summand.
        #[serde(default = "pi0_shift")]
        shift: f32,
    },
    /// t = 1 - 1 / (tan(pi u / 2) + 1) (Esser 2024).
    CosMap,
}

fn one() -> f32 {
    1.0
}

fn pi0_a() -> f64 {
    1.5
}

fn pi0_b() -> f64 {
    1.0
}

fn pi0_scale() -> f32 {
    -0.999
}

fn pi0_shift() -> f32 {
    0.999
}

/// Cells of a quantile table.
const CELLS: u32 = 4096;

impl TimeLaw {
    /// The kernel's law and the table that it reads (empty if none).
    pub fn kernel(&self) -> Result<(Law, Vec<f32>)> {
        let positive = |what, v: f64| match v.is_finite() && v > 0.0 {
            true => Ok(()),
            false => Err(FlowError::Range { what, found: v, needed: "a positive number" }),
        };
        Ok(match *self {
            TimeLaw::Uniform => (Law::Uniform, Vec::new()),
            TimeLaw::LogitNormal { mean, sd } => {
                positive("time law sd", sd.into())?;
                (Law::LogitNormal { mean, sd }, Vec::new())
            }
            TimeLaw::Beta { a, b, scale, shift } => {
                positive("time law a", a)?;
                positive("time law b", b)?;
                (Law::Quantile { intervals: CELLS, scale, shift }, beta_quantiles(a, b, CELLS as usize))
            }
            TimeLaw::CosMap => (Law::CosMap, Vec::new()),
        })
    }
}
