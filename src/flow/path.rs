//! Probability paths from noise (t = 0) to data (t = 1).

use super::{FlowError, Result};
use crate::kernel::path::PathKind;
use serde::{Deserialize, Serialize};

/// A Gaussian path between a0 ~ N(0, 1) and a demonstrated chunk a1; formulas in `kernel::path`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Path {
    /// x_t = t a1 + (1 - (1 - s) t) a0 (Lipman 2022, the OT path).
    Ot {
        /// s, the width left at t = 1.
        #[serde(default)]
        sigma_min: f32,
    },
    /// N(t a1 + (1 - t) a0, s^2) (Tong 2023).
    Independent {
        /// s.
        sigma: f32,
    },
    /// cos(pi t / 2) a0 + sin(pi t / 2) a1 (Albergo 2023).
    VariancePreserving,
    /// N(t a1 + (1 - t) a0, s^2 t (1 - t)) (Tong 2023).
    SchrodingerBridge {
        /// s.
        sigma: f32,
    },
}

impl Default for Path {
    fn default() -> Path {
        Path::Ot { sigma_min: 0.0 }
    }
}

impl Path {
    /// The kernel's code and sigma.
    pub fn kernel(&self) -> (PathKind, f32) {
        match *self {
            Path::Ot { sigma_min } => (PathKind::Ot, sigma_min),
            Path::Independent { sigma } => (PathKind::Independent, sigma),
            Path::VariancePreserving => (PathKind::VariancePreserving, 0.0),
            Path::SchrodingerBridge { sigma } => (PathKind::SchrodingerBridge, sigma),
        }
    }

    /// Checks its parameter.
    pub fn check(&self) -> Result<()> {
        let (_, sigma) = self.kernel();
        match sigma.is_finite() && sigma >= 0.0 {
            true => Ok(()),
            false => Err(FlowError::Range {
                what: "path sigma",
                found: sigma.into(),
                needed: "a finite number, at least 0",
            }),
        }
    }
}
