//! Which of the sampled chunks go the same way: two clusters per observation, and how far they stand apart.

/// Chunks of one observation, seen as two groups.
pub struct Modes {
    /// 0 (the larger group) or 1, for each chunk.
    pub of: Vec<usize>,
    /// Distance of the groups' centres over the standard deviation within them, along the line between the centres
    /// (Ashman's D). Two halves of one Gaussian score 2.65, of a uniform spread 3.46.
    pub apart: f64,
    /// Mean distance of a chunk from the mean of all, per step, in the chunks' units.
    pub spread: f64,
}

impl Modes {
    /// Chunks in the smaller group.
    pub fn minority(&self) -> usize {
        self.of.iter().sum()
    }

    /// Whether the chunks go two ways: apart enough, and neither way a rarity.
    pub fn two(&self) -> bool {
        self.apart > 3.8 && 8 * self.minority() >= self.of.len()
    }

    /// Finds the groups among `chunks` [count, dim] of `horizon` steps: k-means with two centres, from the chunk that is
    /// farthest from the mean and the one that is farthest from it.
    pub fn find(chunks: &[f32], dim: usize, horizon: usize) -> Modes {
        let rows: Vec<&[f32]> = chunks.chunks_exact(dim).collect();
        let all = mean(rows.iter().copied(), dim);
        let farthest = |from: &[f64]| {
            rows.iter().copied().max_by(|a, b| distance(a, from).total_cmp(&distance(b, from)))
        };
        let wide = |row: Option<&[f32]>| {
            row.map_or_else(|| all.clone(), |r| r.iter().map(|v| f64::from(*v)).collect())
        };
        let first: Vec<f64> = wide(farthest(&all));
        let mut centres = [wide(farthest(&first)), first];
        let mut of = vec![0; rows.len()];
        for _ in 0..30 {
            let next: Vec<usize> = rows
                .iter()
                .map(|r| usize::from(distance(r, &centres[1]) < distance(r, &centres[0])))
                .collect();
            let done = next == of;
            of = next;
            for (k, centre) in centres.iter_mut().enumerate() {
                let own = rows.iter().zip(&of).filter(|(_, m)| **m == k).map(|(r, _)| *r);
                if own.clone().next().is_some() {
                    *centre = mean(own, dim);
                }
            }
            if done {
                break;
            }
        }
        let count = rows.len().max(1) as f64;
        let axis: Vec<f64> = centres[0].iter().zip(&centres[1]).map(|(a, b)| b - a).collect();
        let between = axis.iter().map(|v| v * v).sum::<f64>().sqrt();
        let along = |r: &[f32], centre: &[f64]| {
            let dot: f64 = r.iter().zip(centre).zip(&axis).map(|((v, c), a)| (f64::from(*v) - c) * a).sum();
            dot / between.max(1e-9)
        };
        // Variance of each group along the axis; the groups count alike.
        let mut variance = [0.0; 2];
        for (row, mode) in rows.iter().zip(&of) {
            let size = of.iter().filter(|m| *m == mode).count() as f64;
            variance[*mode] += along(row, &centres[*mode]).powi(2) / size;
        }
        let within = ((variance[0] + variance[1]) / 2.0).sqrt();
        let spread = rows.iter().map(|r| distance(r, &all)).sum::<f64>() / count / (horizon as f64).sqrt();
        if 2 * of.iter().sum::<usize>() > of.len() {
            of.iter_mut().for_each(|m| *m = 1 - *m);
        }
        Modes { of, apart: between / within.max(1e-9), spread }
    }
}

fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, dim: usize) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; dim], 0.0);
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        count += 1.0;
    }
    sum.iter_mut().for_each(|s| *s /= f64::max(count, 1.0));
    sum
}

fn distance(row: &[f32], centre: &[f64]) -> f64 {
    row.iter().zip(centre).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ways_are_told_from_one() {
        let wobble = |i: usize| (i * 37 % 11) as f32 - 5.0;
        let chunk = |i: usize, way: f32| [way, way + wobble(i), 2.0 * way, wobble(i + 3)];
        let two: Vec<f32> = (0..40).flat_map(|i| chunk(i, if i % 4 == 0 { 100.0 } else { 0.0 })).collect();
        let modes = Modes::find(&two, 4, 2);
        assert!(modes.two() && modes.minority() == 10, "{}", modes.apart);
        assert_eq!((modes.of[0], modes.of[1]), (1, 0));
        let one: Vec<f32> = (0..40).flat_map(|i| chunk(i, 0.0)).collect();
        assert!(!Modes::find(&one, 4, 2).two());
        // A single stray is no mode; equal chunks and no chunk do not divide by zero.
        let stray: Vec<f32> = (0..40).flat_map(|i| chunk(i, if i == 0 { 100.0 } else { 0.0 })).collect();
        assert!(!Modes::find(&stray, 4, 2).two());
        assert!(!Modes::find(&[1.0; 40], 4, 2).two() && !Modes::find(&[], 4, 2).two());
    }
}
