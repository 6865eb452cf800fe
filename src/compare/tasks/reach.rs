//! Conditional two-mode reach: from the origin to a goal, round an obstacle in the way, on its left or its right.
//!
//! The goal g lies at a distance of 0.9 to 1.1 in any direction, the obstacle (a disc of radius 0.15) at o = f g with f in
//! [0.4, 0.6]. A demonstration is p(s) = s g + side h sin(pi s) n for s = 1/16, 2/16, ..., 1, with n the unit normal of g, h ~
//! N(0.35, 0.02^2) and the side drawn by a fair coin: both modes are equally likely for every observation, and their mean goes
//! straight through the obstacle.

use super::draw::{Draw, Drawn, Source};
use super::{TaskOptions, no_data};
use crate::compare::{Law, Result, Task};
use crate::report::{Colour, Scene2d, Style};
use crate::train::DimRef;
use std::f64::consts::{PI, TAU};

const STEPS: usize = 16;
const RADIUS: f32 = 0.15;
/// How far from the goal a path may end.
const ARRIVED: f32 = 0.1;

struct Reach;

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    no_data("reach", options)?;
    let drawn = Drawn {
        id: "reach",
        title: "reach round an obstacle, left or right",
        train: 16_384,
        held_out: 2048,
        horizon: STEPS,
        obs_names: &["goal_x", "goal_y", "obstacle_x", "obstacle_y", "robot_x", "robot_y"],
        action_names: &["x", "y"],
    };
    // The robot is always at the origin; that it says so is for methods that start from where the robot is.
    Ok(Task { relative_to: vec![DimRef::Index(4), DimRef::Index(5)], ..drawn.task(Reach)? })
}

fn points(chunk: &[f32]) -> impl Iterator<Item = [f32; 2]> + '_ {
    std::iter::once([0.0, 0.0]).chain(chunk.chunks_exact(2).map(|p| [p[0], p[1]]))
}

/// Distance from `c` to the segment from `a` to `b`.
fn to_segment(c: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (d, e) = ([b[0] - a[0], b[1] - a[1]], [c[0] - a[0], c[1] - a[1]]);
    let along = (d[0] * e[0] + d[1] * e[1]) / (d[0] * d[0] + d[1] * d[1]).max(1e-12);
    let t = along.clamp(0.0, 1.0);
    (e[0] - t * d[0]).hypot(e[1] - t * d[1])
}

impl Law for Reach {
    fn modes(&self) -> usize {
        2
    }

    fn mode(&self, obs: &[f32], chunk: &[f32]) -> usize {
        // On which side of the line from start to goal the path lies, all in all.
        let side: f32 = points(chunk).map(|p| obs[0] * p[1] - obs[1] * p[0]).sum();
        usize::from(side < 0.0)
    }

    fn valid(&self, obs: &[f32], chunk: &[f32]) -> Option<bool> {
        let obstacle = [obs[2], obs[3]];
        let clear = points(chunk)
            .zip(points(chunk).skip(1))
            .all(|(a, b)| to_segment(obstacle, a, b) >= RADIUS && b.iter().all(|v| v.is_finite()));
        let end = points(chunk).last().unwrap_or_default();
        Some(clear && (end[0] - obs[0]).hypot(end[1] - obs[1]) <= ARRIVED)
    }

    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        points(chunk).collect()
    }

    fn scene(&self, obs: &[f32], scene: Scene2d) -> Scene2d {
        let post = Style::fill(Colour([196, 203, 213]));
        let goal = Style::stroke(Colour::INK, 1.4);
        scene.disc([obs[2], obs[3]], RADIUS, post).disc([obs[0], obs[1]], ARRIVED, goal)
    }
}

impl Source for Reach {
    fn draw(&self, draw: &mut Draw) -> (Vec<f32>, Vec<f32>) {
        let (distance, angle) = (draw.between(0.9, 1.1), draw.between(0.0, TAU));
        let goal = [distance * angle.cos(), distance * angle.sin()];
        let part = draw.between(0.4, 0.6);
        let side = if draw.below(2) == 0 { 1.0 } else { -1.0 };
        let height = side * (0.35 + 0.02 * draw.normal());
        let normal = [-angle.sin(), angle.cos()];
        let mut chunk = Vec::with_capacity(2 * STEPS);
        for k in 1..=STEPS {
            let s = k as f64 / STEPS as f64;
            let aside = height * (PI * s).sin();
            chunk.extend([0, 1].map(|i| (s * goal[i] + aside * normal[i]) as f32));
        }
        let obs = [goal[0], goal[1], part * goal[0], part * goal[1], 0.0, 0.0];
        (obs.map(|v| v as f32).to_vec(), chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demonstrations_are_valid_and_their_mean_is_not() {
        let mut draw = Draw::new(2);
        let mut right = 0;
        for _ in 0..2000 {
            let (obs, chunk) = Reach.draw(&mut draw);
            assert_eq!(Reach.valid(&obs, &chunk), Some(true));
            right += Reach.mode(&obs, &chunk);
            let straight: Vec<f32> =
                (1..=STEPS).flat_map(|k| [0, 1].map(|i| obs[i] * k as f32 / STEPS as f32)).collect();
            assert_eq!(Reach.valid(&obs, &straight), Some(false));
            let mut astray = chunk.clone();
            astray[2 * STEPS - 1] += 0.2;
            assert_eq!(Reach.valid(&obs, &astray), Some(false));
        }
        assert!((900..1100).contains(&right), "{right}");
    }

    #[test]
    fn a_path_may_not_jump_over_the_obstacle() {
        assert_eq!(to_segment([0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]), 1.0);
        assert_eq!(to_segment([3.0, 0.0], [-1.0, 0.0], [1.0, 0.0]), 2.0);
        assert_eq!(to_segment([3.0, 4.0], [0.0, 0.0], [0.0, 0.0]), 5.0);
    }
}
