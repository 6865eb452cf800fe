//! Tables of text: a line of names, then a row a step. Columns are found by name; a name stands for one column, or for all that
//! continue it: `action` for `action_0`, `action[1]`, `action.x`.

use std::path::Path;

use super::budget::Budget;
use super::error::DataError;
use super::gather::{Column, Gathered, lengths_by_ends};
use super::source::{Kind, Skipped, Source};
use super::spec::DataSpec;

/// Columns that say which episode a row belongs to, the first that is there.
const EPISODE: [&str; 4] = ["episode_index", "episode", "episode_id", "demo"];
/// Columns that are set in an episode's last row, where none says which episode a row belongs to.
const DONE: [&str; 6] = ["done", "next.done", "is_last", "terminal", "terminals", "dones"];
/// Columns that say when a row was, in seconds.
const TIME: [&str; 4] = ["timestamp", "time", "time_s", "t"];
/// Observations where none are named.
const OBS: [&str; 4] = ["obs", "observation", "observation.state", "state"];

/// Reads a table.
pub(super) fn read(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let table = Table::read(path)?;
    let obs = match &spec.obs {
        Some(columns) => columns.names().to_vec(),
        None => OBS
            .iter()
            .find(|name| !table.places(name).is_empty())
            .map(|name| name.to_string())
            .into_iter()
            .collect(),
    };
    let missing = |name: &str| DataError::Malformed {
        path: path.into(),
        kind: "demonstrations",
        reason: format!(
            "no column '{name}'; present: {}. Say which columns are what: [data] obs = [\"a\", \"b\"], action = \"c\"",
            table.heads.join(", ")
        ),
    };
    if obs.is_empty() {
        return Err(missing(OBS[0]));
    }
    let mut used = vec![false; table.heads.len()];
    let mut column = |name: &str| -> Result<Column, DataError> {
        let places = table.places(name);
        if places.is_empty() {
            return Err(missing(name));
        }
        let mut column = Column::new(name, places.len());
        for row in table.rows.chunks_exact(table.heads.len()) {
            places.iter().for_each(|&at| column.push(row[at]));
        }
        places.iter().for_each(|&at| used[at] = true);
        let heads = || places.iter().map(|&at| table.heads[at].clone()).collect::<Vec<_>>();
        column.names = Some(heads());
        if let Some(&at) = places.iter().find(|&&at| table.not_numbers[at].is_some()) {
            let (line, text) = table.not_numbers[at].clone().unwrap_or_default();
            let reason = format!(
                "line {line}, column '{}': found '{text}', needed {}",
                table.heads[at],
                a_number(&text)
            );
            return Err(DataError::Malformed { path: path.into(), kind: "demonstrations", reason });
        }
        Ok(column)
    };
    let obs: Vec<Column> = obs.iter().map(|name| column(name)).collect::<Result<_, _>>()?;
    let action = column(&spec.action)?;
    let success = match &spec.episode_success {
        Some(name) => Some(column(name)?),
        None => None,
    };
    let exact =
        |names: &[&str]| names.iter().find_map(|name| table.heads.iter().position(|head| head == name));
    let (episode, time) = (exact(&EPISODE), exact(&TIME));
    [episode, time].into_iter().flatten().for_each(|at| used[at] = true);
    let done = match episode {
        None => exact(&DONE),
        Some(_) => None,
    };
    used.iter_mut().enumerate().filter(|(at, _)| Some(*at) == done).for_each(|(_, used)| *used = true);
    let lengths = match done {
        Some(at) => lengths_by_ends(table.column(at).map(|flag| flag != 0.0 && !flag.is_nan())),
        None => table.episodes(path, episode)?,
    };
    let (fps, faults) = table.rate(path, time, &lengths, spec);
    let flags = |column: Column| {
        let mut rows = column.values.iter();
        lengths.iter().map(|&n| rows.by_ref().take(n).filter(|flag| **flag != 0.0).count() > 0).collect()
    };
    let taken = |column: &Column| match &column.names {
        Some(names) if *names != [column.name.clone()] => format!("{} ({})", column.name, names.join(", ")),
        _ => column.name.clone(),
    };
    let columns: Vec<String> = obs.iter().map(taken).collect();
    let mut notes = vec![format!("observations: {}; actions: {}", columns.join(", "), taken(&action))];
    if let Some(at) = done {
        notes.push(format!("episodes end where '{}' is set", table.heads[at]));
    } else if episode.is_none() {
        notes.push(format!("no column '{}': all rows are one episode", EPISODE[0]));
    }
    let unused = (0..used.len()).filter(|&at| !used[at]);
    let skipped =
        |at: usize| Skipped { name: table.heads[at].clone(), dtype: "text".into(), size: "1".into() };
    Gathered {
        kind: Kind::Csv,
        labels: [
            episode.map_or("rows".into(), |at| table.heads[at].clone()),
            spec.episode_success.clone().unwrap_or_else(|| "episode_success".into()),
        ],
        success: success.map(flags),
        unused: unused.map(skipped).collect(),
        images: vec![],
        obs,
        action,
        lengths: lengths.clone(),
        fps,
        notes,
        faults,
        tasks: None,
    }
    .source(spec)
}

/// What a cell should have been.
fn a_number(text: &str) -> &'static str {
    match text.matches(',').count() == 1 && text.replace(',', ".").parse::<f64>().is_ok() {
        true => "a number with a decimal point, not a comma",
        false => "a number",
    }
}

/// A table's cells as numbers.
struct Table {
    heads: Vec<String>,
    /// Row-major; NaN where a cell is no number.
    rows: Vec<f64>,
    /// The first cell of each column that is no number: its line from 1, and what it is.
    not_numbers: Vec<Option<(usize, String)>>,
}

impl Table {
    fn read(path: &Path) -> Result<Table, DataError> {
        let bad = |reason: String| DataError::Malformed { path: path.into(), kind: "CSV", reason };
        let over = |source| DataError::Budget { path: path.into(), source };
        let file = super::aside::open(path)?;
        let mut budget = Budget::of(&file);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter(path)?)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .has_headers(true)
            .from_reader(file);
        let said = |error: csv::Error| {
            let line = error.position().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
            match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => bad(format!(
                    "{line}found {len} cells, needed {expected_len} (one for each name of the first line)"
                )),
                csv::ErrorKind::Utf8 { .. } => bad(format!("{line}found bytes that are no text (UTF-8)")),
                _ => bad(error.to_string()),
            }
        };
        let heads: Vec<String> = reader
            .headers()
            .map_err(said)?
            .iter()
            .map(|head| head.trim_start_matches('\u{feff}').to_owned())
            .collect();
        if heads.iter().any(|head| head.parse::<f64>().is_ok()) {
            return Err(bad("the first line holds numbers, needed the names of the columns".into()));
        }
        if let Some(again) =
            heads.iter().enumerate().find_map(|(at, head)| heads[..at].contains(head).then_some(head))
        {
            return Err(bad(format!("two columns are called '{again}'")));
        }
        let mut table = Table { not_numbers: vec![None; heads.len()], rows: Vec::new(), heads };
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(said)? {
            let line = record.position().map_or(0, |at| at.line() as usize);
            budget.take("the table", 12 * record.len() as u64).map_err(over)?;
            for (cell, wrong) in record.iter().zip(&mut table.not_numbers) {
                let value = match cell {
                    "true" | "True" | "TRUE" => Some(1.0),
                    "false" | "False" | "FALSE" => Some(0.0),
                    _ => cell.parse::<f64>().ok(),
                };
                if value.is_none() && wrong.is_none() {
                    *wrong = Some((line, cell.chars().take(40).collect()));
                }
                table.rows.push(value.unwrap_or(f64::NAN));
            }
        }
        Ok(table)
    }

    /// The columns that a name stands for, in the file's order.
    fn places(&self, name: &str) -> Vec<usize> {
        if let Some(at) = self.heads.iter().position(|head| head == name) {
            return vec![at];
        }
        let continues = |head: &String| {
            let rest = head.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['_', '.', '[', '/', ':']) || rest.parse::<usize>().is_ok()
        };
        (0..self.heads.len()).filter(|&at| continues(&self.heads[at])).collect()
    }

    fn column(&self, at: usize) -> impl Iterator<Item = f64> {
        self.rows.iter().skip(at).step_by(self.heads.len()).copied()
    }

    /// Rows of each episode. Rows of an episode follow each other.
    fn episodes(&self, path: &Path, column: Option<usize>) -> Result<Vec<usize>, DataError> {
        let rows = self.rows.len() / self.heads.len().max(1);
        let Some(at) = column else { return Ok(if rows == 0 { vec![] } else { vec![rows] }) };
        // Episodes may be called by texts.
        if let Some((line, text)) = &self.not_numbers[at] {
            let reason = format!(
                "line {line}, column '{}': found '{text}', needed the episode's number",
                self.heads[at]
            );
            return Err(DataError::Malformed { path: path.into(), kind: "demonstrations", reason });
        }
        let numbers: Vec<f64> = self.column(at).collect();
        let (mut lengths, mut seen) = (Vec::new(), std::collections::HashSet::new());
        for run in numbers.chunk_by(|a, b| a == b) {
            if !seen.insert(run[0].to_bits()) {
                let reason =
                    format!("column '{}': episode {} goes on after another one", self.heads[at], run[0]);
                return Err(DataError::Malformed { path: path.into(), kind: "demonstrations", reason });
            }
            lengths.push(run.len());
        }
        Ok(lengths)
    }

    /// Rows a second by the time column, and the first rows that are not a period apart.
    fn rate(
        &self,
        path: &Path,
        column: Option<usize>,
        lengths: &[usize],
        spec: &DataSpec,
    ) -> (Option<f64>, Vec<DataError>) {
        let Some(at) = column.filter(|&at| self.not_numbers[at].is_none()) else { return (spec.fps, vec![]) };
        let times: Vec<f64> = self.column(at).collect();
        let mut gaps = Vec::new();
        let mut row = 0;
        for &length in lengths {
            gaps.extend((row + 1..row + length).map(|row| (times[row] - times[row - 1], row)));
            row += length;
        }
        let mut sorted: Vec<f64> = gaps.iter().map(|gap| gap.0).collect();
        sorted.sort_by(f64::total_cmp);
        let Some(&usual) = sorted.get(sorted.len() / 2).filter(|gap| **gap > 0.0) else {
            return (spec.fps, vec![]);
        };
        // Times are written with few digits: 29.97 and 30 are told apart, 29.999 and 30 are not.
        let found = 1.0 / usual;
        let rounded = if (found - found.round()).abs() < 1e-2 * found { found.round() } else { found };
        let fps = spec.fps.unwrap_or(rounded);
        let period = 1.0 / fps;
        let off = gaps.iter().find(|(gap, _)| (gap - period).abs() > spec.tolerance_s.max(period / 2.0));
        let fault = off.map(|(gap, row)| DataError::Malformed {
            path: path.into(),
            kind: "demonstrations",
            reason: format!(
                "row {row} (from 0), column '{}': found {gap:.6} s after the row before, needed {period:.6} s: rows are lost, or are \
                 not evenly in time; [data] tolerance_s allows more",
                self.heads[at]
            ),
        });
        (Some(fps), fault.into_iter().collect())
    }
}

/// What stands between the names of the first line.
fn delimiter(path: &Path) -> Result<u8, DataError> {
    use std::io::{BufRead, BufReader, Read};
    let file = BufReader::new(super::aside::open(path)?.take(1 << 16));
    let first =
        file.split(b'\n').map_while(Result::ok).find(|line| !line.starts_with(b"#")).unwrap_or_default();
    let count = |mark: u8| first.iter().filter(|byte| **byte == mark).count();
    Ok([b',', b';', b'\t'].into_iter().max_by_key(|&mark| (count(mark), mark == b',')).unwrap_or(b','))
}
