//! Two-mode regression: x uniform in [-1, 1], y = +-(0.6 + 0.3 sin 3x) with equal chance, plus N(0, 0.05^2). Its conditional mean
//! is 0 everywhere, where no y ever is: the textbook case against regression by mean square error (Bishop 1994).

use super::draw::{Draw, Drawn, HELD_OUT, Source, TRAIN};
use super::{TaskOptions, no_data};
use crate::compare::{Law, Result, Task};

const SD: f64 = 0.05;
/// Standard deviations from a branch within which a sample is valid.
const WITHIN: f64 = 4.0;

struct Regression;

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    no_data("two-mode-regression", options)?;
    Drawn {
        id: "two-mode-regression",
        title: "two-mode regression",
        train: TRAIN,
        held_out: HELD_OUT,
        horizon: 1,
        obs_names: &["x"],
        action_names: &["y"],
    }
    .task(Regression)
}

fn branch(x: f32) -> f64 {
    0.6 + 0.3 * (3.0 * f64::from(x)).sin()
}

impl Law for Regression {
    fn modes(&self) -> usize {
        2
    }

    fn mode(&self, _: &[f32], chunk: &[f32]) -> usize {
        usize::from(chunk[0] < 0.0)
    }

    fn valid(&self, obs: &[f32], chunk: &[f32]) -> Option<bool> {
        Some((f64::from(chunk[0].abs()) - branch(obs[0])).abs() <= WITHIN * SD)
    }

    fn line(&self, obs: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        vec![[obs[0], chunk[0]]]
    }
}

impl Source for Regression {
    fn draw(&self, draw: &mut Draw) -> (Vec<f32>, Vec<f32>) {
        let x = draw.between(-1.0, 1.0) as f32;
        let side = if draw.below(2) == 0 { 1.0 } else { -1.0 };
        (vec![x], vec![(side * branch(x) + SD * draw.normal()) as f32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_in_neither_branch() {
        let mut draw = Draw::new(1);
        for _ in 0..1000 {
            let (obs, y) = Regression.draw(&mut draw);
            assert_eq!(Regression.valid(&obs, &[0.0]), Some(false));
            assert!((f64::from(y[0].abs()) - branch(obs[0])).abs() < 6.0 * SD);
        }
        assert_eq!((Regression.mode(&[0.0], &[0.6]), Regression.mode(&[0.0], &[-0.6])), (0, 1));
    }
}
