//! `advect compare`: ways of generating actions, on the same data with the same budget.

use super::Run;
use super::common::{Context, Interrupt, note_line, number_in, print, print_json, progress};
use super::errors::{Interrupted, Usage};
use super::files::Files;
use super::output::{Colour, Table, count, duration, short};
use advect::compare::record::Reference;
use advect::compare::summary::{Mean, Spread};
use advect::compare::tasks::TaskOptions;
use advect::compare::{
    CompareError, Comparison, Event, METHODS, Method, Network, Outcome, Report, Status, TASKS, Task, compare,
};
use indicatif::ProgressBar;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Compare ways of generating actions: the same data, network and number of steps for each, then measures and pictures
///
/// Every method is trained once for each seed and sampled with 1, 2, 3, 5, 10 and 20 evaluations of its network. What the measures
/// are is in docs/compare.md. Ctrl-C keeps what is done; the same command goes on from there.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect compare --list
  advect compare --task two-moons --methods all --steps 4000 --out runs/moons
  advect compare --task reach --methods cfm,bc --seeds 3 --out runs/reach
  advect compare --task demos.npz --methods all --network unet1d --device gpu --out runs/mine

The folder gets compare.json ({task, steps, device, results: [{method, seed, nfe, status, reason, energy_distance,
sliced_wasserstein, mode_coverage, validity, latency_ms, samples_per_s, train_s, ...}], ...}), report.html (one file: samples over
the data, quality against evaluations and latency, flows over time) and runs/ with every finished run and its policy. A run that is there is not done again; a folder with other settings is refused.")]
pub struct Compare {
    /// What to learn: a task's id (--list), or FILE.npz, the windows of any demonstrations
    #[arg(long, value_name = "TASK", required_unless_present = "list")]
    task: Option<String>,
    /// all, or methods separated by commas (--list)
    #[arg(long, value_name = "LIST", default_value = "all")]
    methods: String,
    /// The network of every method: mlp, unet1d or transformer
    #[arg(long, default_value = "mlp")]
    network: String,
    /// Optimiser steps of each run
    #[arg(long, value_name = "N", default_value = "4000", value_parser = steps)]
    steps: u64,
    /// Seeds 0, 1, ... of each method
    #[arg(long, value_name = "K", default_value = "1", value_parser = seeds)]
    seeds: u64,
    /// The demonstrations of a task that reads some
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Where everything goes
    #[arg(long, value_name = "FOLDER", default_value = "advect-compare")]
    out: PathBuf,
    /// Print the ids of tasks and methods, and end
    #[arg(long)]
    list: bool,
    /// Print JSON: compare.json, or {tasks, methods} of --list
    #[arg(long)]
    json: bool,
}

fn steps(text: &str) -> Result<u64, String> {
    number_in(text, 1, u32::MAX as usize).map(|n| n as u64)
}

fn seeds(text: &str) -> Result<u64, String> {
    number_in(text, 1, 1000).map(|n| n as u64)
}

impl Run for Compare {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.list {
            return list(self.json);
        }
        let asked = |e: CompareError| match e.is_usage() {
            true => anyhow::Error::from(Usage(e.to_string())),
            false => e.into(),
        };
        let methods = Method::parse(&self.methods).map_err(asked)?;
        let network: Network = self.network.parse().map_err(|e| Usage(format!("--network: {e}")))?;
        let name = self.task.as_deref().unwrap_or_default();
        self.files().check()?;
        let task = Task::open(name, &TaskOptions { data: self.data.clone() }).map_err(asked)?;
        let device = cx.open()?;
        let interrupt = Interrupt::catch()?;
        let comparison = Comparison {
            device: &device,
            task: &task,
            methods: &methods,
            seeds: self.seeds,
            steps: self.steps,
            network,
            folder: &self.out,
            command: &self.command(cx),
            stop: &|| interrupt.pressed(),
        };
        let runs = methods.len() * self.seeds as usize;
        let bar = progress(runs as u64 * self.steps);
        let mut show = Show { bar: &bar, at: 0, name: String::new(), steps: self.steps };
        let outcome = compare(&comparison, &mut |event| show.event(&event));
        bar.finish_and_clear();
        match outcome.map_err(asked)? {
            Outcome::Complete(report) if self.json => print_json(&report),
            Outcome::Complete(report) => {
                print(&render(&report, Colour::stdout()))?;
                let [json, page] = ["compare.json", "report.html"].map(|name| self.out.join(name));
                print(&format!("\nwrote {} and {}\n", json.display(), page.display()))
            }
            Outcome::Stopped { finished, of } => {
                note_line(&format!(
                    "stopped with {finished} of {} finished; the same command goes on",
                    count(of, "run")
                ));
                Err(Interrupted.into())
            }
        }
    }
}

impl Compare {
    fn files(&self) -> Files {
        let mut files = Files::default();
        // A task is an id, or the name of a file.
        if let Some(task) = self.task.as_deref().map(Path::new).filter(|task| task.is_file()) {
            files = files.reads("--task", task);
        }
        if let Some(data) = &self.data {
            files = files.reads("--data", data);
        }
        for name in ["settings.json", "train.npz", "held_out.npz", "compare.json", "report.html"] {
            files = files.writes("--out", &self.out.join(name));
        }
        files.fills("--out", &self.out.join("runs"))
    }

    /// The command line that repeats this comparison.
    fn command(&self, cx: &Context) -> String {
        let task = self.task.as_deref().unwrap_or_default();
        let mut line = format!(
            "advect compare --task {task} --methods {} --network {} --steps {} --seeds {} --device {}",
            self.methods,
            self.network,
            self.steps,
            self.seeds,
            cx.device_choice()
        );
        if let Some(data) = &self.data {
            line += &format!(" --data {}", data.display());
        }
        line + &format!(" --out {}", self.out.display())
    }
}

#[derive(Serialize)]
struct Entry {
    id: &'static str,
    what: &'static str,
}

#[derive(Serialize)]
struct Lists {
    tasks: Vec<Entry>,
    methods: Vec<Entry>,
}

fn list(json: bool) -> anyhow::Result<()> {
    let lists = Lists {
        tasks: TASKS.iter().map(|t| Entry { id: t.id, what: t.what }).collect(),
        methods: METHODS.iter().map(|m| Entry { id: m.id, what: m.what }).collect(),
    };
    if json {
        return print_json(&lists);
    }
    let colour = Colour::stdout();
    let table = |head: &'static str, entries: &[Entry]| {
        let mut table = Table::new(&[head, "what"]);
        entries.iter().for_each(|e| table.row(vec![e.id.into(), e.what.into()]));
        table.render(colour)
    };
    print(&format!("{}\n{}", table("task", &lists.tasks), table("method", &lists.methods)))
}

/// The bar, and where there is none a line for each run.
struct Show<'a> {
    bar: &'a ProgressBar,
    /// Steps of the runs before this one.
    at: u64,
    name: String,
    steps: u64,
}

impl Show<'_> {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Run { method, seed, index, of } => {
                self.at = *index as u64 * self.steps;
                self.name = format!("{method} seed {seed} ({} of {of})", index + 1);
                self.bar.set_position(self.at);
                self.bar.set_message(self.name.clone());
            }
            Event::Steps { step, loss, steps_per_s } => {
                self.bar.set_position(self.at + step);
                let (loss, rate) = (short(*loss), short(*steps_per_s));
                self.bar.set_message(format!("{}  loss {loss}  {rate} steps/s", self.name));
            }
            Event::Measuring => self.bar.set_message(format!("{}  measuring", self.name)),
            Event::Finished { record, kept } => {
                let training = &record.training;
                let line = match (&training.status, training.train_s, kept) {
                    (_, _, true) => "finished before".to_owned(),
                    (Status::Ok, Some(s), false) => {
                        format!("trained in {}", duration(Duration::from_secs_f64(s)))
                    }
                    _ => training.reason.clone().unwrap_or_default(),
                };
                let line = format!("{} seed {}: {line}", training.method, training.seed);
                if self.bar.is_hidden() {
                    note_line(&line);
                } else {
                    self.bar.println(line);
                }
            }
        }
    }
}

/// A column of the table: its head, its cells, and what a perfect sampler has there.
type Column = (&'static str, fn(&Mean) -> String, fn(&Reference) -> String);

fn spread(s: Option<Spread>) -> String {
    match s {
        Some(Spread { mean, sd: Some(sd) }) => format!("{} ± {}", short(mean), short(sd)),
        Some(Spread { mean, sd: None }) => short(mean),
        None => "-".into(),
    }
}

fn plain(s: Option<Spread>) -> String {
    maybe(s.map(|s| s.mean))
}

fn maybe(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), short)
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{:.1} %", 100.0 * v))
}

fn none(_: &Reference) -> String {
    "-".into()
}

const COLUMNS: &[Column] = &[
    (">energy dist", |m| spread(m.energy_distance), |r| short(r.energy_distance)),
    (">with obs", |m| spread(m.energy_distance_joint), |r| maybe(r.energy_distance_joint)),
    (">sliced W2", |m| plain(m.sliced_wasserstein), |r| short(r.sliced_wasserstein)),
    (">modes", |m| share(m.mode_coverage.map(|s| s.mean)), none),
    (">least", |m| share(m.mode_least.map(|s| s.mean)), none),
    (">valid", |m| share(m.validity.map(|s| s.mean)), |r| share(r.validity)),
    (">end error", |m| share(m.end_error.map(|s| s.mean)), none),
    (">warping", |m| share(m.dtw.map(|s| s.mean)), none),
    (">diverged", |m| plain(m.diverged), none),
    (">ms", |m| plain(m.latency_ms), none),
    (">chunks/s", |m| plain(m.samples_per_s), none),
    (">train s", |m| plain(m.train_s), none),
];

/// One line for each method at one and ten evaluations (or what it has), means over the seeds; columns that the task lacks are
/// left out.
fn render(report: &Report, colour: Colour) -> String {
    let shown: Vec<&Mean> = report.summary.iter().filter(|m| shown(report, m)).collect();
    let columns: Vec<&Column> = COLUMNS.iter().filter(|c| shown.iter().any(|m| c.1(m) != "-")).collect();
    let heads: Vec<&'static str> =
        ["method", ">evals"].into_iter().chain(columns.iter().map(|c| c.0)).collect();
    let mut table = Table::new(&heads);
    for m in shown {
        let cells = [m.name(), m.nfe.to_string()].into_iter();
        table.row(cells.chain(columns.iter().map(|c| c.1(m))).collect());
    }
    let cells = ["(other draws)".to_owned(), "-".to_owned()].into_iter();
    table.row(cells.chain(columns.iter().map(|c| c.2(&report.reference))).collect());
    let mut text = format!(
        "{}, {} steps of {}, {} on {}\n{}",
        report.task,
        report.steps,
        report.batch_size,
        report.network,
        report.device,
        table.render(colour)
    );
    let ids: Vec<&str> = report.equal_quality.methods.iter().map(|m| m.method.as_str()).collect();
    for difference in Method::differences(&ids) {
        text += &format!("{difference}\n");
    }
    for t in report.training.iter().filter(|t| t.status != Status::Ok) {
        text += &format!("{} seed {}: {}\n", t.method, t.seed, t.reason.as_deref().unwrap_or("failed"));
    }
    text
}

fn shown(report: &Report, mean: &Mean) -> bool {
    let own: Vec<usize> = report.summary.iter().filter(|m| m.method == mean.method).map(|m| m.nfe).collect();
    mean.nfe == 1 || mean.nfe == 10 || (!own.contains(&10) && own.last() == Some(&mean.nfe))
}
