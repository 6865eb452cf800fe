//! What ruins training, each as a line that says what to do: the one place of warnings, for `advect data inspect` and
//! `advect train` alike.

mod columns;
mod copies;
mod following;
mod motion;
mod tasks;
mod units;

use serde::Serialize;

use super::column::Column;
use super::follow;
use super::rows::{Rows, Set};
use super::{Purpose, columns as measure};
use crate::data::choice::listed;
use crate::data::episodes::Episodes;
use crate::data::error::DataError;
use crate::data::findings::number;
use crate::data::join::agree;
use crate::data::narrow::Narrowed;
use crate::data::source::Caution;

/// Most lines of one kind; the last says how many more there are.
const MOST: usize = 5;

/// Kinds by what they cost who passes over them, the worst first. Within a kind the order is that of the finding.
const RANKS: [&str; 20] = [
    "structure",
    "sets",
    "times",
    "nan",
    "tasks",
    "units",
    "wraps",
    "ends",
    "precision",
    "following",
    "offset",
    "copies",
    "jumps",
    "constant",
    "noise",
    "outliers",
    "saturated",
    "duplicates",
    "success",
    "short",
];

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

/// The worst warnings as lines, at most `most`; the last says how many there are beside them and where to see them.
pub fn screenful(warnings: &[Warning], most: usize) -> Vec<String> {
    let shown = if warnings.len() > most { most.saturating_sub(1) } else { warnings.len() };
    let mut lines: Vec<String> = warnings[..shown].iter().map(|warning| warning.text.clone()).collect();
    if warnings.len() > shown {
        lines.push(format!("and {} more: advect data inspect shows all", warnings.len() - shown));
    }
    lines
}

/// All of them, the fatal ones first. Data sets that do not fit together are judged one by one.
pub fn all(sets: &[Set<'_>], purpose: &Purpose) -> Vec<Warning> {
    let mut found = Found(Vec::new());
    for set in sets {
        let of_set = |text: String| if set.name.is_empty() { text } else { format!("{}: {text}", set.name) };
        match Episodes::structure(&set.source.arrays, set.source.names()) {
            // Left out, as all that are too short.
            Ok(()) | Err(DataError::EmptyEpisode { .. }) => {}
            Err(error) => found.fatal("structure", vec![of_set(error.to_string())]),
        }
        let faults = set.source.faults.iter().map(|fault| of_set(fault.to_string())).collect();
        found.limited("times", true, faults, set.source.fault_count);
        for caution in &set.source.cautions {
            let kind = if matches!(caution, Caution::Times { .. }) { "times" } else { "precision" };
            let text = vec![of_set(caution.to_string())];
            if caution.is_fatal() { found.fatal(kind, text) } else { found.add(kind, text) }
        }
    }
    let disagree = sets.iter().skip(1).find_map(|set| {
        agree(sets[0].name, &sets[0].source.arrays, set.name, &set.source.arrays).err().map(|e| e.to_string())
    });
    match disagree {
        None => together(sets, purpose, &mut found),
        Some(text) => {
            found.fatal("sets", vec![text]);
            for set in sets {
                let mut own = Found(Vec::new());
                together(std::slice::from_ref(set), purpose, &mut own);
                let named =
                    own.0.into_iter().map(|w| Warning { text: format!("{}: {}", set.name, w.text), ..w });
                found.0.extend(named);
            }
        }
    }
    let rank = |kind: &str| RANKS.iter().position(|k| *k == kind).unwrap_or(RANKS.len());
    found.0.sort_by_key(|warning| (!warning.fatal, rank(warning.kind)));
    found.0
}

/// What the rows of data sets that agree say, and their episodes.
fn together(sets: &[Set<'_>], purpose: &Purpose, found: &mut Found) {
    let rows = Rows::of(sets);
    let Some(first) = sets.first().map(|set| &set.source.arrays) else { return };
    let names = |of: fn(&crate::data::EpisodeArrays) -> &Option<Vec<String>>| {
        sets.iter().find_map(|set| of(&set.source.arrays).as_ref())
    };
    let (obs_names, action_names) = (names(|a| &a.obs_names), names(|a| &a.action_names));
    let obs = measure(&rows, &rows.obs, first.obs_dim, obs_names);
    let action = measure(&rows, &rows.action, first.action_dim, action_names);
    let slices = [obs_names, action_names].map(|names| names.map(Vec::as_slice));
    let fps = first.fps;
    for (array, columns) in [("obs", &obs), ("action", &action)] {
        found.fatal("nan", columns::not_finite(&rows, array, columns));
    }
    short(sets, purpose, found);
    let noise = columns::noise(&rows, &first.obs_inputs, &obs);
    // What was lost when values of more digits were read is said by then, and better.
    let narrowed: Vec<&Narrowed> = sets
        .iter()
        .flat_map(|set| &set.source.cautions)
        .filter_map(|c| if let Caution::Narrowed(narrowed) = c { Some(narrowed) } else { None })
        .collect();
    let said = sets.iter().any(|set| set.source.cautions.iter().any(|c| matches!(c, Caution::Narrowed(_))));
    // Rows whose digits were lost repeat each other for that alone.
    let mut flat = said;
    for (array, columns, values) in [("obs", &obs, &rows.obs), ("action", &action, &rows.action)] {
        // A column that single precision has made constant is none in the file.
        let lost = |c: &Column| {
            let within =
                |n: &&Narrowed| (n.range[0] - n.step..=n.range[1] + n.step).contains(&f64::from(c.min));
            // By value: what is far from 0 and hardly moves is met once.
            narrowed.iter().any(within)
        };
        let still: Vec<Column> = columns.iter().filter(|c| !lost(c)).cloned().collect();
        found.add("constant", columns::constant(array, &still));
        let far = columns::precision(array, columns);
        flat |= !far.is_empty();
        if !said {
            found.add("precision", far);
        }
        found.add("outliers", columns::outliers(array, columns, values, &noise));
    }
    found.add("noise", noise.iter().map(|finding| finding.to_string()).collect());
    let finite = obs.iter().chain(&action).all(|column| column.not_finite == 0);
    found.add("wraps", motion::wraps("obs", &rows, (&rows.obs, rows.obs_dim), &obs, purpose));
    found.add("wraps", motion::wraps("action", &rows, (&rows.action, rows.action_dim), &action, purpose));
    found.add("jumps", motion::jumps(&rows, &action));
    found.add("saturated", columns::saturated(&rows, &action));
    let follows = follow::following(&rows, slices);
    found.add("following", following::following(follows.as_ref(), fps));
    found.add("copies", copies::episodes(&rows));
    if !flat {
        found.add("duplicates", copies::frames(&rows));
    }
    found.add("success", success(sets));
    if finite {
        found.add("ends", motion::ends(&rows, purpose));
        found.add("offset", following::offsets(&rows, [&obs, &action], slices));
        found.add("tasks", tasks::contradicting(sets, &rows, [&obs, &action], purpose));
        found.add("units", units::units(&rows, [&obs, &action]));
    }
    if fps.is_none() {
        let text = "fps is not said: a policy will not know its control rate; set [data] fps";
        found.add("fps", vec![text.into()]);
    }
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

/// Episodes that hold no window: training leaves them out, and refuses where nothing else is there.
fn short(sets: &[Set<'_>], purpose: &Purpose, found: &mut Found) {
    let (horizon, least) = (purpose.windows.horizon, purpose.windows.least_steps());
    let all: usize = sets.iter().map(|set| set.source.arrays.lengths.len()).sum();
    let mut short = Vec::new();
    for set in sets {
        let of_set = if set.name.is_empty() { String::new() } else { format!(" of {}", set.name) };
        for (at, &length) in
            set.source.arrays.lengths.iter().enumerate().filter(|(_, length)| **length < least)
        {
            let number = set.numbers.get(at).copied().unwrap_or(at);
            short.push(format!("episode {number}{of_set} ({length})"));
        }
    }
    if short.is_empty() {
        return;
    }
    let (count, each) = (short.len(), listed(&short));
    let bound = match least == horizon {
        true => format!("the horizon {horizon}"),
        false => format!("the {least} steps of a window"),
    };
    if count == all {
        let text = match all {
            1 => format!("the only episode is shorter than {bound}: take a shorter horizon; {each}"),
            _ => format!("all {all} episodes are shorter than {bound}: take a shorter horizon; {each}"),
        };
        return found.fatal("short", vec![text]);
    }
    let is = if count == 1 { "is" } else { "are" };
    let text =
        format!("{count} of {all} episodes {is} shorter than {bound}, and training leaves them out: {each}");
    found.add("short", vec![text]);
}

fn success(sets: &[Set<'_>]) -> Vec<String> {
    let flags: Vec<bool> =
        sets.iter().filter_map(|set| set.source.arrays.success.as_ref()).flatten().copied().collect();
    match flags.iter().filter(|flag| !**flag).count() {
        0 => Vec::new(),
        failed => vec![format!(
            "{failed} of {} episodes did not succeed: --successful-only leaves them out, or the policy learns them too",
            flags.len()
        )],
    }
}
