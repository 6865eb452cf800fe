//! Which normaliser serves a column with outliers: tried on its own numbers, and on the other columns of the same array.

use rayon::prelude::*;

use super::column::Column;
use crate::data::scaling::{NormKind, Scaling};

/// The largest |normalised value| that a column may get by advice.
const LARGEST: f32 = 20.0;
/// The least that 98 % of a column must span by advice, in normalised units (of [-1, 1] it is 2).
const LEAST: f64 = 0.2;

/// A normaliser that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Advice {
    /// Which.
    pub kind: NormKind,
    /// What 98 % of the column span by it, in normalised units.
    pub usual: f64,
    /// The column's largest |normalised value|.
    pub largest: f32,
}

/// All columns of an array by the kinds that may be advised.
pub(super) struct Tried(Vec<(NormKind, Vec<Option<Scaling>>)>);

impl Tried {
    /// Fits the columns of rows [T, dim]; values that are not finite are passed over.
    pub(super) fn all(rows: &[f32], dim: usize) -> Tried {
        let fit = |kind: NormKind, index: usize| {
            let values = rows.iter().skip(index).step_by(dim.max(1)).copied();
            let values: Vec<f32> = values.filter(|x| x.is_finite()).collect();
            (!values.is_empty()).then(|| Scaling::fit(kind, values))
        };
        let by = |kind| (kind, (0..dim).into_par_iter().map(|index| fit(kind, index)).collect());
        Tried([NormKind::Quantile, NormKind::MeanStd].map(by).into())
    }

    /// What serves a column better than min and max, if anything does: it is fitted as asked, 98 % of its values span at least
    /// twice as much, and no column of the array becomes huge.
    pub(super) fn better(&self, column: &Column) -> Option<Advice> {
        let span = column.q99 - column.q01;
        let by_range = 2.0 * span / column.range();
        self.0.iter().find_map(|(kind, scalings)| {
            let scaling = scalings.get(column.index).copied().flatten()?;
            let advice =
                Advice { kind: *kind, usual: span * f64::from(scaling.scale), largest: scaling.largest };
            let bounded = scalings.iter().flatten().all(|s| s.largest <= LARGEST);
            let serves = scaling.finding.is_none() && advice.usual >= LEAST.max(2.0 * by_range);
            (bounded && serves).then_some(advice)
        })
    }
}
