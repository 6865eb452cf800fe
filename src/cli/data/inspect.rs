//! `advect data inspect`: what is in a data set.

use crate::cli::Run;
use crate::cli::common::{Chosen, Context, number_in, print, print_json};
use crate::cli::errors::{Usage, causes};
use crate::cli::output::{Colour, Table, count, duration, grouped, short};
use crate::cli::train::in_file;
use advect::data::inspect::{Column, Report, Warning};
use advect::data::{DataError, DataSets, Kind};
use advect::train::RunConfig;
use std::path::PathBuf;
use std::time::Duration;

/// Show what is in a data set, and warn of what ruins training
///
/// Episodes and their lengths, rates, the range of every dimension with its distribution; then warnings: NaN, dimensions that
/// never change, outliers, short episodes, jumps, full turns, clipped actions, actions that are the next state, episodes that end in
/// motion, tasks that contradict each other, repeated frames and episodes, units that differ between data sets, uneven timestamps.
/// Reads what training would refuse; `train` prints the same warnings.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect data inspect data/pusht.npz
  advect data inspect ~/datasets/my-robot --horizon 32
  advect data inspect ~/datasets/monday ~/datasets/tuesday
  advect data inspect demos.npz --config run.toml --json | jq .warnings

Exit codes: 0 whatever the warnings, 2 if it cannot be read.")]
pub struct Inspect {
    /// A .npz, a LeRobot directory, or another data set (see `advect data --help`); several are judged as train would take them together
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Settings of a run: its [data] table, windows and padding are used
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Horizon that episodes must have [default: the configuration's, or 16]
    #[arg(long, value_name = "N", value_parser = horizon)]
    horizon: Option<usize>,
    #[command(flatten)]
    chosen: Chosen,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

fn horizon(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 20)
}

impl Run for Inspect {
    fn run(self, _: &Context) -> anyhow::Result<()> {
        let mut config = match &self.config {
            Some(path) => RunConfig::load(path).map_err(|e| Usage(e.to_string()))?,
            None => RunConfig::default(),
        };
        config.horizon = self.horizon.unwrap_or(config.horizon);
        self.chosen.apply(&mut config.data);
        let fault = |e: DataError| match self.paths.as_slice() {
            [one] => Usage(causes(&in_file(one, e.into()))),
            _ => Usage(e.to_string()),
        };
        let sets = DataSets::open(&self.paths, &config.data).map_err(fault)?;
        let found = sets.inspect(&config.purpose());
        let colour = Colour::stdout();
        if self.json {
            return match found.sets.as_slice() {
                [lone] => print_json(lone),
                _ => print_json(&found),
            };
        }
        let mut out = String::new();
        for report in &found.sets {
            out += &(render(report, colour) + "\n");
        }
        for note in sets.notes() {
            out += &format!("{note}\n");
        }
        print(&(out + &warnings(&found.warnings, colour)))
    }
}

fn render(report: &Report, colour: Colour) -> String {
    let kind = match report.kind {
        Kind::Npz => "numpy archive",
        Kind::LeRobotV2 => "LeRobot data set, v2",
        Kind::LeRobotV3 => "LeRobot data set, v3",
        Kind::Hdf5 => "HDF5 file",
        Kind::Csv => "CSV table",
        Kind::Zarr => "zarr store",
        Kind::Mcap => "MCAP recording",
    };
    let mut out = format!("{}  {}\n", colour.bold(&report.path.display().to_string()), colour.dim(kind));
    for (label, text) in lines(report) {
        out += &format!("  {} {text}\n", colour.dim(&format!("{label:<9}")));
    }
    let inputs: Vec<String> = report.obs_inputs.iter().map(|i| format!("{} ({})", i.name, i.dim)).collect();
    out += &block(colour, "observation", &report.obs, &inputs.join(" + "));
    out + &block(colour, "action", &report.action, "")
}

fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let rate = match (report.fps, report.seconds) {
        (Some(fps), Some(seconds)) if seconds.is_finite() => {
            format!(
                ", {} at {} Hz",
                duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e12))),
                trimmed(fps)
            )
        }
        _ => ", rate unknown".into(),
    };
    let l = &report.lengths;
    let spread = match l.min == l.max {
        true => format!("{} steps each", grouped(l.min as i64)),
        false => format!(
            "{} {} {} steps; median {}, most of {} to {}",
            grouped(l.min as i64),
            bars(&l.histogram),
            grouped(l.max as i64),
            grouped(l.median.round() as i64),
            grouped(l.q10.round() as i64),
            grouped(l.q90.round() as i64),
        ),
    };
    let mut lines = vec![
        ("episodes", format!("{}, {}{rate}", count(report.episodes, "episode"), count(report.steps, "step"))),
        ("lengths", spread),
    ];
    if let Some(share) = report.success {
        lines.push(("success", format!("{:.1} % of the episodes", 100.0 * share)));
    }
    if let Some(following) = &report.following {
        let steps = count(following.lag, "step");
        let time =
            report.fps.map(|fps| format!(" ({:.2} s)", following.lag as f64 / fps)).unwrap_or_default();
        lines.push(("delay", format!("the state is closest to the action {steps}{time} later")));
    }
    match report.tasks.as_slice() {
        [] => {}
        [task] => lines.push(("task", task.clone())),
        [first, rest @ ..] => lines.push(("tasks", format!("{first} (and {} more)", rest.len()))),
    }
    let names =
        |list: &[advect::data::Skipped]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
    if !report.images.is_empty() {
        lines.push(("images", format!("skipped: {}", names(&report.images))));
    }
    if !report.unused.is_empty() {
        lines.push(("not used", names(&report.unused)));
    }
    lines.extend(report.notes.iter().map(|note| ("note", note.clone())));
    lines
}

fn block(colour: Colour, what: &str, columns: &[Column], inputs: &str) -> String {
    let head = format!(
        "\n{} {}\n",
        colour.bold(&count(columns.len(), &format!("{what} value"))),
        colour.dim(inputs)
    );
    let named = columns.iter().any(|c| c.name.is_some());
    let mut heads = vec![">"];
    if named {
        heads.push("name");
    }
    heads.extend([">min", ">1 %", ">mean", ">99 %", ">max", ">std", "min to max"]);
    let mut table = Table::new(&heads);
    for c in columns {
        let mut row = vec![c.index.to_string()];
        if named {
            row.push(c.name.clone().unwrap_or_default());
        }
        for x in [c.min.into(), c.q01, c.mean, c.q99, c.max.into(), c.std] {
            row.push(short(x));
        }
        let mut shape = if c.is_constant() { colour.dim("constant") } else { bars(&c.histogram) };
        if c.not_finite > 0 {
            shape += &format!(" {}", colour.red(&format!("{} not finite", grouped(c.not_finite as i64))));
        }
        row.push(shape);
        table.row(row);
    }
    head + &table.render(colour)
}

fn warnings(warnings: &[Warning], colour: Colour) -> String {
    if warnings.is_empty() {
        return format!("{}\n", colour.green("no warnings"));
    }
    let fatal = warnings.iter().filter(|w| w.fatal).count();
    let refuses = match fatal {
        0 => String::new(),
        _ => format!(", {} that training refuses (x)", grouped(fatal as i64)),
    };
    let mut out = format!("{}{refuses}\n", colour.bold(&count(warnings.len(), "warning")));
    for warning in warnings {
        let mark = if warning.fatal { colour.red("x") } else { "!".into() };
        out += &format!("  {mark} {}\n", warning.text);
    }
    out
}

/// A distribution as bars of eight heights; a part that holds anything is never empty.
fn bars(histogram: &[f32]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = histogram.iter().copied().fold(0.0, f32::max);
    let bar = |&share: &f32| match share > 0.0 {
        true => HEIGHTS[((share / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
        false => ' ',
    };
    histogram.iter().map(bar).collect()
}

fn trimmed(x: f64) -> String {
    if x.fract() == 0.0 { format!("{x:.0}") } else { short(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_what_there_is() {
        assert_eq!(bars(&[0.0, 0.001, 0.5, 0.499]), " ▁██");
        assert_eq!(bars(&[0.0, 0.0]), "  ");
        assert_eq!((trimmed(30.0), trimmed(29.97)), ("30".into(), "29.97".into()));
    }
}
