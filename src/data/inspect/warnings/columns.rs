//! What a dimension on its own says: values that are not numbers, that never change, or that lie far out.

use super::super::advice::Tried;
use super::super::column::Column;
use super::super::rows::Rows;
use crate::data::findings::number;
use crate::data::findings::{self, ColumnFinding, Finding};
use crate::data::inputs::ObsInput;
use crate::data::scaling::is_sparse;

pub fn not_finite(rows: &Rows<'_>, array: &str, columns: &[Column]) -> Vec<String> {
    let bad = columns.iter().filter_map(|c| c.first_not_finite.map(|place| (c, place)));
    bad.map(|(c, place)| {
        let values = if c.not_finite == 1 { "value is" } else { "values are" };
        format!(
            "{array} {}: {} {values} NaN or infinite, first at {}",
            c.label(),
            c.not_finite,
            rows.at(place.row)
        )
    })
    .collect()
}

/// Columns that never change.
pub fn constant(array: &str, columns: &[Column]) -> Vec<String> {
    let still = |c: &&Column| c.not_finite == 0 && c.is_constant() && !is_far(columns, c);
    let which: Vec<&Column> = columns.iter().filter(still).collect();
    if which.is_empty() {
        return Vec::new();
    }
    let what = match array {
        "obs" => "constant: remove it; the policy does not look at it",
        _ => "constant: the policy always says this value",
    };
    vec![format!("{array} {} {what}", labels(&which))]
}

/// Observations that are noise about a constant: the normaliser does not show them to the network.
pub fn noise(rows: &Rows<'_>, inputs: &[ObsInput], columns: &[Column]) -> Vec<ColumnFinding> {
    let episodes: Vec<_> = rows.episodes.iter().map(|episode| episode.rows.clone()).collect();
    let lone = ObsInput::state(rows.obs_dim);
    let inputs = if inputs.is_empty() { &lone } else { inputs };
    let found = findings::noise(&rows.obs, rows.obs_dim, &episodes, inputs);
    let of = |(c, finding): (&Column, Option<Finding>)| {
        finding.map(|finding| ColumnFinding { array: "obs", index: c.index, name: c.name.clone(), finding })
    };
    columns.iter().zip(found).filter_map(of).collect()
}

/// How many times the largest range of its array a column is away from 0, that its digits are thought to be lost rather than that it
/// rests.
const FAR: f64 = 100.0;

/// Whether a column changes by about what single precision can resolve, so far away from 0 that it must be its offset that matters.
fn is_far(columns: &[Column], c: &Column) -> bool {
    let range = columns.iter().filter(|c| c.not_finite == 0).map(Column::range).fold(0.0, f64::max);
    let size = f64::from(c.min.abs().max(c.max.abs()));
    c.min != c.max && c.range() <= 1e-5 * size && size > FAR * range
}

/// Columns of which single precision keeps next to nothing, because they are so far from 0.
pub fn precision(array: &str, columns: &[Column]) -> Vec<String> {
    let far = |c: &&Column| c.not_finite == 0 && is_far(columns, c);
    let line = |c: &Column| {
        let size = f64::from(c.min.abs().max(c.max.abs()));
        // Single-precision floats are a power of two apart, 2^23 times below the one that they begin with.
        let step = 2f64.powi(size.log2().floor() as i32 - 23);
        format!(
            "{array} {}: moves by {} at a size of {}, where float32 keeps steps of {}: take the offset off before it is stored",
            c.label(),
            number(c.range()),
            number(size),
            number(step)
        )
    };
    columns.iter().filter(far).map(line).collect()
}

/// Extremes so far out that min-max normalisation squeezes the rest, with a normaliser that was seen to serve better, if any.
pub fn outliers(array: &str, columns: &[Column], rows: &[f32], noise: &[ColumnFinding]) -> Vec<String> {
    let noise = |c: &Column| noise.iter().any(|n| n.array == array && n.index == c.index);
    let mut worst: Vec<&Column> = columns
        .iter()
        .filter(|c| c.is_continuous() && !c.is_nearly_constant() && !noise(c) && c.outlying() > 5.0)
        .collect();
    if worst.is_empty() {
        return Vec::new();
    }
    worst.sort_by(|a, b| b.outlying().total_cmp(&a.outlying()));
    let tried = Tried::all(rows, columns.len());
    let line = |c: &&Column| {
        let (label, range, span) = (c.label(), c.range(), c.q99 - c.q01);
        let [low, high, q01, q99] = [c.min.into(), c.max.into(), c.q01, c.q99].map(number);
        let quantile = match is_sparse(range, span) {
            true => "; for quantile they are too far out, min_max is taken in its place",
            false => "",
        };
        if c.outlying().is_infinite() {
            return format!(
                "{array} {label}: 98 % of the values are {q01}, the others reach from {low} to {high}: clean them if they are \
                 glitches{quantile}"
            );
        }
        let squeezed = 100.0 * span / range;
        let way = match tried.better(c) {
            Some(advice) => format!(
                "or use {array}_normalizer = \"{}\", by which 98 % span {} of -1 to 1 and the largest value is {}",
                advice.kind.name(),
                number(advice.usual),
                number(advice.largest.into())
            ),
            None => format!("no normaliser serves both them and the rest{quantile}"),
        };
        format!(
            "{array} {label}: outliers: 98 % of the values take up {squeezed:.1} % of min to max ({q01} to {q99} of {low} to \
             {high}): clean them if they are glitches, {way}"
        )
    };
    worst.iter().map(line).collect()
}

/// Continuous actions that often stand at their limit.
pub fn saturated(rows: &Rows<'_>, columns: &[Column]) -> Vec<String> {
    let mut lines = Vec::new();
    for c in columns.iter().filter(|c| c.is_continuous() && !c.is_nearly_constant()) {
        let near = (c.range() * 1e-3) as f32;
        let values = rows.action.iter().skip(c.index).step_by(rows.action_dim);
        let (mut low, mut high, mut n) = (0usize, 0usize, 0usize);
        for x in values.filter(|x| x.is_finite()) {
            n += 1;
            low += usize::from(*x <= c.min + near);
            high += usize::from(*x >= c.max - near);
        }
        let share = (low + high) as f64 / n.max(1) as f64;
        if share > 0.2 {
            lines.push(format!(
                "action {}: {:.0} % of the steps stand at the limits {} and {}: what was commanded may have been clipped",
                c.label(), 100.0 * share, number(c.min.into()), number(c.max.into())
            ));
        }
    }
    lines
}

/// `4, 7 'wrist' and 9`, shortened where there are many.
fn labels(columns: &[&Column]) -> String {
    let shown: Vec<String> = columns.iter().take(8).map(|c| c.label()).collect();
    let more = columns.len() - shown.len();
    let text = shown.join(", ");
    if more > 0 { format!("{text} and {more} more:") } else { format!("{text}:") }
}
