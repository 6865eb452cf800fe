//! Couplings: which noise goes with which chunk of a training batch.

pub mod apply;
pub mod assignment;
pub mod exact;
pub mod sinkhorn;

pub use apply::{PAIRS, Rows};
pub use assignment::{Assignment, assign};

use super::{FlowError, Result};
use serde::{Deserialize, Serialize};

/// How the noise rows x0 of a batch are paired with its chunks x1 (and their normalised observations z).
///
/// Pairing by optimal transport with squared Euclidean cost makes the paths of a batch cross less, so that the flow is straighter
/// (Tong 2023, "Improving and generalizing flow-based generative models with minibatch optimal transport"; Pooladian 2023).
/// **Plain optimal transport skews conditional distributions**: it sends a chunk the noise that lies near it, so that given an
/// observation the noise is no longer standard normal, while sampling starts from standard normal noise (torchcfm issues
/// 117 and 132). `condition_weight` adds w |z_i - z_j|^2 to the cost of giving chunk i the noise that was drawn with
/// observation j: noise then changes hands only between near-identical observations. 0 is plain optimal transport, right for a
/// flow without observations; the larger the weight, the closer to independent pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Coupling {
    /// Pairs as drawn.
    #[default]
    Independent,
    /// The optimal one-to-one pairing of the batch, found on the host.
    ExactOt {
        /// Weight of the squared distance of the normalised observations.
        condition_weight: f32,
    },
    /// Noise drawn for every chunk from the entropic transport plan (Cuturi 2013), found on the device.
    Sinkhorn {
        /// Regularisation, in the units of the cost: a squared distance of normalised chunks, about twice the number of
        /// values in a chunk. A twentieth of that is a fair start; the smaller, the nearer to the optimal pairing and the more
        /// iterations it takes.
        reg: f32,
        /// Updates of both potentials. Too few leave some noise rows more likely than others. With `reg` a twentieth of the
        /// mean cost, 256 rows and 10 updates, under 1 % of the mass is astray for chunks of 32 values (tests/training/coupling.rs);
        /// fewer values need more.
        iterations: u32,
        /// Weight of the squared distance of the normalised observations.
        condition_weight: f32,
    },
}

impl Coupling {
    /// The weight of the observations in the cost.
    pub fn condition_weight(&self) -> f32 {
        match *self {
            Coupling::Independent => 0.0,
            Coupling::ExactOt { condition_weight } | Coupling::Sinkhorn { condition_weight, .. } => {
                condition_weight
            }
        }
    }

    /// The largest batch: the exact pairing takes time with its third power, the plan memory with its square.
    pub fn largest_batch(&self) -> usize {
        match self {
            Coupling::Independent => usize::MAX,
            Coupling::ExactOt { .. } => 4096,
            Coupling::Sinkhorn { .. } => 8192,
        }
    }

    /// Checks its parameters.
    pub fn check(&self) -> Result<()> {
        let range = |what, found: f32, ok: bool, needed| match found.is_finite() && ok {
            true => Ok(()),
            false => Err(FlowError::Range { what, found: found.into(), needed }),
        };
        let weight = self.condition_weight();
        range("coupling condition_weight", weight, weight >= 0.0, "a finite number, at least 0")?;
        if let Coupling::Sinkhorn { reg, iterations, .. } = *self {
            range("coupling reg", reg, reg > 0.0 && (1.0 / reg).is_finite(), "a positive number")?;
            let needed = "1 to 10,000";
            range("coupling iterations", iterations as f32, (1..=10_000).contains(&iterations), needed)?;
        }
        Ok(())
    }
}

/// A batch as a coupling sees it, dense and row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Rows.
    pub batch: usize,
    /// Numbers per row of the noise and of the chunks.
    pub dim: usize,
    /// Numbers per row of the normalised observations; 0: there are none.
    pub request: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn couplings_are_read_as_files_have_them_and_checked() {
        #[derive(Deserialize)]
        struct File {
            coupling: Coupling,
        }
        let read = |text: &str| toml::from_str::<File>(text).map(|f| f.coupling);
        let sinkhorn =
            r#"coupling = { kind = "sinkhorn", reg = 0.5, iterations = 30, condition_weight = 2.0 }"#;
        let want = Coupling::Sinkhorn { reg: 0.5, iterations: 30, condition_weight: 2.0 };
        assert_eq!(read(sinkhorn), Ok(want));
        let exact = r#"coupling = { kind = "exact_ot", condition_weight = 0.0 }"#;
        assert_eq!(read(exact), Ok(Coupling::ExactOt { condition_weight: 0.0 }));
        assert_eq!(read(r#"coupling = { kind = "independent" }"#), Ok(Coupling::default()));
        // Whether conditional distributions may be skewed is nobody's default.
        assert!(read(r#"coupling = { kind = "exact_ot" }"#).is_err());
        assert!(read(r#"coupling = { kind = "exact_ot", condition_weight = 0.0, reg = 1.0 }"#).is_err());

        assert!(want.check().is_ok() && Coupling::Independent.check().is_ok());
        for bad in [
            Coupling::ExactOt { condition_weight: -1.0 },
            Coupling::ExactOt { condition_weight: f32::NAN },
            Coupling::Sinkhorn { reg: 0.0, iterations: 1, condition_weight: 0.0 },
            Coupling::Sinkhorn { reg: 1e-39, iterations: 1, condition_weight: 0.0 },
            Coupling::Sinkhorn { reg: 1.0, iterations: 0, condition_weight: 0.0 },
        ] {
            assert!(matches!(bad.check(), Err(FlowError::Range { .. })), "{bad:?}");
        }
    }
}
