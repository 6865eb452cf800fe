//! Manifolds that parts of an action lie on, in coordinates that robots use.
//!
//! | kind | columns of an action | noise |
//! |---|---|---|
//! | `s1` | cosine and sine of an angle | uniform |
//! | `s2` | a direction, as a unit vector | uniform |
//! | `so3` | a rotation, as a unit quaternion; either order of its values, q and -q are the same | uniform (Haar) |
//! | `se3` | a position (3), then a rotation (4) | standard normal, uniform |
//!
//! The metric of se3 is the product's, as in frame flows (Yim 2023): a geodesic moves straight and turns at a constant rate. All of
//! them are spheres of unit vectors (of SO(3): up to sign), so one set of kernels serves them
//! ([`geodesic`](crate::kernel::geodesic), [`manifold_dot`](crate::kernel::manifold_dot), [`manifold_exp`](crate::kernel::manifold_exp)).

use super::{FlowError, Result};
use crate::kernel::manifold::{Part, PartKind, Parts};
use serde::{Deserialize, Serialize};

/// A manifold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manifold {
    /// The circle: [cos, sin].
    S1,
    /// The sphere of directions: unit vectors of three values.
    S2,
    /// Rotations: unit quaternions.
    So3,
    /// Poses: a position and a unit quaternion.
    Se3,
}

/// Where in an action a manifold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Which one.
    pub kind: Manifold,
    /// Its first column, from 0.
    pub at: usize,
}

impl Placement {
    /// Its curved columns. `None` if they are past what can be counted.
    fn curved(self) -> Option<Part> {
        let part = |start, len, kind| Some(Part { start, len, kind });
        match self.kind {
            Manifold::S1 => part(self.at, 2, PartKind::Sphere),
            Manifold::S2 => part(self.at, 3, PartKind::Sphere),
            Manifold::So3 => part(self.at, 4, PartKind::Projective),
            Manifold::Se3 => part(self.at.checked_add(3)?, 4, PartKind::Projective),
        }
    }
}

/// The parts of actions of `dim` values of which some lie on manifolds; what is left is flat.
///
/// # Errors
/// [`FlowError::Manifolds`] unless they lie within an action, in the order of their columns and without overlap.
pub fn parts(manifolds: &[Placement], dim: usize) -> Result<Parts> {
    let error = || FlowError::Manifolds { found: manifolds.to_vec(), dim };
    // A pose's position is its own, though flat.
    let apart = manifolds.windows(2).all(|w| {
        let end = w[0].curved().map_or(usize::MAX, |p| p.start.saturating_add(p.len));
        end <= w[1].at
    });
    let curved: Option<Vec<Part>> = manifolds.iter().map(|m| m.curved()).collect();
    match curved.filter(|_| apart) {
        Some(curved) => Parts::new(dim, &curved).ok_or_else(error),
        None => Err(error()),
    }
}

/// Gives the quaternions of a chunk of actions the signs that make each the nearer one to that of the action before; the first action's
/// largest value becomes positive. The rotations stay what they are.
pub fn align(parts: &Parts, chunk: &mut [f32]) {
    let dim = parts.dim();
    for part in parts.iter().filter(|p| p.kind == PartKind::Projective) {
        for at in (0..chunk.len() / dim).map(|n| n * dim + part.start) {
            let (before, now) = chunk.split_at_mut(at);
            let now = &mut now[..part.len];
            let side: f32 = match at.checked_sub(dim) {
                Some(last) => now.iter().zip(&before[last..]).map(|(a, b)| a * b).sum(),
                None => now.iter().fold(0.0, |m: f32, v| if v.abs() > m.abs() { *v } else { m }),
            };
            if side < 0.0 {
                now.iter_mut().for_each(|v| *v = -*v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kind: Manifold, at: usize) -> Placement {
        Placement { kind, at }
    }

    #[test]
    fn a_pose_is_a_flat_and_a_curved_part() {
        let found = parts(&[place(Manifold::Se3, 0)], 8).unwrap();
        let spans: Vec<_> = found.iter().map(|p| (p.start, p.len, p.kind)).collect();
        assert_eq!(spans, [(0, 3, PartKind::Flat), (3, 4, PartKind::Projective), (7, 1, PartKind::Flat)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for bad in [
            &[place(Manifold::Se3, 2)][..],
            &[place(Manifold::S1, 0), place(Manifold::Se3, 1)],
            &[place(Manifold::S2, 0), place(Manifold::Se3, 2)],
            &[place(Manifold::So3, 4), place(Manifold::S1, 0)],
            &[place(Manifold::Se3, usize::MAX - 1)],
        ] {
            let said = parts(bad, 8).unwrap_err().to_string();
            assert!(said.contains("8 values"), "{said}");
        }
    }

    #[test]
    fn signs_follow_each_other() {
        let parts = parts(&[place(Manifold::So3, 1)], 5).unwrap();
        let mut chunk = vec![9.0, 0.0, -0.6, 0.0, 0.8, -9.0, 0.0, -0.8, 0.0, 0.6, 5.0, 0.0, 1.0, 0.0, 0.0];
        chunk[2] = -0.6;
        align(&parts, &mut chunk);
        let want = [9.0, 0.0, -0.6, 0.0, 0.8, -9.0, 0.0, -0.8, 0.0, 0.6, 5.0, 0.0, -1.0, 0.0, 0.0];
        assert_eq!(chunk, want);
    }
}
