//! Closed-loop reproduction: the policy is asked again and again, about the places that it led to itself.

use super::dtw::dynamic_time_warping;
use crate::compare::Result;
use crate::compare::tasks::lasa::{Reproduced, Reproduction};
use serde::{Deserialize, Serialize};

/// How far out of the demonstrations' box (as part of the size) a reproduction has diverged.
const DIVERGED: f32 = 0.5;
/// What counts as rest, as part of the size.
const REST: f32 = 0.005;

/// What the reproductions of some starts gave; lengths are parts of the shape's size, the larger side of the box around its
/// demonstrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reproductions {
    /// The shape; `all` of them together.
    pub shape: String,
    /// Starts.
    pub starts: usize,
    /// Mean distance of the end from the goal, of those that did not diverge.
    pub end_error: Option<f64>,
    /// The largest.
    pub end_error_worst: Option<f64>,
    /// Mean over the starts of the dynamic time warping distance to the closest demonstration, of those that did not diverge.
    pub dtw: Option<f64>,
    /// Starts whose reproduction left the demonstrations' box by half the size, or was not finite.
    pub diverged: usize,
}

/// The paths of all shapes' starts, shape by shape: [starts, steps + 1]. `chunks` is asked for a chunk [horizon, 2] of positions for
/// each start, with the present and the previous positions [starts, 2 steps, 2 + code] and the number of the call. From each
/// chunk as many actions are executed as the task says. A path that has diverged stays where it was.
pub fn reproduce(
    task: &Reproduction,
    horizon: usize,
    mut chunks: impl FnMut(&[f32], u64) -> Result<Vec<f32>>,
) -> Result<Vec<Vec<[f32; 2]>>> {
    let starts: Vec<(&Reproduced, [f32; 2])> =
        task.shapes.iter().flat_map(|s| s.starts.iter().map(move |p| (s, *p))).collect();
    let mut paths: Vec<Vec<[f32; 2]>> = starts.iter().map(|(_, p)| vec![*p]).collect();
    let mut call = 0;
    while paths.first().is_some_and(|p| p.len() <= task.steps) {
        let mut obs = Vec::new();
        for ((shape, _), path) in starts.iter().zip(&paths) {
            let now = path.len() - 1;
            for k in [now.saturating_sub(1), now] {
                obs.extend(path[k]);
                obs.extend(&shape.code);
            }
        }
        let found = chunks(&obs, call)?;
        call += 1;
        let room = task.steps + 1 - paths[0].len();
        for (((shape, _), path), chunk) in starts.iter().zip(&mut paths).zip(found.chunks_exact(2 * horizon))
        {
            for next in chunk.as_chunks::<2>().0.iter().take(task.execute.min(room)) {
                let last = path[path.len() - 1];
                path.push(if outside(shape, last) { last } else { *next });
            }
        }
    }
    Ok(paths)
}

fn outside(shape: &Reproduced, p: [f32; 2]) -> bool {
    let room = DIVERGED * shape.size;
    let [low, high] = shape.bounds;
    !(0..2).all(|i| p[i] >= low[i] - room && p[i] <= high[i] + room)
}

/// All shapes together, then each, for paths as [`reproduce`] gives them.
pub fn judge(task: &Reproduction, paths: &[Vec<[f32; 2]>]) -> Vec<Reproductions> {
    let mut paths = paths.iter();
    let mut each = Vec::new();
    let mut all: Vec<Option<[f64; 2]>> = Vec::new();
    for shape in &task.shapes {
        let found: Vec<Option<[f64; 2]>> =
            paths.by_ref().take(shape.starts.len()).map(|p| one(shape, p)).collect();
        all.extend(&found);
        each.push(gather(&shape.name, &found));
    }
    let mut out = vec![gather("all", &all)];
    out.append(&mut each);
    out
}

/// End error and time warping distance of a path; `None` if it diverged.
fn one(shape: &Reproduced, path: &[[f32; 2]]) -> Option<[f64; 2]> {
    if path.iter().any(|p| outside(shape, *p)) {
        return None;
    }
    let end = *path.last()?;
    let apart = |p: &[f32; 2], q: [f32; 2]| (p[0] - q[0]).hypot(p[1] - q[1]);
    // Waiting at the end is no part of the motion.
    let moving = path.iter().rposition(|p| apart(p, end) > REST * shape.size).map_or(1, |i| i + 2);
    let path = &path[..moving.min(path.len())];
    let closest = shape.demonstrations.iter().map(|d| dynamic_time_warping(path, d));
    let size = f64::from(shape.size);
    Some([f64::from(apart(&end, [0.0, 0.0])) / size, closest.fold(f64::INFINITY, f64::min) / size])
}

fn gather(shape: &str, found: &[Option<[f64; 2]>]) -> Reproductions {
    let ended: Vec<[f64; 2]> = found.iter().flatten().copied().collect();
    let some = !ended.is_empty();
    let mean = |i: usize| some.then(|| ended.iter().map(|e| e[i]).sum::<f64>() / ended.len() as f64);
    Reproductions {
        shape: shape.into(),
        starts: found.len(),
        end_error: mean(0),
        end_error_worst: some.then(|| ended.iter().map(|e| e[0]).fold(0.0, f64::max)),
        dtw: mean(1),
        diverged: found.len() - ended.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Reproduction {
        let shape = Reproduced {
            name: "Line".into(),
            demonstrations: vec![(0..=10).map(|i| [10.0 - i as f32, 0.0]).collect()],
            starts: vec![[10.0, 0.0], [10.0, 1.0]],
            size: 10.0,
            bounds: [[0.0, 0.0], [10.0, 0.0]],
            code: vec![7.0],
        };
        Reproduction { shapes: vec![shape], execute: 2, steps: 15 }
    }

    #[test]
    fn a_policy_that_walks_home_gets_there() {
        // Three steps of up to 1 to the left; the height stays.
        let walk = |obs: &[f32], _: u64| {
            let chunk =
                |o: &[f32]| (1..=3).flat_map(|k| [(o[3] - k as f32).max(0.0), o[4]]).collect::<Vec<_>>();
            assert!(obs.chunks_exact(6).all(|o| o[2] == 7.0 && o[5] == 7.0));
            Ok(obs.chunks_exact(6).flat_map(chunk).collect())
        };
        let task = task();
        let paths = reproduce(&task, 3, walk).unwrap();
        assert_eq!((paths.len(), paths[0].len(), paths[0][3]), (2, 16, [7.0, 0.0]));
        let found = judge(&task, &paths);
        assert_eq!((found.len(), found[0].starts, found[0].diverged), (2, 2, 0));
        assert_eq!((found[1].end_error, found[1].end_error_worst), (Some(0.05), Some(0.1)));
        // The second path lies 1 above the demonstration.
        assert!((found[1].dtw.unwrap() - 0.05).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn a_policy_that_runs_away_has_diverged() {
        let away = |obs: &[f32], _: u64| {
            Ok(obs.chunks_exact(6).flat_map(|o| [o[3] + 4.0, 0.0, o[3] + 8.0, 0.0, 0.0, 0.0]).collect())
        };
        let task = task();
        let paths = reproduce(&task, 3, away).unwrap();
        assert_eq!(paths[0].len(), 16);
        let found = judge(&task, &paths);
        assert_eq!((found[1].diverged, found[1].end_error, found[1].dtw), (2, None, None));
    }
}
