//! One dimension of the observations or actions in numbers.

use serde::Serialize;

use crate::data::scaling::{self, quantile};

/// Bars of a distribution.
pub const BARS: usize = 12;

/// A place in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Row over all episodes, from 0.
    pub row: usize,
    /// Episode, from 0; null where the episode lengths do not say.
    pub episode: Option<usize>,
    /// Step within it, from 0.
    pub step: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.episode, self.step) {
            (Some(episode), Some(step)) => write!(f, "episode {episode}, step {step}"),
            _ => write!(f, "row {}", self.row),
        }
    }
}

/// A dimension over all rows. Statistics are of its finite values and 0 where there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Its number, from 0.
    pub index: usize,
    /// Its name, where known.
    pub name: Option<String>,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub std: f64,
    /// 1 % quantile, interpolated linearly.
    pub q01: f64,
    /// 99 % quantile.
    pub q99: f64,
    /// How many different values there are, counted up to [`Column::MANY`].
    pub distinct: usize,
    /// Values that are NaN or infinite.
    pub not_finite: usize,
    /// The first of them.
    pub first_not_finite: Option<Place>,
    /// Share of the values in each of [`BARS`] equal parts of min to max.
    pub histogram: Vec<f32>,
}

impl Column {
    /// Where counting different values ends: more than this is a continuous dimension.
    pub const MANY: usize = 9;

    /// Measures a dimension: column `index` of rows [T, dim].
    pub fn of(
        data: &[f32],
        dim: usize,
        index: usize,
        name: Option<String>,
        place: impl Fn(usize) -> Place,
    ) -> Column {
        let values = || data.iter().skip(index).step_by(dim).copied();
        let mut sorted: Vec<f32> = values().filter(|x| x.is_finite()).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let not_finite = data.len() / dim - sorted.len();
        let first = values().position(|x| !x.is_finite()).filter(|_| not_finite > 0);
        let n = sorted.len().max(1) as f64;
        let mean = sorted.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = sorted.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let (min, max) = (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0));
        let mut distinct = sorted.clone();
        distinct.dedup();
        Column {
            index,
            name,
            min,
            max,
            mean,
            std: variance.sqrt(),
            q01: quantile(&sorted, 0.01),
            q99: quantile(&sorted, 0.99),
            distinct: distinct.len().min(Self::MANY),
            not_finite,
            first_not_finite: first.map(place),
            histogram: histogram(&sorted, min, max),
        }
    }

    /// `3 'elbow'`, or `3`.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{} '{name}'", self.index),
            None => self.index.to_string(),
        }
    }

    /// Largest minus smallest.
    pub fn range(&self) -> f64 {
        f64::from(self.max) - f64::from(self.min)
    }

    /// Whether it takes more than a few values.
    pub fn is_continuous(&self) -> bool {
        self.distinct >= Self::MANY
    }

    /// Whether it never changes, or only by rounding.
    pub fn is_constant(&self) -> bool {
        scaling::is_constant(self.min.into(), self.max.into())
    }

    /// Whether what changes is about what f32 can resolve.
    pub fn is_nearly_constant(&self) -> bool {
        let size = f64::from(self.min).abs().max(f64::from(self.max).abs());
        !self.is_constant() && self.range() <= 1e-5 * size
    }

    /// How far the extremes lie beyond the 1 and 99 % quantiles, in units of what lies between the two; infinite where nothing
    /// does.
    pub fn outlying(&self) -> f64 {
        let beyond = (f64::from(self.max) - self.q99).max(self.q01 - f64::from(self.min));
        match self.q99 - self.q01 {
            span if span > 0.0 => beyond / span,
            _ if beyond > 0.0 => f64::INFINITY,
            _ => 0.0,
        }
    }
}

fn histogram(sorted: &[f32], min: f32, max: f32) -> Vec<f32> {
    let mut bars = vec![0.0f32; BARS];
    let range = f64::from(max) - f64::from(min);
    for &x in sorted {
        let part = if range > 0.0 { (f64::from(x) - f64::from(min)) / range } else { 0.5 };
        bars[((part * BARS as f64) as usize).min(BARS - 1)] += 1.0;
    }
    let all = sorted.len().max(1) as f32;
    bars.iter_mut().for_each(|bar| *bar /= all);
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data: &[f32], dim: usize, index: usize) -> Column {
        Column::of(data, dim, index, None, |row| Place { row, episode: None, step: None })
    }

    #[test]
    fn statistics_hold() {
        let data: Vec<f32> = (0..=100).flat_map(|n| [n as f32, 5.0]).collect();
        let c = column(&data, 2, 0);
        assert_eq!((c.min, c.max, c.mean, c.q01, c.q99), (0.0, 100.0, 50.0, 1.0, 99.0));
        assert!((c.std - 29.154_759).abs() < 1e-6, "{}", c.std);
        assert!((c.outlying() - 1.0 / 98.0).abs() < 1e-12);
        assert_eq!((c.distinct, c.is_continuous(), c.is_constant()), (Column::MANY, true, false));
        assert!((c.histogram.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let c = column(&data, 2, 1);
        assert!(c.is_constant() && c.distinct == 1 && c.outlying() == 0.0 && !c.is_nearly_constant());
    }

    #[test]
    fn what_is_not_finite_is_counted_and_placed() {
        let c = column(&[1.0, f32::NAN, 3.0, f32::INFINITY], 1, 0);
        assert_eq!((c.not_finite, c.first_not_finite.unwrap().row, c.max), (2, 1, 3.0));
        let c = column(&[f32::NAN], 1, 0);
        assert_eq!((c.min, c.max, c.mean, c.std), (0.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn hardly_anything_is_nearly_constant() {
        assert!(column(&[1000.0, 1000.001], 1, 0).is_nearly_constant());
        assert!(!column(&[-1e-7, 1e-7], 1, 0).is_nearly_constant());
        assert!(column(&[[0.0; 500].as_slice(), &[1.0]].concat(), 1, 0).outlying().is_infinite());
    }
}
