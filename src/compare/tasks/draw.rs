//! Draws for tasks that make their own data: the same on every platform up to the rounding of sin, cos and ln.

use super::super::{Law, Pairs, Result, Task};
use crate::data::{EpisodeArrays, Episodes, WindowSpec};

/// SplitMix64 and what is made of it.
pub struct Draw {
    state: u64,
    spare: Option<f64>,
}

impl Draw {
    /// A stream of draws.
    pub fn new(seed: u64) -> Draw {
        Draw { state: seed, spare: None }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Uniform in (low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform below `n`, for small n.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// A law that can be drawn from as often as one likes.
pub trait Source: Law + 'static {
    /// One observation \[obs_dim\] and one chunk [horizon, action_dim].
    fn draw(&self, draw: &mut Draw) -> (Vec<f32>, Vec<f32>);
}

/// What a task that makes its own data consists of.
pub struct Drawn {
    /// Its id.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Training examples.
    pub train: usize,
    /// Held-out pairs.
    pub held_out: usize,
    /// Actions in a chunk.
    pub horizon: usize,
    /// Names of the observation's values; none: a constant.
    pub obs_names: &'static [&'static str],
    /// Names of the action's values.
    pub action_names: &'static [&'static str],
}

impl Drawn {
    /// Draws the task's data: training, held-out and other pairs from seeds of their own. An example is an episode that is one
    /// window long.
    pub fn task(self, law: impl Source) -> Result<Task> {
        let pairs = |seed: u64, count: usize| {
            let mut draw = Draw::new(seed);
            let mut pairs = Pairs { count, ..Pairs::default() };
            for _ in 0..count {
                let (obs, chunk) = law.draw(&mut draw);
                pairs.obs.extend(obs);
                pairs.chunks.extend(chunk);
            }
            pairs
        };
        let train = pairs(1, self.train);
        let obs_dim = train.obs.len() / train.count;
        let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let arrays = EpisodeArrays {
            obs: train.obs.chunks_exact(obs_dim).flat_map(|o| o.repeat(self.horizon)).collect(),
            action: train.chunks,
            obs_dim,
            action_dim: self.action_names.len(),
            lengths: vec![self.horizon; train.count],
            obs_names: if self.obs_names.is_empty() { None } else { names(self.obs_names) },
            action_names: names(self.action_names),
            ..EpisodeArrays::default()
        };
        Ok(Task {
            name: self.id.into(),
            title: self.title.into(),
            train: Episodes::from_arrays(arrays)?,
            held_out: pairs(2, self.held_out),
            other: pairs(3, self.held_out),
            unconditional: self.obs_names.is_empty(),
            windows: WindowSpec { history: 1, horizon: self.horizon, action_offset: 0, pad_after: 0 },
            relative_to: Vec::new(),
            scale: vec![1.0; self.horizon * self.action_names.len()],
            law: Box::new(law),
            reproduction: None,
        })
    }
}

/// The constant observation of an unconditional task.
pub const NOTHING: [f32; 1] = [0.0];

/// Examples that an unconditional task trains on.
pub const TRAIN: usize = 65_536;
/// Held-out points of a task in one or two dimensions.
pub const HELD_OUT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_their_moments() {
        let mut draw = Draw::new(7);
        let n = 40_000;
        let (mut mean, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = draw.normal();
            mean += x / n as f64;
            square += x * x / n as f64;
            uniform += draw.uniform() / n as f64;
        }
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.03 && (uniform - 0.5).abs() < 0.01);
        let mut seen = [0; 3];
        (0..300).for_each(|_| seen[draw.below(3)] += 1);
        assert!(seen.iter().all(|n| *n > 60));
    }
}
