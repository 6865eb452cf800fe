//! The Push-T scene: a disc pushes a T-shaped block to a goal pose, seen from above.
//!
//! Geometry as in the Push-T environment of the diffusion policy paper: a workspace of 512 x 512 px, y down, the goal
//! pose of the block at (256, 256) px turned by pi/4.

use std::f32::consts::FRAC_PI_4;

use super::colour::Colour;
use super::paint::{LineColour, Style};
use super::scene::Scene2d;

/// Side of the workspace in px.
pub const WORKSPACE: f32 = 512.0;
/// The block's outline in its own frame, px.
pub const OUTLINE: [[f32; 2]; 8] = [
    [-60.0, 0.0],
    [60.0, 0.0],
    [60.0, 30.0],
    [15.0, 30.0],
    [15.0, 120.0],
    [-15.0, 120.0],
    [-15.0, 30.0],
    [-60.0, 30.0],
];
/// The goal pose of the block: x, y (px), angle (rad).
pub const GOAL: [f32; 3] = [256.0, 256.0, FRAC_PI_4];
/// Radius of the agent's disc in px.
pub const AGENT_RADIUS: f32 = 15.0;

const GOAL_COLOUR: Colour = Colour([178, 223, 190]);
const BLOCK_COLOUR: Colour = Colour([160, 170, 184]);
const BLOCK_EDGE: Colour = Colour([110, 122, 138]);
const AGENT_COLOUR: Colour = Colour([0, 114, 178]);

/// The corners of the block at a pose (x, y in px, angle in rad), px.
pub fn block_corners([x, y, angle]: [f32; 3]) -> [[f32; 2]; 8] {
    let (sin, cos) = angle.sin_cos();
    OUTLINE.map(|[u, v]| [x + cos * u - sin * v, y + sin * u + cos * v])
}

/// Goal, block and agent without any chunks: a backdrop, or a scene to add to.
///
/// `state` is agent x, y (px), block x, y (px), block angle (rad).
pub fn push_t_backdrop(state: [f32; 5]) -> Scene2d {
    let [agent_x, agent_y, block @ ..] = state;
    let agent = Style::fill(AGENT_COLOUR).opacity(0.85).outlined(Colour::WHITE, 1.2);
    Scene2d::new("Push-T scene", [0.0, 0.0], [WORKSPACE, WORKSPACE])
        .y_down()
        .polygon(&block_corners(GOAL), Style::fill(GOAL_COLOUR).opacity(0.8))
        .polygon(&block_corners(block), Style::fill(BLOCK_COLOUR).opacity(0.8).outlined(BLOCK_EDGE, 1.0))
        .disc([agent_x, agent_y], AGENT_RADIUS, agent)
}

/// A Push-T state with sampled action chunks and, if not empty, the demonstrated one.
///
/// `state` is agent x, y (px), block x, y (px), block angle (rad). `demonstration` is `[horizon']` positions in px.
/// `samples` is `[chunks][horizon]` positions in px (a flat `&[f32]` gives them by `as_chunks::<2>().0`). `colour` is
/// usually [`LineColour::Along`] (time) or [`LineColour::Category`] (one mode per chunk). The more chunks, the more
/// translucent each.
pub fn push_t_scene(
    state: [f32; 5],
    demonstration: &[[f32; 2]],
    samples: &[[f32; 2]],
    horizon: usize,
    colour: LineColour,
) -> Scene2d {
    let count = samples.len() / horizon.max(1);
    let mut scene = push_t_backdrop(state)
        .scale_bar(100.0, "px")
        .key_patch(Style::fill(GOAL_COLOUR), "goal")
        .key_patch(Style::fill(BLOCK_COLOUR).outlined(BLOCK_EDGE, 1.0), "block")
        .key_dot(Style::fill(AGENT_COLOUR), "agent");
    if !samples.is_empty() {
        let opacity = (6.0 / (count as f64).sqrt()).clamp(0.12, 0.9);
        scene = scene.lines(samples, horizon, colour.clone(), 1.6, opacity);
    }
    if let [first, .., last] = demonstration {
        // A white casing keeps the dark line apart from whatever is below.
        let line = |scene: Scene2d, colour, width| {
            scene.lines(demonstration, demonstration.len(), LineColour::One(colour), width, 1.0)
        };
        scene = line(line(scene, Colour::WHITE, 4.5), Colour::INK, 2.0)
            .points(&[*first], 3.6, Style::fill(Colour::WHITE).outlined(Colour::INK, 1.8))
            .points(&[*last], 3.4, Style::fill(Colour::INK).outlined(Colour::WHITE, 1.0))
            .key_path(Colour::INK, "demonstrated");
    }
    match colour {
        _ if samples.is_empty() => scene,
        LineColour::Along => scene.key_ramp(format!("{count} sampled: start"), "end"),
        LineColour::One(colour) => scene.key_line(colour, format!("{count} sampled")),
        LineColour::Category(modes) => mode_keys(scene, &modes, count),
    }
}

/// A legend entry for each mode, with how many chunks went that way.
fn mode_keys(scene: Scene2d, modes: &[usize], count: usize) -> Scene2d {
    let mut counts = std::collections::BTreeMap::new();
    for index in 0..count {
        *counts.entry(modes.get(index).copied().unwrap_or(0)).or_insert(0_usize) += 1;
    }
    counts.into_iter().fold(scene, |scene, (mode, count)| {
        scene.key_line(Colour::category(mode), format!("mode {} ({count})", mode.saturating_add(1)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    #[test]
    fn the_block_turns_clockwise_on_screen() {
        let corners = block_corners([100.0, 200.0, std::f32::consts::FRAC_PI_2]);
        // The stem's end, (0, 120) ahead of the bar, swings from below to the left; y is down.
        assert!((corners[4][0] - -20.0).abs() < 1e-3 && (corners[4][1] - 215.0).abs() < 1e-3, "{corners:?}");
    }

    #[test]
    fn six_scenes_of_64_chunks_are_small() {
        let samples: Vec<_> =
            (0..64 * 16).map(|i| [(i * 37 % 512) as f32 + 0.123, (i * 91 % 512) as f32]).collect();
        let scene =
            push_t_scene([200.0, 300.0, 150.0, 260.0, 0.4], &samples[..16], &samples, 16, LineColour::Along);
        let figure = scene.render();
        well_formed(figure.svg());
        assert!(6 * figure.svg().len() < 1_000_000, "{}", figure.svg().len());
    }

    #[test]
    fn bad_input_still_gives_a_scene() {
        let bad = [[f32::NAN; 2]; 3];
        for (horizon, modes) in [(0, vec![]), (2, vec![usize::MAX]), (9, vec![1; 50])] {
            let colour = LineColour::Category(modes.into_iter().map(|m: usize| m.min(1000)).collect());
            well_formed(push_t_scene([f32::NAN; 5], &bad, &bad, horizon, colour).render().svg());
        }
        well_formed(push_t_scene([0.0; 5], &[], &[], 16, LineColour::Along).render().svg());
    }
}
