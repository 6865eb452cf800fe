//! Columns that carry nothing, or that a normaliser cannot take as it was asked to.

use std::ops::Range;

use serde::Serialize;

use super::inputs::ObsInput;
use super::scaling::is_constant;

/// What a column turns out to be when it is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// It never changes, or only by rounding: its scale is 0.
    Constant {
        /// Its value.
        value: f64,
    },
    /// It changes like noise, and by next to nothing beside the other columns of its input: its scale is 0.
    Noise {
        /// Its mean.
        value: f64,
        /// Its largest minus its smallest value.
        range: f64,
        /// The largest range among the columns of the same input.
        others: f64,
    },
    /// Its quantiles are so close that they give no scale: it is taken by min and max.
    Sparse {
        /// What 98 % of its values span.
        span: f64,
        /// Its largest minus its smallest value.
        range: f64,
    },
}

impl Finding {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Constant { .. } => "constant",
            Finding::Noise { .. } => "noise",
            Finding::Sparse { .. } => "sparse",
        }
    }
}

/// A finding and where it was made; as text, a line for a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnFinding {
    /// `obs` or `action`.
    pub array: &'static str,
    /// The dimension, from 0.
    pub index: usize,
    /// Its name, where known.
    pub name: Option<String>,
    /// What was found.
    pub finding: Finding,
}

impl std::fmt::Display for ColumnFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.array, self.index)?;
        if let Some(name) = &self.name {
            write!(f, " '{name}'")?;
        }
        match self.finding {
            Finding::Constant { value } if self.array == "action" => {
                write!(f, ": never changes: the policy always says {}", number(value))
            }
            Finding::Constant { value } => {
                write!(f, ": never changes from {}: the policy does not look at it", number(value))
            }
            Finding::Noise { value, range, others } => write!(
                f,
                ": changes by {} only, like noise about {}, where others change by {}: the policy does not look at it",
                number(range),
                number(value),
                number(others)
            ),
            Finding::Sparse { span, range } => write!(
                f,
                ": 98 % of the values lie within {}, all within {}: too far apart for quantile, so min_max is taken",
                number(span),
                number(range)
            ),
        }
    }
}

/// Largest part of the largest range of its input that noise has.
pub(super) const SMALL: f64 = 1e-5;
/// Below this correlation of one step with the next a column is noise.
const LIKE_NOISE: f64 = 0.3;

/// For each observation column whether it is noise about a constant: its range is at most 1e-5 of the largest among the
/// columns of the same named input, and a step says next to nothing about the one after it. Its own size does not count: a
/// joint that is locked at 0 has noise of a large relative size. `rows` are [T, dim], `episodes` the rows of each episode.
pub(crate) fn noise(
    rows: &[f32],
    dim: usize,
    episodes: &[Range<usize>],
    inputs: &[ObsInput],
) -> Vec<Option<Finding>> {
    let mut bounds = vec![(f64::INFINITY, f64::NEG_INFINITY); dim];
    for row in episodes.iter().cloned().flatten() {
        for (bound, x) in bounds.iter_mut().zip(&rows[row * dim..(row + 1) * dim]) {
            let x = f64::from(*x);
            if x.is_finite() {
                *bound = (bound.0.min(x), bound.1.max(x));
            }
        }
    }
    let mut found = vec![None; dim];
    let mut first = 0usize;
    for input in inputs {
        let columns = first..first.saturating_add(input.dim).min(dim);
        first = columns.end;
        let range = |c: usize| bounds[c].1 - bounds[c].0;
        let others = columns.clone().map(range).filter(|r| r.is_finite()).fold(0.0, f64::max);
        for c in columns {
            let range = range(c);
            let small =
                range.is_finite() && range <= SMALL * others && !is_constant(bounds[c].0, bounds[c].1);
            if small && let Some((value, correlation)) = successive(rows, dim, episodes, c) {
                let like_noise = correlation.abs() < LIKE_NOISE;
                found[c] = like_noise.then_some(Finding::Noise { value, range, others });
            }
        }
    }
    found
}

/// The mean of a column, and the correlation of its values with those one step later in the same episode.
fn successive(rows: &[f32], dim: usize, episodes: &[Range<usize>], column: usize) -> Option<(f64, f64)> {
    let value = |row: usize| f64::from(rows[row * dim + column]);
    let finite = || episodes.iter().cloned().flatten().map(value).filter(|x| x.is_finite());
    let count = finite().count();
    let mean = finite().sum::<f64>() / count.max(1) as f64;
    let (mut products, mut squares) = (0.0, 0.0);
    for episode in episodes {
        for row in episode.start + 1..episode.end {
            let (before, now) = (value(row - 1) - mean, value(row) - mean);
            if before.is_finite() && now.is_finite() {
                products += before * now;
                squares += (before * before + now * now) / 2.0;
            }
        }
    }
    (squares > 0.0).then(|| (mean, products / squares))
}

/// Four digits that count.
pub(crate) fn number(x: f64) -> String {
    let size = x.abs();
    match () {
        () if x == 0.0 => "0".into(),
        () if (1e-3..1e5).contains(&size) => {
            let decimals = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            let text = format!("{x:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        () => format!("{x:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::philox::fill_normal;

    /// Two episodes of 100 rows: a swing, noise of 1e-7, a slow drift of 1e-6, a constant; and an input of its own.
    fn rows(unit: f32) -> Vec<f32> {
        let mut noise = vec![0.0; 200];
        fill_normal(1, 1, 0, 0, &mut noise);
        let row = |t: usize| {
            let part = (t % 100) as f32;
            [(part * 0.1).sin(), 1e-7 * noise[t], 1e-8 * part, 0.5, 1e-7 * noise[199 - t]]
        };
        (0..200).flat_map(row).map(|x| x * unit).collect()
    }

    fn inputs() -> Vec<ObsInput> {
        vec![ObsInput { name: "state".into(), dim: 4 }, ObsInput { name: "force".into(), dim: 1 }]
    }

    #[test]
    fn noise_is_judged_by_the_other_columns_of_its_input() {
        for unit in [1.0, 1e-8, 1e6] {
            let found = noise(&rows(unit), 5, &[0..100, 100..200], &inputs());
            let names: Vec<_> = found.iter().map(|f| f.map(|f| f.name())).collect();
            // A drift is no noise, and the only column of an input has nothing to be judged by.
            assert_eq!(names, [None, Some("noise"), None, None, None], "{unit}");
        }
    }

    #[test]
    fn a_line_names_the_column_and_what_is_done() {
        let finding = Finding::Noise { value: 0.0, range: 6e-7, others: 2.0 };
        let line = ColumnFinding { array: "obs", index: 3, name: Some("wrist".into()), finding }.to_string();
        assert_eq!(
            line,
            "obs 3 'wrist': changes by 6.000e-7 only, like noise about 0, where others change by 2: the policy does not look at it"
        );
        let finding = Finding::Constant { value: 0.04 };
        let line = ColumnFinding { array: "action", index: 2, name: None, finding }.to_string();
        assert_eq!(line, "action 2: never changes: the policy always says 0.04");
    }
}
