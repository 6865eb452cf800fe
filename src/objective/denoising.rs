//! Denoising diffusion (Ho 2020), as diffusion policies use it (Chi 2023): x_k = sqrt(A_k) x1 + sqrt(1 - A_k) noise, A_k the product of
//! 1 - beta; the network predicts the noise or the clean chunk. Step k of `train_steps` is the network's time k / (train_steps - 1).
//!
//! Sampling goes down a grid of steps k, by DDIM (Song 2021, eta 0) or ancestrally by DDPM (Ho 2020); formulas and rounding of the
//! grid are those of the diffusers package ("leading" steps, `fixed_small` variance).

use super::error::count;
use super::{Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, ops};
use crate::flow::Solver;
use crate::flow::solver::{DiscreteMethod, FixedMethod};
use crate::graph::{Result, Value};
use crate::nn::Builder;
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
        #[serde(default = "first_beta")]
        start: f64,
        /// Last beta.
        #[serde(default = "last_beta")]
        end: f64,
    },
    /// `scaled_linear`: linear in the square roots.
    ScaledLinear {
        /// First beta.
        #[serde(default = "first_beta")]
        start: f64,
        /// Last beta.
        #[serde(default = "last_beta")]
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
#[serde(default, deny_unknown_fields)]
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

/// The betas of Ho 2020, which diffusers takes too.
fn first_beta() -> f64 {
    1e-4
}

fn last_beta() -> f64 {
    0.02
}

impl Default for Denoising {
    /// Diffusion policy's: 100 steps, squared cosines, the noise, clipped at 1, sampled by ten steps of DDIM.
    fn default() -> Denoising {
        Denoising {
            train_steps: 100,
            betas: BetaSchedule::SquaredCosine,
            prediction: Prediction::Epsilon,
            clip: Some(1.0),
            sampler: DenoisingSampler::Ddim,
            inference_steps: 10,
        }
    }
}

impl BetaSchedule {
    /// The beta of every step.
    pub fn betas(&self, steps: usize) -> Vec<f64> {
        let between =
            |start: f64, end: f64, i: usize| start + (end - start) * i as f64 / (steps.max(2) - 1) as f64;
        match *self {
            BetaSchedule::SquaredCosine => {
                let f = |u: f64| ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                let n = steps as f64;
                (0..steps).map(|i| (1.0 - f((i as f64 + 1.0) / n) / f(i as f64 / n)).min(0.999)).collect()
            }
            BetaSchedule::Linear { start, end } => (0..steps).map(|i| between(start, end, i)).collect(),
            BetaSchedule::ScaledLinear { start, end } => {
                (0..steps).map(|i| between(start.sqrt(), end.sqrt(), i).powi(2)).collect()
            }
        }
    }

    /// A_k of every step: the part of the variance that is still the chunk's.
    pub fn products(&self, steps: usize) -> Vec<f64> {
        let mut product = 1.0;
        self.betas(steps)
            .into_iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect()
    }
}

impl Denoising {
    /// The network's time of step k.
    fn time(&self, k: usize) -> f32 {
        (k as f64 / (self.train_steps.max(2) - 1) as f64) as f32
    }

    /// Of every step the network's time, sqrt(A) and sqrt(1 - A).
    pub(crate) fn table(&self) -> Vec<[f32; 3]> {
        let products = self.betas.products(self.train_steps);
        let row = |(k, a): (usize, &f64)| [self.time(k), a.sqrt() as f32, (1.0 - a).sqrt() as f32];
        products.iter().enumerate().map(row).collect()
    }

    /// The steps k that `steps` evaluations visit, downwards.
    pub fn grid(&self, steps: usize) -> Vec<usize> {
        let ratio = self.train_steps / steps.max(1);
        (0..steps).rev().map(|s| s * ratio).collect()
    }

    /// x_k of a chunk: sqrt(A) x1 + sqrt(1 - A) noise, the roots [rows, 1].
    pub(crate) fn noised(
        g: &mut crate::graph::Graph,
        [x1, noise, signal, spread]: [Value; 4],
    ) -> Result<Value> {
        let part = g.mul(x1, signal)?;
        g.fma(noise, spread, part)
    }

    /// The clock of a sampler: the network's time, sqrt(A), sqrt(1 - A), then what the clean chunk, the noise prediction and the present
    /// state count in the next one, then the width of fresh noise.
    pub(crate) fn clock(&self, ddpm: bool, steps: usize) -> Vec<Vec<f32>> {
        let products = self.betas.products(self.train_steps);
        let ratio = self.train_steps / steps.max(1);
        let row = |k: usize| {
            let (a, before) = (products[k], if k >= ratio { products[k - ratio] } else { 1.0 });
            let factors = match ddpm {
                true => {
                    let alpha = a / before;
                    let (beta, left) = (1.0 - alpha, 1.0 - a);
                    let clean = before.sqrt() * beta / left;
                    let state = alpha.sqrt() * (1.0 - before) / left;
                    let variance = ((1.0 - before) / left * beta).max(1e-20);
                    [clean, 0.0, state, if k > 0 { variance.sqrt() } else { 0.0 }]
                }
                false => [before.sqrt(), (1.0 - before).max(0.0).sqrt(), 0.0, 0.0],
            };
            let [clean, noise, state, fresh] = factors.map(|v| v as f32);
            vec![self.time(k), a.sqrt() as f32, (1.0 - a).sqrt() as f32, clean, noise, state, fresh]
        };
        self.grid(steps).into_iter().map(row).collect()
    }
}

impl Method for Denoising {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        count("objective.denoising.train_steps", self.train_steps, [2, 100_000], "2 to 100,000 steps")?;
        let most = [1, self.train_steps];
        count("objective.denoising.inference_steps", self.inference_steps, most, "1 to train_steps")?;
        if let Some(clip) = self.clip {
            // As the sampler has it, in f32.
            super::error::positive("objective.denoising.clip", f64::from(clip as f32))?;
        }
        let fits = |beta: &f64| *beta > 0.0 && *beta < 1.0;
        match self.betas.betas(self.train_steps).iter().all(fits) {
            true => Ok(()),
            false => Err(ObjectiveError::setting(
                "objective.denoising.betas",
                format!("{:?}", self.betas),
                "every beta between 0 and 1",
            )),
        }
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let step = p.pick(&self.table().concat(), 3)?;
        let x0 = p.noise()?;
        p.bind("step", step);
        p.bind("x0", x0);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let (x0, x1) = (task.chunks(b.graph, "x0")?, task.x1(b.graph)?);
        let step = task.columns(b.graph, "step", 3)?;
        let obs = task.obs(b.graph)?;
        let g = &mut *b.graph;
        let (t, signal, spread) = (g.slice(step, 0, 1)?, g.slice(step, 1, 1)?, g.slice(step, 2, 1)?);
        let xt = Denoising::noised(g, [x1, x0, signal, spread])?;
        let y = net.query(b, Query { a: xt, t, interval: None, obs })?;
        let want = match self.prediction {
            Prediction::Epsilon => x0,
            Prediction::Sample => x1,
        };
        let counts = task.counts(b.graph)?;
        Ok(Loss { value: ops::mse(b.graph, y, want, counts)?, parts: vec![("xt", xt)] })
    }

    /// `ddim:N`, `ddpm:N`; `euler:N` is N steps of the sampler that the settings name.
    fn sampling(&self, wanted: Solver, task: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let refuse = |needed| {
            Err(ObjectiveError::Solver { objective: "denoising", solver: wanted.to_string(), needed })
        };
        let (ddpm, steps) = match wanted {
            Solver::Discrete { method: DiscreteMethod::Ddpm, steps } => (true, steps),
            Solver::Discrete { method: DiscreteMethod::Ddim, steps } => (false, steps),
            Solver::Fixed { method: FixedMethod::Euler, steps } => {
                (self.sampler == DenoisingSampler::Ddpm, steps)
            }
            _ => return refuse("ddim:N or ddpm:N"),
        };
        if steps > self.train_steps {
            return refuse("no more steps than train_steps");
        }
        let method = if ddpm { DiscreteMethod::Ddpm } else { DiscreteMethod::Ddim };
        let solver = Solver::Discrete { method, steps };
        let clock = self.clock(ddpm, steps);
        Ok(Sampling::Steps(Steps { solver, noise: if ddpm { task.chunk() } else { 0 }, clock }))
    }

    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, _: &Task, s: &State) -> Result<Value> {
        let clock: Vec<Value> = (0..7).map(|i| b.graph.slice(s.clock, i, 1)).collect::<Result<_>>()?;
        let y = net.query(b, Query { a: s.x, t: clock[0], interval: None, obs: s.obs })?;
        let g = &mut *b.graph;
        let (signal, spread) = (clock[1], clock[2]);
        let (clean, noise) = match self.prediction {
            Prediction::Epsilon => {
                let part = g.mul(y, spread)?;
                let rest = g.sub(s.x, part)?;
                (g.div(rest, signal)?, y)
            }
            Prediction::Sample => {
                let part = g.mul(y, signal)?;
                let rest = g.sub(s.x, part)?;
                (y, g.div(rest, spread)?)
            }
        };
        let clean = match self.clip {
            Some(limit) => ops::clip(g, clean, limit as f32)?,
            None => clean,
        };
        let next = g.mul(clean, clock[3])?;
        let next = g.fma(noise, clock[4], next)?;
        let next = g.fma(s.x, clock[5], next)?;
        match s.noise {
            Some(fresh) => g.fma(fresh, clock[6], next),
            None => Ok(next),
        }
    }
}
