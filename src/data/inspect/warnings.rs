//! What ruins training, each as a line that says what to do.

use std::collections::HashMap;

use serde::Serialize;

use super::advice::Tried;
use super::column::Column;
use super::{Report, Rows};
use crate::data::error::DataError;
use crate::data::findings::{self, ColumnFinding, Finding, number};
use crate::data::scaling::is_sparse;
use crate::data::source::Source;

/// Most lines of one kind; the last says how many more there are.
const MOST: usize = 5;

/// A danger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// What kind: `nan`, `constant`, `outliers`, `short`, ...
    pub kind: &'static str,
    /// Whether training refuses such data.
    pub fatal: bool,
    /// A line for a person.
    pub text: String,
}

/// All of them, the fatal ones first.
pub fn all(
    source: &Source,
    structure: Option<&DataError>,
    rows: &Rows<'_>,
    report: &Report,
    horizon: usize,
) -> Vec<Warning> {
    let mut found = Found(Vec::new());
    if let Some(error) = structure {
        found.fatal("structure", vec![error.to_string()]);
    }
    let faults: Vec<String> = source.faults.iter().map(DataError::to_string).collect();
    found.limited("times", true, faults, source.fault_count);
    let of =
        |fatal: bool| source.cautions.iter().filter(move |c| c.is_fatal() == fatal).map(|c| c.to_string());
    found.fatal("precision", of(true).collect());
    found.add("precision", of(false).collect());
    let both = [("obs", &report.obs), ("action", &report.action)];
    for (array, columns) in both {
        found.fatal("nan", not_finite(array, columns));
    }
    found.fatal("short", short(source, horizon));
    let noisy = noise(rows, report);
    for (array, columns) in both {
        found.add("constant", constant(array, columns, &noisy));
        let values = if array == "obs" { &source.arrays.obs } else { &source.arrays.action };
        found.add("outliers", outliers(array, columns, values, &noisy));
    }
    found.add("noise", noisy.iter().map(ColumnFinding::to_string).collect());
    found.add("jumps", jumps(rows, &report.action));
    found.add("saturated", saturated(rows, &report.action));
    found.add("following", following(report));
    found.add("duplicates", duplicates(rows));
    found.add("success", success(report));
    if report.fps.is_none() {
        let text = "fps is not said: a policy will not know its control rate; set [data] fps";
        found.add("fps", vec![text.into()]);
    }
    found.0.sort_by_key(|warning| !warning.fatal);
    found.0
}

struct Found(Vec<Warning>);

impl Found {
    fn add(&mut self, kind: &'static str, texts: Vec<String>) {
        let count = texts.len();
        self.limited(kind, false, texts, count);
    }

    fn fatal(&mut self, kind: &'static str, texts: Vec<String>) {
        let count = texts.len();
        self.limited(kind, true, texts, count);
    }

    fn limited(&mut self, kind: &'static str, fatal: bool, texts: Vec<String>, count: usize) {
        let shown = if count > MOST { MOST - 1 } else { count };
        self.0.extend(texts.into_iter().take(shown).map(|text| Warning { kind, fatal, text }));
        if count > shown {
            self.0.push(Warning { kind, fatal, text: format!("and {} more like these", count - shown) });
        }
    }
}

fn not_finite(array: &str, columns: &[Column]) -> Vec<String> {
    let bad = columns.iter().filter_map(|c| c.first_not_finite.map(|place| (c, place)));
    bad.map(|(c, place)| {
        let values = if c.not_finite == 1 { "value is" } else { "values are" };
        format!("{array} {}: {} {values} NaN or infinite, first at {place}", c.label(), c.not_finite)
    })
    .collect()
}

fn short(source: &Source, horizon: usize) -> Vec<String> {
    let lengths = &source.arrays.lengths;
    let short: Vec<usize> = (0..lengths.len()).filter(|&episode| lengths[episode] < horizon).collect();
    let Some(&first) = short.first() else { return Vec::new() };
    vec![format!(
        "{} of {} episodes are shorter than the horizon {horizon} (first: episode {first}, {} steps): leave them out, or take \
         a shorter horizon",
        short.len(),
        lengths.len(),
        lengths[first]
    )]
}

fn constant(array: &str, columns: &[Column], noise: &[ColumnFinding]) -> Vec<String> {
    let mut lines = Vec::new();
    let still = match array {
        "obs" => "never changes: it carries nothing, and the policy does not look at it",
        _ => "never changes: the policy always says this value",
    };
    let nearly = "changes by less than 1e-5 of its size: the normaliser will blow up noise";
    for (test, text) in
        [(Column::is_constant as fn(&Column) -> bool, still), (Column::is_nearly_constant, nearly)]
    {
        let noise = |c: &Column| noise.iter().any(|n| n.array == array && n.index == c.index);
        let which: Vec<&Column> =
            columns.iter().filter(|c| c.not_finite == 0 && test(c) && !noise(c)).collect();
        if !which.is_empty() {
            lines.push(format!("{array} {} {text}", labels(&which)));
        }
    }
    lines
}

/// Observation columns that are noise about a constant.
fn noise(rows: &Rows<'_>, report: &Report) -> Vec<ColumnFinding> {
    let found = findings::noise(rows.obs, rows.obs_dim, &rows.episodes, &report.obs_inputs);
    let of = |(c, finding): (&Column, Option<Finding>)| {
        finding.map(|finding| ColumnFinding { array: "obs", index: c.index, name: c.name.clone(), finding })
    };
    report.obs.iter().zip(found).filter_map(of).collect()
}

/// Extremes so far out that min-max normalisation squeezes the rest, with a normaliser that was seen to serve better, if any.
fn outliers(array: &str, columns: &[Column], rows: &[f32], noise: &[ColumnFinding]) -> Vec<String> {
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

/// Steps of the action that are far larger than its usual ones.
fn jumps(rows: &Rows<'_>, columns: &[Column]) -> Vec<String> {
    let mut found = Vec::new();
    for c in columns.iter().filter(|c| c.is_continuous()) {
        let value = |row: usize| rows.action[row * rows.action_dim + c.index];
        let pairs = rows.episodes.iter().flat_map(|episode| episode.start + 1..episode.end);
        let steps =
            pairs.map(|row| (row, (value(row) - value(row - 1)).abs())).filter(|step| step.1.is_finite());
        let Some((row, largest)) = steps.clone().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        let mut sizes: Vec<f32> = steps.map(|step| step.1).collect();
        sizes.sort_unstable_by(f32::total_cmp);
        let usual = crate::data::scaling::quantile(&sizes, 0.99);
        let largest = f64::from(largest);
        if largest > 10.0 * usual && largest > 0.25 * c.range() {
            let (label, place) = (c.label(), rows.place(row));
            let text = format!(
                "action {label}: jumps by {} at {place}, where 99 % of the steps are below {}: a glitch, or a cut inside an \
                 episode?",
                number(largest),
                number(usual)
            );
            found.push((largest / c.range(), text));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, text)| text).collect()
}

/// Continuous actions that often stand at their limit.
fn saturated(rows: &Rows<'_>, columns: &[Column]) -> Vec<String> {
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

fn following(report: &Report) -> Vec<String> {
    let Some(f) = &report.following else { return Vec::new() };
    let steps = |n: usize| match report.fps {
        Some(fps) => format!("{n} step{} ({:.2} s)", if n == 1 { "" } else { "s" }, n as f64 / fps),
        None => format!("{n} step{}", if n == 1 { "" } else { "s" }),
    };
    let exact = f.distance < 1e-4;
    match f.lag {
        0 if exact => vec![
            "the action is the current state: a policy would learn to stay where it is; take the commanded action, or the \
             state some steps later"
                .into(),
        ],
        1 if exact => vec![
            "the action is the next state: no command was recorded, and a robot that follows with a delay will lag behind"
                .into(),
        ],
        lag if exact => vec![format!("the action is the state {} later", steps(lag))],
        lag if lag >= 2 && f.distance < 0.9 * f.distance_now => vec![format!(
            "the state follows the action {} later: a delay that the policy must know from its history",
            steps(lag)
        )],
        _ => Vec::new(),
    }
}

/// Frames that repeat the one before, and episodes that repeat another.
fn duplicates(rows: &Rows<'_>) -> Vec<String> {
    let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let obs = |row: usize| &rows.obs[row * rows.obs_dim..(row + 1) * rows.obs_dim];
    let action = |row: usize| &rows.action[row * rows.action_dim..(row + 1) * rows.action_dim];
    let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
    let mut lines = Vec::new();
    let pairs = rows.episodes.iter().flat_map(|episode| episode.start + 1..episode.end);
    let repeats: Vec<usize> =
        pairs.filter(|&row| same(obs(row), obs(row - 1)) && same(action(row), action(row - 1))).collect();
    if let Some(&first) = repeats.first() {
        let share = 100.0 * repeats.len() as f64 / rows.count.max(1) as f64;
        let frames = if repeats.len() == 1 { "frame repeats" } else { "frames repeat" };
        lines.push(format!(
            "{} {frames} the one before in every value ({share:.2} %), first at {}: pauses, or a recorder that stalled",
            repeats.len(),
            rows.place(first)
        ));
    }
    let mut seen: HashMap<Vec<u32>, usize> = HashMap::new();
    for (episode, range) in rows.episodes.iter().enumerate() {
        let (Some(first), Some(last)) = (range.clone().next(), range.clone().next_back()) else { continue };
        let key = [bits(obs(first)), bits(action(first)), bits(obs(last)), vec![range.len() as u32]].concat();
        match seen.get(&key) {
            Some(&other) if equal(rows, &rows.episodes[other], range) => {
                lines
                    .push(format!("episode {episode} is episode {other} again: the same data counted twice"));
            }
            Some(_) => {}
            None => drop(seen.insert(key, episode)),
        }
    }
    lines
}

fn equal(rows: &Rows<'_>, a: &std::ops::Range<usize>, b: &std::ops::Range<usize>) -> bool {
    let part = |data: &[f32], dim: usize, range: &std::ops::Range<usize>| -> Vec<u32> {
        data[range.start * dim..range.end * dim].iter().map(|x| x.to_bits()).collect()
    };
    part(rows.obs, rows.obs_dim, a) == part(rows.obs, rows.obs_dim, b)
        && part(rows.action, rows.action_dim, a) == part(rows.action, rows.action_dim, b)
}

fn success(report: &Report) -> Vec<String> {
    match report.success {
        Some(share) if share < 1.0 => {
            let failed = ((1.0 - share) * report.episodes as f64).round();
            vec![format!(
                "{failed} of {} episodes did not succeed: --successful-only leaves them out, or the policy learns them too",
                report.episodes
            )]
        }
        _ => Vec::new(),
    }
}

/// `4, 7 'wrist' and 9`, shortened where there are many.
fn labels(columns: &[&Column]) -> String {
    let shown: Vec<String> = columns.iter().take(8).map(|c| c.label()).collect();
    let more = columns.len() - shown.len();
    let text = shown.join(", ");
    if more > 0 { format!("{text} and {more} more:") } else { format!("{text}:") }
}
