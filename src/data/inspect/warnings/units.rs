//! Data sets whose like columns are in different units.

use super::super::column::Column;
use super::super::rows::Rows;
use super::number;
use crate::data::choice::listed;
use crate::data::scaling::quantile;

/// Ranges that differ by more than this are said.
const FACTOR: f64 = 20.0;
/// Most values of a column and data set that are looked at.
const VALUES: usize = 20_000;

/// A column within one data set.
struct Size {
    /// Between the 1 and 99 % quantiles.
    span: f64,
    /// The larger of their sizes.
    most: f64,
    /// A usual step in units of the span: noise steps far, motion does not.
    roughness: f64,
}

/// Columns whose ranges differ between data sets by a factor that units explain.
pub fn units(rows: &Rows<'_>, [obs, action]: [&[Column]; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    for set in 1..rows.sets.len() {
        let mut differ: Vec<(f64, String)> = Vec::new();
        for (array, data, dim, columns) in
            [("obs", &rows.obs, rows.obs_dim, obs), ("action", &rows.action, rows.action_dim, action)]
        {
            for c in columns.iter().filter(|c| c.is_continuous()) {
                let size = |set: usize| measure(rows, data, [dim, c.index], set);
                let (Some(a), Some(b)) = (size(0), size(set)) else { continue };
                let [spans, sizes] = [a.span / b.span, a.most / b.most];
                let rough = a.roughness / b.roughness;
                let up = spans > FACTOR && sizes > FACTOR;
                let down = spans < 1.0 / FACTOR && sizes < 1.0 / FACTOR;
                // A joint that rests is small too, but what is left of it is noise.
                if (up || down) && (0.2..5.0).contains(&rough) {
                    differ.push((spans, format!("{array} {}", c.label())));
                }
            }
        }
        let Some(middle) = median(differ.iter().map(|d| d.0).collect()) else { continue };
        let (larger, smaller) = if middle > 1.0 { (0, set) } else { (set, 0) };
        let factor = middle.max(1.0 / middle);
        let which: Vec<String> = differ.into_iter().map(|d| d.1).collect();
        lines.push(format!(
            "{}: the values of {} are about {} times those of {}{}: bring the data sets to the same units",
            listed(&which),
            rows.sets[larger],
            number(if factor < 100.0 { (factor * 10.0).round() / 10.0 } else { factor.round() }),
            rows.sets[smaller],
            meant(factor)
        ));
    }
    lines
}

/// What a factor between units is, where it is one that people meet.
fn meant(factor: f64) -> &'static str {
    let near = |x: f64| (0.7..1.4).contains(&(factor / x));
    match () {
        () if near(180.0 / std::f64::consts::PI) => " (degrees and radians?)",
        () if near(1000.0) => " (metres and millimetres, or seconds and milliseconds?)",
        () => " (other units?)",
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A column within one data set; None where it does not move.
fn measure(rows: &Rows<'_>, data: &[f32], [dim, column]: [usize; 2], set: usize) -> Option<Size> {
    let of_set = || rows.episodes.iter().filter(|episode| episode.set == set);
    let count: usize = of_set().map(|episode| episode.rows.len()).sum();
    let stride = count.div_ceil(VALUES).max(1);
    let (mut values, mut steps) = (Vec::new(), Vec::new());
    for episode in of_set() {
        for row in episode.rows.clone().step_by(stride) {
            let x = data[row * dim + column];
            values.push(x);
            if row + 1 < episode.rows.end {
                steps.push((data[(row + 1) * dim + column] - x).abs());
            }
        }
    }
    values.sort_unstable_by(f32::total_cmp);
    let (low, high) = (quantile(&values, 0.01), quantile(&values, 0.99));
    let usual = steps.iter().map(|&x| f64::from(x)).sum::<f64>() / steps.len().max(1) as f64;
    let (span, most) = (high - low, low.abs().max(high.abs()));
    (span > 0.0 && usual > 0.0).then(|| Size { span, most, roughness: usual / span })
}
