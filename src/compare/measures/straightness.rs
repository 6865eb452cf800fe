//! How straight a flow is (Liu 2022).

use serde::{Deserialize, Serialize};

/// How straight the paths from noise to action are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Straightness {
    /// E int ||(x1 - x0) - dx/dt||^2 dt / E ||x1 - x0||^2: 0 for straight paths at constant speed, which one Euler step integrates
    /// exactly.
    pub deviation: f64,
    /// E of the path's length / E ||x1 - x0||: 1 for straight paths, whatever their speed.
    pub length_ratio: f64,
}

/// Of trajectories [rows, times, dim] at equally spaced times from 0 to 1, whose differences stand for the velocity; `None` without a
/// row or with fewer than two times.
pub fn straightness(trajectories: &[f32], times: usize, dim: usize) -> Option<Straightness> {
    if times < 2 || dim == 0 || trajectories.len() < times * dim {
        return None;
    }
    let steps = (times - 1) as f64;
    let (mut off, mut squares, mut length, mut chord) = (0.0, 0.0, 0.0, 0.0);
    for row in trajectories.chunks_exact(times * dim) {
        let points: Vec<&[f32]> = row.chunks_exact(dim).collect();
        let ends = difference(points[0], points[times - 1]);
        let square: f64 = ends.iter().map(|v| v * v).sum();
        squares += square;
        chord += square.sqrt();
        for pair in points.windows(2) {
            let step = difference(pair[0], pair[1]);
            length += step.iter().map(|v| v * v).sum::<f64>().sqrt();
            off += step.iter().zip(&ends).map(|(s, e)| (e - s * steps).powi(2)).sum::<f64>() / steps;
        }
    }
    (squares > 0.0).then(|| Straightness { deviation: off / squares, length_ratio: length / chord })
}

fn difference(from: &[f32], to: &[f32]) -> Vec<f64> {
    from.iter().zip(to).map(|(a, b)| f64::from(*b) - f64::from(*a)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_straight_and_a_detour_is_not() {
        let line = [0.0, 0.0, 1.0, 2.0, 2.0, 4.0];
        assert_eq!(straightness(&line, 3, 2), Some(Straightness { deviation: 0.0, length_ratio: 1.0 }));
        // Along two sides of a square: velocities (2, 0) and (0, 2) against (1, 1), so 2 / 2; length 2 over root 2.
        let corner = straightness(&[0.0, 0.0, 1.0, 0.0, 1.0, 1.0], 3, 2).unwrap();
        assert!((corner.deviation - 1.0).abs() < 1e-12);
        assert!((corner.length_ratio - 2f64.sqrt()).abs() < 1e-12);
        // Straight, but at two speeds: 0.5 and 1.5 against 1.
        let uneven = straightness(&[0.0, 0.25, 1.0], 3, 1).unwrap();
        assert!((uneven.deviation - 0.25).abs() < 1e-12 && (uneven.length_ratio - 1.0).abs() < 1e-12);
        assert_eq!(straightness(&[1.0, 1.0], 2, 1), None);
        assert_eq!(straightness(&[], 2, 1), None);
    }
}
