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

/// Continuous actions that often stand at their limit while the robot moves.
///
/// Not meant are pauses; 0, where what has no negative values rests; -1 and 1, the bounds of an action space in units of its own, where
/// what was executed is what stands there; and grippers, which are open or closed and seldom anything between.
pub fn saturated(rows: &Rows<'_>, columns: &[Column]) -> Vec<String> {
    let mut lines = Vec::new();
    for c in columns.iter().filter(|c| c.is_continuous() && !c.is_nearly_constant()) {
        let near = (c.range() * 1e-3) as f32;
        let (mut low, mut high, mut between, mut n) = (0usize, 0usize, 0usize, 0usize);
        for episode in &rows.episodes {
            for row in episode.rows.clone() {
                let x = rows.action[row * rows.action_dim + c.index];
                n += 1;
                let (at_low, at_high) = (x <= c.min + near, x >= c.max - near);
                between += usize::from(!(at_low || at_high));
                let moves = || row == episode.rows.start || !rows.repeats(row);
                low += usize::from(at_low && moves());
                high += usize::from(at_high && moves());
            }
        }
        let share = |count: usize| count as f64 / n.max(1) as f64;
        let bound = |x: f32, own: f32| x == 0.0 || x == own;
        let ends = [(c.min, low, -1.0), (c.max, high, 1.0)];
        let ends: Vec<_> =
            ends.into_iter().filter(|(x, count, own)| !bound(*x, *own) && share(*count) > 0.02).collect();
        let stands = share(ends.iter().map(|end| end.1).sum());
        let two_positions = share(between) < 0.1 && low.min(high) > 0;
        if stands > 0.2 && !two_positions {
            let which: Vec<String> = ends.iter().map(|end| number(end.0.into())).collect();
            let limits = if which.len() == 1 { "limit" } else { "limits" };
            lines.push(format!(
                "action {}: {:.0} % of the steps stand at the {limits} {}: what was commanded may have been clipped",
                c.label(),
                100.0 * stands,
                which.join(" and ")
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
