//! Offset and scale of one column of the demonstrations, and what is to be said about the column.
//!
//! No number here has a unit: spans are compared with spans, so the same data in metres and in micrometres give the same
//! normalised values.

use serde::{Deserialize, Serialize};

use super::findings::Finding;

/// How statistics become an affine map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// 2 (x - min) / (max - min) - 1: to [-1, 1].
    MinMax,
    /// (x - mean) / std, population standard deviation.
    MeanStd,
    /// 2 (x - q01) / (q99 - q01) - 1, quantiles interpolated linearly as numpy's. A column of which 98 % lie in less than a
    /// twentieth of its range is taken by [`NormKind::MinMax`] instead.
    Quantile,
    /// x.
    Identity,
}

impl NormKind {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            NormKind::MinMax => "min_max",
            NormKind::MeanStd => "mean_std",
            NormKind::Quantile => "quantile",
            NormKind::Identity => "identity",
        }
    }
}

/// normalised = (x - offset) scale, of one column. A scale of 0: the column carries nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// In the column's unit.
    pub offset: f32,
    /// In 1 / the column's unit.
    pub scale: f32,
    /// The largest |normalised value| of the column.
    pub largest: f32,
    /// What is to be said about it.
    pub finding: Option<Finding>,
}

/// A few units in the last place of an f32, relative.
const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;

/// Whether values from `low` to `high` differ by no more than rounding.
pub(crate) fn is_constant(low: f64, high: f64) -> bool {
    high - low <= ROUNDING * low.abs().max(high.abs())
}

/// How often the span of its 98 % a column's range may be for the quantiles to be its scale.
const SPARSE: f64 = 20.0;

/// Whether a column's range is so many times what 98 % of its values span that quantiles are no scale.
pub(crate) fn is_sparse(range: f64, span: f64) -> bool {
    range > SPARSE * span
}

impl Scaling {
    /// A column that carries nothing and is `value` when it is denormalised.
    pub(crate) fn nothing(value: f64, finding: Option<Finding>) -> Scaling {
        Scaling { offset: value as f32, scale: 0.0, largest: 0.0, finding }
    }

    /// Fits a column, which is finite and not empty.
    pub(crate) fn fit(kind: NormKind, mut column: Vec<f32>) -> Scaling {
        let (low, high) = bounds(&column);
        let of = |offset: f64, scale: f64, finding: Option<Finding>| {
            let (offset, scale) = (offset as f32, scale as f32);
            let far = |x: f64| ((x as f32 - offset) * scale).abs();
            Scaling { offset, scale, largest: far(low).max(far(high)), finding }
        };
        if kind == NormKind::Identity {
            return of(0.0, 1.0, None);
        }
        // What varies by no more than rounding is constant too: its scale would blow up what later differs.
        if is_constant(low, high) {
            let value = (low + high) / 2.0;
            return Scaling::nothing(value, Some(Finding::Constant { value }));
        }
        let min_max = |finding| of((low + high) / 2.0, 2.0 / (high - low), finding);
        match kind {
            NormKind::Identity | NormKind::MinMax => min_max(None),
            NormKind::MeanStd => {
                let count = column.len() as f64;
                let mean = column.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
                let variance = column.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
                of(mean, 1.0 / variance.sqrt(), None)
            }
            NormKind::Quantile => {
                column.sort_unstable_by(f32::total_cmp);
                let (q01, q99) = (quantile(&column, 0.01), quantile(&column, 0.99));
                let (range, span) = (high - low, q99 - q01);
                match is_sparse(range, span) {
                    true => min_max(Some(Finding::Sparse { span, range })),
                    false => of(q01 + span / 2.0, 2.0 / span, None),
                }
            }
        }
    }
}

/// Smallest and largest value.
pub(crate) fn bounds(column: &[f32]) -> (f64, f64) {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    column.iter().fold(start, |(low, high), &x| (low.min(x.into()), high.max(x.into())))
}

/// A quantile of sorted values, interpolated linearly as numpy's; 0 of none.
pub(crate) fn quantile(sorted: &[f32], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q * last as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let (a, b) = (f64::from(sorted[low.min(last)]), f64::from(sorted[(low + 1).min(last)]));
    a + (b - a) * part
}
