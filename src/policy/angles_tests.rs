use std::f64::consts::{PI, TAU};

use super::*;
use crate::data::EpisodeArrays;

fn angles(unit: AngleUnit, centre: Option<f32>) -> Angles {
    Angles { unit, obs: vec![0], action: vec![ActionAngle { dim: 1, centre }] }
}

/// Two episodes of a joint that turns on over its ends, by `step` a row, beside a column that does not matter.
fn turning(step: f64, centre: f64, turn: f64) -> Episodes {
    let place = |row: usize| wrapped(0.9 * turn / 2.0 + step * row as f64, centre, turn) as f32;
    let rows = || (0..2).flat_map(|_| 0..40usize);
    let arrays = EpisodeArrays {
        obs: rows().flat_map(|row| [place(row), 0.5 + row as f32]).collect(),
        action: rows().flat_map(|row| [0.25 * row as f32, place(row + 1)]).collect(),
        obs_dim: 2,
        action_dim: 2,
        lengths: vec![40; 2],
        ..EpisodeArrays::default()
    };
    Episodes::from_arrays(arrays).unwrap()
}

#[test]
fn a_turn_is_open_at_its_lower_end() {
    for (x, centre, want) in [(PI, 0.0, PI), (-PI, 0.0, PI), (3.5 * TAU, 0.0, PI), (-0.5, PI, TAU - 0.5)] {
        assert!((wrapped(x, centre, TAU) - want).abs() < 1e-12, "{x}");
    }
    assert_eq!(wrapped(-190.0, 0.0, 360.0), 170.0);
    assert!(wrapped(f64::NAN, 0.0, TAU).is_nan());
}

#[test]
fn the_turn_of_the_demonstrations_is_found() {
    let centre = |unit, episodes: &Episodes| Angles::of(unit, vec![0], vec![1], episodes).action[0].centre;
    assert_eq!(centre(AngleUnit::Radians, &turning(0.3, 0.0, TAU)), Some(0.0));
    assert_eq!(centre(AngleUnit::Radians, &turning(0.3, PI, TAU)), Some(PI as f32));
    assert_eq!(centre(AngleUnit::Degrees, &turning(15.0, 180.0, 360.0)), Some(180.0));
    // A counter of turns has no cut.
    let mut arrays = turning(0.3, 0.0, TAU).into_arrays();
    arrays.action.iter_mut().skip(1).step_by(2).enumerate().for_each(|(row, x)| *x = row as f32);
    assert_eq!(centre(AngleUnit::Radians, &Episodes::from_arrays(arrays).unwrap()), None);
}

#[test]
fn differences_have_no_jump_and_come_back() {
    for (unit, step) in [(AngleUnit::Radians, -0.4), (AngleUnit::Degrees, 31.0)] {
        let (turn, relative) = (unit.turn(), RelativeTo(vec![None, Some(0)]));
        let episodes = turning(step, 0.0, turn);
        let angles = angles(unit, Some(0.0));
        let flat = angles.unwrapped(&episodes, Some(&relative)).unwrap();
        for row in 0..80 {
            let obs = flat.obs()[2 * row];
            let by = f64::from(flat.action()[2 * row + 1] - obs);
            assert!((by - step).abs() < 1e-5 * turn, "{by} at {row}");
            assert_eq!(flat.action()[2 * row], episodes.action()[2 * row], "what is no angle stays");
            // From the demonstration's own numbers, as a chunk that is continued comes in.
            let seen = &episodes.obs()[2 * row..][..2];
            let mut chunk = episodes.action()[2 * row..][..2 * (40 - row % 40).min(12)].to_vec();
            let before = chunk.clone();
            relative.subtract(&mut chunk, seen).unwrap();
            angles.unwrap(&mut chunk, 2);
            for (i, x) in chunk.iter().skip(1).step_by(2).enumerate() {
                assert!((f64::from(*x) - step * (i + 1) as f64).abs() < 1e-4 * turn, "{x} at {i}");
            }
            relative.add(&mut chunk, seen).unwrap();
            angles.wrap(&mut chunk, 2);
            assert!(chunk.iter().zip(&before).all(|(a, b)| f64::from(a - b).abs() < 1e-5 * turn));
        }
    }
}
