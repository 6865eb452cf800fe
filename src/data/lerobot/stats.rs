//! Statistics of features as lerobot computes them: per episode, quantiles from a histogram of 5,000 bins, then aggregated
//! with the episodes' lengths as weights (compute_stats.py of lerobot 0.4).

use serde_json::{Map, Value, json};

/// Quantiles that are kept, and their keys.
pub const QUANTILES: [(&str, f64); 5] =
    [("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)];
/// Bins of a histogram.
const BINS: usize = 5000;

/// Statistics per dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Smallest values.
    pub min: Vec<f64>,
    /// Largest values.
    pub max: Vec<f64>,
    /// Means.
    pub mean: Vec<f64>,
    /// Population standard deviations.
    pub std: Vec<f64>,
    /// Frames.
    pub count: usize,
    /// The [`QUANTILES`], each per dimension.
    pub quantiles: [Vec<f64>; 5],
}

impl Stats {
    /// Of one episode: rows [frames, dim], at least one, all finite.
    pub fn of(values: &[f64], dim: usize) -> Stats {
        let count = values.len() / dim;
        let mut stats = Stats {
            min: Vec::new(),
            max: Vec::new(),
            mean: Vec::new(),
            std: Vec::new(),
            count,
            quantiles: Default::default(),
        };
        for d in 0..dim {
            let column = || values.iter().skip(d).step_by(dim).copied();
            let n = count.max(1) as f64;
            let (min, max) =
                column().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
            let mean = column().sum::<f64>() / n;
            let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            stats.min.push(min);
            stats.max.push(max);
            stats.mean.push(mean);
            stats.std.push(variance.sqrt());
            let quantiles = match count {
                0 | 1 => [mean; 5],
                _ => quantiles(column(), min, max, count),
            };
            for (all, q) in stats.quantiles.iter_mut().zip(quantiles) {
                all.push(q);
            }
        }
        stats
    }

    /// Of several episodes: means and quantiles weighted by their lengths, variances by the parallel formula.
    pub fn aggregate(parts: &[Stats]) -> Option<Stats> {
        let first = parts.first()?;
        let dims = first.min.len();
        let count: usize = parts.iter().map(|part| part.count).sum();
        let weighted = |value: &dyn Fn(&Stats) -> f64| {
            parts.iter().map(|part| value(part) * part.count as f64).sum::<f64>() / count.max(1) as f64
        };
        let mut all = Stats { count, ..first.clone() };
        for d in 0..dims {
            all.min[d] = parts.iter().map(|part| part.min[d]).fold(f64::INFINITY, f64::min);
            all.max[d] = parts.iter().map(|part| part.max[d]).fold(f64::NEG_INFINITY, f64::max);
            let mean = weighted(&|part| part.mean[d]);
            all.mean[d] = mean;
            all.std[d] = weighted(&|part| part.std[d].powi(2) + (part.mean[d] - mean).powi(2)).sqrt();
            for q in 0..QUANTILES.len() {
                all.quantiles[q][d] = weighted(&|part| part.quantiles[q][d]);
            }
        }
        Some(all)
    }

    /// The statistics by key, in lerobot's order; `count` is apart, being one whole number.
    pub fn values(&self, quantiles: bool) -> Vec<(&'static str, &[f64])> {
        let mut all: Vec<(&'static str, &[f64])> =
            vec![("min", &self.min), ("max", &self.max), ("mean", &self.mean), ("std", &self.std)];
        if quantiles {
            all.extend(
                QUANTILES.iter().zip(&self.quantiles).map(|((key, _), values)| (*key, values.as_slice())),
            );
        }
        all
    }

    /// As stats.json has it.
    pub fn json(&self, quantiles: bool) -> Value {
        let mut out = Map::new();
        for (key, values) in self.values(quantiles) {
            out.insert(key.into(), json!(values));
        }
        out.insert("count".into(), json!([self.count]));
        Value::Object(out)
    }
}

/// Quantiles from a histogram between min and max, linear within a bin.
fn quantiles(column: impl Iterator<Item = f64>, min: f64, max: f64, count: usize) -> [f64; 5] {
    let (low, high) = (min - 1e-10, max + 1e-10);
    let width = (high - low) / BINS as f64;
    let edge = |at: usize| low + width * at as f64;
    let mut bins = vec![0usize; BINS];
    for x in column {
        // Where a bin is narrower than f64 resolves, the division may say anything.
        let at = ((x - low) / width) as usize;
        bins[at.min(BINS - 1)] += 1;
    }
    QUANTILES.map(|(_, q)| {
        let target = q * count as f64;
        let mut before = 0usize;
        for (at, n) in bins.iter().enumerate() {
            if (before + n) as f64 >= target {
                if at == 0 {
                    return edge(0);
                }
                let part = if *n == 0 { 0.0 } else { (target - before as f64) / *n as f64 };
                return edge(at) + part * width;
            }
            before += n;
        }
        edge(BINS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_spread_has_its_own_quantiles() {
        let values: Vec<f64> = (0..=10_000).flat_map(|n| [n as f64 / 10_000.0, 4.0]).collect();
        let stats = Stats::of(&values, 2);
        assert_eq!((stats.count, stats.min[0], stats.max[0], stats.std[1]), (10_001, 0.0, 1.0, 0.0));
        for (q, (_, share)) in QUANTILES.iter().enumerate() {
            assert!((stats.quantiles[q][0] - share).abs() < 1e-3, "{}", stats.quantiles[q][0]);
            assert!((stats.quantiles[q][1] - 4.0).abs() < 1e-9);
        }
    }

    #[test]
    fn parts_aggregate_to_the_whole() {
        let values: Vec<f64> = (0..60).map(|n| ((n * 37) % 60) as f64).collect();
        let whole = Stats::of(&values, 2);
        let parts = [Stats::of(&values[..20], 2), Stats::of(&values[20..], 2)];
        let all = Stats::aggregate(&parts).unwrap();
        assert_eq!((all.min, all.max, all.count), (whole.min, whole.max, 30));
        for d in 0..2 {
            assert!((all.mean[d] - whole.mean[d]).abs() < 1e-9 && (all.std[d] - whole.std[d]).abs() < 1e-9);
        }
        assert_eq!(Stats::aggregate(&[]), None);
        assert_eq!(Stats::of(&[3.0], 1).quantiles[0], [3.0]);
    }
}
