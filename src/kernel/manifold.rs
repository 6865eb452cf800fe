//! What the kernels on manifolds share: the parts of an action, and unit vectors in the twins.

use std::sync::Arc;

/// What the columns of a part are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PartKind {
    /// A vector space.
    Flat = 0,
    /// Unit vectors: S1 in two columns, S2 in three.
    Sphere = 1,
    /// Unit vectors of which v and -v are the same: rotations as quaternions.
    Projective = 2,
}

/// Columns `start .. start + len` of every action; at most [`MOST`] where they are curved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First column.
    pub start: usize,
    /// Columns.
    pub len: usize,
    /// What they are.
    pub kind: PartKind,
}

/// Most columns of a curved part.
pub const MOST: usize = 4;

/// An action's parts; together they are all its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    dim: usize,
    parts: Arc<[Part]>,
}

impl Parts {
    /// The parts of actions of `dim` values: the curved ones, and flat ones where these leave columns. `None` unless the curved parts
    /// lie within the action, one after another without overlap, and have 2 to [`MOST`] columns.
    pub fn new(dim: usize, curved: &[Part]) -> Option<Parts> {
        let (mut parts, mut end) = (Vec::new(), 0);
        let flat = |start, len| Part { start, len, kind: PartKind::Flat };
        for part in curved {
            if part.start < end || !(2..=MOST).contains(&part.len) || part.kind == PartKind::Flat {
                return None;
            }
            if part.start > end {
                parts.push(flat(end, part.start - end));
            }
            parts.push(*part);
            end = part.start.checked_add(part.len)?;
        }
        if end > dim || dim == 0 {
            return None;
        }
        if end < dim {
            parts.push(flat(end, dim - end));
        }
        Some(Parts { dim, parts: parts.into() })
    }

    /// Values of an action.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// In the order of their columns.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// As the kernels read them, [count, 3].
    pub fn table(&self) -> Vec<f32> {
        self.parts.iter().flat_map(|p| [p.start as f32, p.len as f32, p.kind as u32 as f32]).collect()
    }
}

/// A part as a twin reads it from the table: start, len, kind.
pub(super) fn part(table: &[f32], i: usize) -> [usize; 3] {
    [table[3 * i] as usize, table[3 * i + 1] as usize, table[3 * i + 2] as usize]
}

/// A unit vector, zeros behind its values.
pub(super) type Vector = [f32; MOST];

pub(super) fn vector(values: &[f32]) -> Vector {
    let mut v = [0.0; MOST];
    v[..values.len()].copy_from_slice(values);
    v
}

pub(super) fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
}

/// x a + y b.
pub(super) fn combine(x: f32, a: Vector, y: f32, b: Vector) -> Vector {
    std::array::from_fn(|i| x * a[i] + y * b[i])
}

/// v by its length; the first axis where there is no direction.
pub(super) fn unit(v: Vector) -> Vector {
    let square = dot(v, v);
    match square < 1e-30 {
        true => [1.0, 0.0, 0.0, 0.0],
        false => v.map(|x| x / square.sqrt()),
    }
}

/// A unit vector at a right angle to the unit vector a of `len` values.
pub(super) fn across(a: Vector, len: usize) -> Vector {
    let least = (1..len).fold(0, |l, i| if a[i].abs() < a[l].abs() { i } else { l });
    let mut e = [0.0; MOST];
    e[least] = 1.0;
    unit(combine(1.0, e, -dot(e, a), a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_action_and_do_not_overlap() {
        let curved = |start, len| Part { start, len, kind: PartKind::Sphere };
        let parts = Parts::new(9, &[curved(2, 3), curved(5, 2)]).unwrap();
        let spans: Vec<_> = parts.iter().map(|p| (p.start, p.len, p.kind as u32)).collect();
        assert_eq!(spans, [(0, 2, 0), (2, 3, 1), (5, 2, 1), (7, 2, 0)]);
        assert_eq!(parts.table().len(), 12);
        for bad in [&[curved(7, 3)][..], &[curved(0, 3), curved(2, 2)], &[curved(0, 5)], &[curved(0, 1)]] {
            assert!(Parts::new(9, bad).is_none(), "{bad:?}");
        }
        assert!(Parts::new(9, &[curved(usize::MAX, 3)]).is_none());
        assert!(Parts::new(0, &[]).is_none());
    }
}
