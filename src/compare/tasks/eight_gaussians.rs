//! Eight Gaussians as torchcfm's `sample_8gaussians` draws them: centres on a circle of radius 5, and a covariance of sqrt(0.1)
//! times the unit matrix (its `var = 0.1` enters under a root), so the standard deviation is 0.1^(1/4) = 0.562.

use super::draw::{Draw, Drawn, HELD_OUT, NOTHING, Source, TRAIN};
use super::{TaskOptions, no_data};
use crate::compare::{Law, Result, Task};

const RADIUS: f64 = 5.0;
/// 0.1^(1/4).
const SD: f64 = 0.562_341_325_190_349_1;
/// Standard deviations from a centre within which a sample is valid: 98.9 % of the law.
const WITHIN: f64 = 3.0;

struct EightGaussians;

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    no_data("eight-gaussians", options)?;
    Drawn {
        id: "eight-gaussians",
        title: "eight Gaussians (torchcfm's)",
        train: TRAIN,
        held_out: HELD_OUT,
        horizon: 1,
        obs_names: &[],
        action_names: &["x", "y"],
    }
    .task(EightGaussians)
}

fn centre(mode: usize) -> [f64; 2] {
    let angle = std::f64::consts::FRAC_PI_4 * mode as f64;
    [RADIUS * angle.cos(), RADIUS * angle.sin()]
}

fn distance(mode: usize, chunk: &[f32]) -> f64 {
    let [x, y] = centre(mode);
    (f64::from(chunk[0]) - x).hypot(f64::from(chunk[1]) - y)
}

impl Law for EightGaussians {
    fn modes(&self) -> usize {
        8
    }

    fn mode(&self, _: &[f32], chunk: &[f32]) -> usize {
        (0..8).min_by(|a, b| distance(*a, chunk).total_cmp(&distance(*b, chunk))).unwrap_or(0)
    }

    fn valid(&self, obs: &[f32], chunk: &[f32]) -> Option<bool> {
        Some(distance(self.mode(obs, chunk), chunk) <= WITHIN * SD)
    }

    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        vec![[chunk[0], chunk[1]]]
    }
}

impl Source for EightGaussians {
    fn draw(&self, draw: &mut Draw) -> (Vec<f32>, Vec<f32>) {
        let [x, y] = centre(draw.below(8));
        let point = [x + SD * draw.normal(), y + SD * draw.normal()];
        (NOTHING.to_vec(), point.map(|v| v as f32).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_over_the_modes() {
        let mut draw = Draw::new(3);
        let (mut counts, mut valid) = ([0; 8], 0);
        for _ in 0..8000 {
            let (obs, p) = EightGaussians.draw(&mut draw);
            counts[EightGaussians.mode(&obs, &p)] += 1;
            valid += usize::from(EightGaussians.valid(&obs, &p) == Some(true));
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        // 1 - exp(-9 / 2) of a plane Gaussian is within three standard deviations.
        assert!((0.983..0.994).contains(&(valid as f64 / 8000.0)), "{valid}");
        assert_eq!(EightGaussians.valid(&NOTHING, &[0.0, 0.0]), Some(false));
    }
}
