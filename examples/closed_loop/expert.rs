//! The demonstrator: straight at the post, then round it, on the left or on the right as a coin says.

use crate::world::{Layout, OBS_DIM, POST, RATE, ROBOT, World};
use advect::data::{EpisodeArrays, Episodes};
use advect::kernel::philox;
use std::f32::consts::PI;

/// Speed along the table, m/s.
const SPEED: f32 = 0.30;
/// How far before and after the post the way bends, m.
const BEND: f32 = 0.36;
/// Steps that a demonstration goes on at the goal.
const REST: usize = 8;

/// Uniforms in (0, 1): number `i` of a stream of a seed.
pub fn uniforms<const N: usize>(seed: u64, stream: u32, i: u64) -> [f32; N] {
    let mut out = [0.0; N];
    philox::fill_uniform(seed, stream, i, 0, &mut out);
    out
}

/// The way of one demonstration: x as a function of y.
struct Way {
    layout: Layout,
    /// Signed distance at which it passes the post, m.
    clearance: f32,
}

impl Way {
    fn x(&self, y: f32) -> f32 {
        let Layout { start, goal, post } = self.layout;
        let straight = |y: f32| {
            start[0] + (goal[0] - start[0]) * ((y - start[1]) / (goal[1] - start[1])).clamp(0.0, 1.0)
        };
        // A smooth bump of height 1 around the post.
        let along = ((y - post[1]) / BEND).clamp(-1.0, 1.0);
        let bump = (0.5 + 0.5 * (PI * along).cos()).powf(0.8);
        straight(y) + bump * (post[0] + self.clearance - straight(post[1]))
    }
}

/// Demonstrations: observations, and commanded positions as actions.
pub fn demonstrations(count: usize, seed: u64) -> anyhow::Result<Episodes> {
    let (mut obs, mut action, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let mut success = Vec::new();
    for episode in 0..count as u64 {
        let [a, b, c, d, side, room, pace, _] = uniforms::<8>(seed, 0, episode);
        let layout = Layout::from([a, b, c, d]);
        let side = if side < 0.5 { -1.0 } else { 1.0 };
        let way = Way { layout, clearance: side * (POST + ROBOT + 0.065 + 0.03 * room) };
        let pace = SPEED * (0.9 + 0.2 * pace) / RATE;
        let mut world = World::new(layout);
        let (mut y, mut steps, mut rest) = (layout.start[1], 0, 0);
        while rest < REST {
            // Along the way by arc length, starting gently.
            let slope = (way.x(y + 1e-3) - way.x(y)) / 1e-3;
            let gently = ((steps + 1) as f32 / 5.0).min(1.0);
            y = (y + gently * pace / slope.hypot(1.0)).min(layout.goal[1]);
            rest += usize::from(y >= layout.goal[1]);
            let target = [way.x(y), y];
            obs.extend(world.observe());
            action.extend(target);
            world.step(target);
            steps += 1;
        }
        lengths.push(steps);
        success.push(world.reached() && !world.touched());
    }
    Ok(Episodes::from_arrays(EpisodeArrays {
        obs,
        action,
        obs_dim: OBS_DIM,
        action_dim: 2,
        lengths,
        success: Some(success),
        fps: Some(f64::from(RATE)),
        ..EpisodeArrays::default()
    })?)
}
