//! The checkerboard of FFJORD (Grathwohl 2019, `toy_data.py`) and of facebook's flow_matching: eight squares of side 2 in
//! [-4, 4]^2, uniform.

use super::draw::{Draw, Drawn, HELD_OUT, NOTHING, Source, TRAIN};
use super::{TaskOptions, no_data};
use crate::compare::{Law, Result, Task};

/// How far outside a square a sample is still valid.
const TOLERANCE: f64 = 0.1;

struct Checkerboard;

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    no_data("checkerboard", options)?;
    Drawn {
        id: "checkerboard",
        title: "checkerboard (FFJORD's)",
        train: TRAIN,
        held_out: HELD_OUT,
        horizon: 1,
        obs_names: &[],
        action_names: &["x", "y"],
    }
    .task(Checkerboard)
}

/// Lower left corner of a square: two to a column, in the rows whose parity the column has.
fn corner(mode: usize) -> [f64; 2] {
    let (column, upper) = (mode % 4, mode / 4);
    let shift = if column.is_multiple_of(2) { 0.0 } else { 2.0 };
    [2.0 * column as f64 - 4.0, 4.0 * upper as f64 - 4.0 + shift]
}

/// Distance to the square of a mode, 0 inside.
fn distance(mode: usize, chunk: &[f32]) -> f64 {
    let [x, y] = corner(mode);
    let outside = |v: f32, low: f64| (low - f64::from(v)).max(f64::from(v) - low - 2.0).max(0.0);
    outside(chunk[0], x).hypot(outside(chunk[1], y))
}

impl Law for Checkerboard {
    fn modes(&self) -> usize {
        8
    }

    fn mode(&self, _: &[f32], chunk: &[f32]) -> usize {
        (0..8).min_by(|a, b| distance(*a, chunk).total_cmp(&distance(*b, chunk))).unwrap_or(0)
    }

    fn valid(&self, obs: &[f32], chunk: &[f32]) -> Option<bool> {
        Some(distance(self.mode(obs, chunk), chunk) <= TOLERANCE)
    }

    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        vec![[chunk[0], chunk[1]]]
    }
}

impl Source for Checkerboard {
    fn draw(&self, draw: &mut Draw) -> (Vec<f32>, Vec<f32>) {
        let x = draw.between(-2.0, 2.0);
        let y = draw.uniform() - 2.0 * draw.below(2) as f64 + x.floor().rem_euclid(2.0);
        (NOTHING.to_vec(), [x, y].map(|v| (2.0 * v) as f32).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_fill_eight_squares() {
        let mut draw = Draw::new(3);
        let mut counts = [0; 8];
        for _ in 0..8000 {
            let (obs, p) = Checkerboard.draw(&mut draw);
            let mode = Checkerboard.mode(&obs, &p);
            assert!(distance(mode, &p) < 1e-6, "{p:?}");
            counts[mode] += 1;
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        // The middle of a white square.
        assert_eq!(Checkerboard.valid(&NOTHING, &[-3.0, -1.0]), Some(false));
    }
}
