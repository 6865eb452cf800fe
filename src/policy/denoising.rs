//! Denoising diffusion policies (DDPM; Ho 2020, Chi 2023), as far as a checkpoint must describe them: imports keep what the
//! network was trained for. Sampling from them is not here yet.

use serde::{Deserialize, Serialize};

/// How the noise grows over the training steps; names and formulas are those of the diffusers package.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BetaSchedule {
    /// `squaredcos_cap_v2` (Nichol & Dhariwal 2021).
    SquaredCosine,
    /// `linear` from `start` to `end`.
    Linear {
        /// First beta.
        start: f64,
        /// Last beta.
        end: f64,
    },
    /// `scaled_linear`: linear in the square roots.
    ScaledLinear {
        /// First beta.
        start: f64,
        /// Last beta.
        end: f64,
    },
}

/// What the network's output stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise that was added.
    Epsilon,
    /// The clean chunk.
    Sample,
}

/// The sampler that the checkpoint was configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenoisingSampler {
    /// Ancestral sampling (Ho 2020).
    Ddpm,
    /// The deterministic one (Song 2021).
    Ddim,
}

/// A discrete diffusion: step k of `train_steps`, from 0 (almost clean) up, is the network's time t = k / (train_steps - 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denoising {
    /// Steps of the forward process.
    pub train_steps: usize,
    /// Its betas.
    pub betas: BetaSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The predicted clean chunk is clipped to plus and minus this; null: not clipped.
    pub clip: Option<f64>,
    /// Which sampler.
    pub sampler: DenoisingSampler,
    /// Steps that it takes.
    pub inference_steps: usize,
}
