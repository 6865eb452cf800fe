//! Two moons as torchcfm's `sample_moons` draws them: torchdyn's `generate_moons(n, noise=0.2)`, times 3, minus 1. The noise is
//! one uniform number in [0, 0.2] for both coordinates, so each moon is a band: a half circle swept along the diagonal.

use super::draw::{Draw, Drawn, HELD_OUT, NOTHING, Source, TRAIN};
use super::{TaskOptions, no_data};
use crate::compare::{Law, Result, Task};
use std::f64::consts::PI;

const NOISE: f64 = 0.2;
/// How far from a band a sample is still valid, in the units of the data (the moons' radius is 3).
const TOLERANCE: f64 = 0.15;

struct TwoMoons;

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    no_data("two-moons", options)?;
    Drawn {
        id: "two-moons",
        title: "two moons (torchcfm's)",
        train: TRAIN,
        held_out: HELD_OUT,
        horizon: 1,
        obs_names: &[],
        action_names: &["x", "y"],
    }
    .task(TwoMoons)
}

/// Distance to the half circle (upper: centre 0, y >= 0; lower: centre (1, 0.5), y <= 0.5) swept by the noise.
fn distance(moon: usize, [x, y]: [f64; 2]) -> f64 {
    let arc = |u: f64| {
        let (x, y) = (x - u, y - u);
        // The lower moon is the upper one turned by half a circle about (0.5, 0.25).
        let (x, y) = if moon == 0 { (x, y) } else { (1.0 - x, 0.5 - y) };
        match y >= 0.0 {
            true => (x.hypot(y) - 1.0).abs(),
            false => (x - x.signum()).hypot(y),
        }
    };
    (0..=20).map(|i| arc(NOISE * f64::from(i) / 20.0)).fold(f64::INFINITY, f64::min)
}

fn distances(chunk: &[f32]) -> [f64; 2] {
    let p = [f64::from(chunk[0]), f64::from(chunk[1])].map(|v| (v + 1.0) / 3.0);
    [distance(0, p), distance(1, p)].map(|d| 3.0 * d)
}

impl Law for TwoMoons {
    fn modes(&self) -> usize {
        2
    }

    fn mode(&self, _: &[f32], chunk: &[f32]) -> usize {
        let [a, b] = distances(chunk);
        usize::from(b < a)
    }

    fn valid(&self, _: &[f32], chunk: &[f32]) -> Option<bool> {
        let [a, b] = distances(chunk);
        Some(a.min(b) <= TOLERANCE)
    }

    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        vec![[chunk[0], chunk[1]]]
    }
}

impl Source for TwoMoons {
    fn draw(&self, draw: &mut Draw) -> (Vec<f32>, Vec<f32>) {
        let (moon, angle) = (draw.below(2), PI * draw.uniform());
        let [x, y] = match moon {
            0 => [angle.cos(), angle.sin()],
            _ => [1.0 - angle.cos(), 0.5 - angle.sin()],
        };
        let noise = NOISE * draw.uniform();
        (NOTHING.to_vec(), [x, y].map(|v| (3.0 * (v + noise) - 1.0) as f32).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_valid_and_know_their_moon() {
        let mut draw = Draw::new(5);
        let mut lower = 0;
        for _ in 0..2000 {
            let (obs, p) = TwoMoons.draw(&mut draw);
            assert_eq!(TwoMoons.valid(&obs, &p), Some(true), "{p:?}");
            lower += TwoMoons.mode(&obs, &p);
        }
        assert!((900..1100).contains(&lower), "{lower}");
        // The middle between the moons, the centre of the upper one, and a point far away are in neither.
        for p in [[-1.0, -1.2], [0.5, 0.0], [9.0, 9.0]] {
            assert_eq!(TwoMoons.valid(&NOTHING, &p), Some(false), "{p:?}");
        }
    }
}
