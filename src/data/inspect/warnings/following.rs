//! How the state and the action hang together.

use super::super::Following;
use super::super::column::Column;
use super::super::follow;
use super::super::rows::Rows;
use super::number;

/// An action that is the state itself, or a state that comes late.
pub fn following(found: Option<&Following>, fps: Option<f64>) -> Vec<String> {
    let Some(f) = found else { return Vec::new() };
    let steps = |n: usize| match fps {
        Some(fps) => format!("{n} step{} ({:.2} s)", if n == 1 { "" } else { "s" }, n as f64 / fps),
        None => format!("{n} step{}", if n == 1 { "" } else { "s" }),
    };
    let exact = f.distance < 1e-4;
    match f.lag {
        0 if exact => vec![
            "the action is the current state: a policy would learn to stay where it is; take the commanded action, or the \
             state some steps later"
                .into(),
        ],
        1 if exact => vec![
            "the action is the next state: no command was recorded, and a robot that follows with a delay will lag behind"
                .into(),
        ],
        lag if exact => vec![format!("the action is the state {} later", steps(lag))],
        lag if lag >= 2 && f.distance < 0.9 * f.distance_now => vec![format!(
            "the arm lags its command by {}: set history = {} or more, so that the policy can see it",
            steps(lag),
            lag + 1
        )],
        _ => Vec::new(),
    }
}

/// Actions that are a state plus the same number everywhere.
pub fn offsets(rows: &Rows<'_>, [obs, action]: [&[Column]; 2], names: [Option<&[String]>; 2]) -> Vec<String> {
    let found = follow::offsets(rows, names);
    let line = |o: &follow::Offset| {
        let spread = number(o.spread);
        format!(
            "action {} is obs {} plus {} everywhere (give or take {spread}): do command and state have the same zero? A policy's \
             actions carry this offset",
            action[o.action].label(),
            obs[o.obs].label(),
            number(o.offset)
        )
    };
    found.iter().map(line).collect()
}
