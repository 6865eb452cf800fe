//! Episodes that are another one again, bit for bit.

use std::collections::HashMap;
use std::ops::Range;

use super::episodes::Episodes;

/// For each episode the first one that is equal to it in every bit: itself, or an earlier one. `arrays` are rows [T, dim].
pub(super) fn firsts(episodes: &[Range<usize>], arrays: [(&[f32], usize); 2]) -> Vec<usize> {
    let part = |(data, dim): (&'_ [f32], usize), r: &Range<usize>| -> Range<usize> {
        (r.start * dim).min(data.len())..(r.end * dim).min(data.len())
    };
    let same = |a: &Range<usize>, b: &Range<usize>| {
        a.len() == b.len()
            && arrays.iter().all(|&(data, dim)| {
                let (a, b) = (&data[part((data, dim), a)], &data[part((data, dim), b)]);
                a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
            })
    };
    let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut firsts = Vec::with_capacity(episodes.len());
    for (at, r) in episodes.iter().enumerate() {
        // A few rows tell most episodes apart; what they do not is compared.
        let mut hash = r.len() as u64;
        for row in [r.start, r.start + r.len() / 3, r.start + r.len() / 2, r.end.saturating_sub(1)] {
            for &(data, dim) in &arrays {
                for x in &data[part((data, dim), &(row..row + 1))] {
                    hash = (hash ^ u64::from(x.to_bits())).wrapping_mul(0x0100_0000_01b3);
                }
            }
        }
        let alike = seen.entry(hash).or_default();
        let first = alike.iter().copied().find(|&other| same(&episodes[other], r));
        if first.is_none() {
            alike.push(at);
        }
        firsts.push(first.unwrap_or(at));
    }
    firsts
}

impl Episodes {
    /// For each episode the first one that is equal to it in every bit, observations and actions: itself, or an earlier one.
    pub fn firsts(&self) -> Vec<usize> {
        let rows = self.starts().iter().zip(self.lengths());
        let episodes: Vec<Range<usize>> = rows.map(|(&start, &length)| start..start + length).collect();
        firsts(&episodes, [(self.obs(), self.obs_dim()), (self.action(), self.action_dim())])
    }
}

#[cfg(test)]
mod tests {
    use super::super::episodes::tests::sample;
    use super::*;

    #[test]
    fn copies_are_found_and_near_copies_are_not() {
        let mut arrays = sample();
        arrays.success = None;
        arrays.obs.extend_from_within(..);
        arrays.action.extend_from_within(..);
        arrays.lengths.extend_from_within(..);
        let all = |arrays| Episodes::from_arrays(arrays).unwrap().firsts();
        assert_eq!(all(arrays.clone()), [0, 1, 2, 0, 1, 2]);
        arrays.action[9] += 1.0;
        assert_eq!(all(arrays), [0, 1, 2, 3, 1, 2]);
    }
}
