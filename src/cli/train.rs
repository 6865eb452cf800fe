//! `advect train`: a policy from demonstrations.

use super::Run;
use super::common::{Chosen, Context, Interrupt, alone, note_line, number_in, print, print_json, progress};
use super::errors::Interrupted;
use super::files::Files;
use super::output::{count, duration, grouped, short};
use advect::data::inspect::{Warning, screenful};
use advect::data::{Aside, ColumnFinding, DataError, DataSets, Episodes, Finding, Loaded, sweep};
use advect::device::Device;
use advect::policy::{Objective, Policy};
use advect::train::metrics::read as read_metrics;
use advect::train::resume::{self, Stopped};
use advect::train::{
    Course, Event, MetricsWriter, Outcome, RunConfig, RunOptions, Start, TrainError, Trainer, run,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most lines of warnings before a run.
const WARNINGS: usize = 12;

/// Train a policy on demonstrations
///
/// PATH is a numpy archive of obs [T, obs_dim], action [T, action_dim] and episode_len [E], the episodes end to end, or a
/// LeRobot directory (v2.1 or v3.0); the `[data]` table of the configuration names other arrays or columns. One tenth of the episodes is held out for validation. Ctrl-C saves and ends;
/// --resume goes on from there as if nothing had happened, bit for bit.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect train --data data/pusht.npz --out policy.safetensors
  advect train --data demos.npz --config run.toml --out runs/a.safetensors --steps 50000 --device gpu
  advect train --data demos.npz --out policy.safetensors --resume
  advect train --data demos.npz --out policy.safetensors --resume --steps 40000       a finished run, for longer
  advect train --data new.npz --init policy.safetensors --out tuned.safetensors --steps 5000
  advect train --data ~/datasets/robot --data more.npz --out policy.safetensors

A run.toml has any of these keys; what it lacks has its default:
  steps = 20000
  batch_size = 256
  history = 2                     # observations per request
  horizon = 16                    # actions per chunk
  relative_to = [0, 1]            # observation dimensions that the actions are relative to
  angles = { obs = [5], action = [5] }  # columns that wrap by a turn; unit = \"degrees\" if they are
  padding = \"mask\"              # actions past an episode's end are not learnt [default: \"repeat\"]
  optimizer = { lr = 1e-3, warmup = 500, clip = 1.0 }
  data = { obs = \"state\", fps = 10 }  # several are named inputs: obs = [\"state\", \"goal\"]

Beside policy.safetensors lie policy.safetensors.train (what --resume needs) and metrics.jsonl: a line each log_every steps,
{step, loss, val_loss or null, lr, grad_norm, steps_per_s}, and before the first what in the data may ruin the policy:
{step, warning, text}.")]
pub struct Train {
    /// The demonstrations
    ///
    /// A .npz or a LeRobot directory; given several times, the episodes of all of them.
    #[arg(long, value_name = "PATH", required = true)]
    data: Vec<PathBuf>,
    /// The checkpoint to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Settings; the options below have the last word [default: built in, or with --resume those of the stopped run]
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// What is learnt: flow_matching, behaviour_cloning, mean_flow, ... (docs/objectives.md) [default: flow_matching]
    #[arg(long, value_name = "NAME")]
    objective: Option<Objective>,
    /// Optimiser steps [default: 20000]
    #[arg(long, value_name = "N", value_parser = steps)]
    steps: Option<u64>,
    /// Windows per step [default: 256]
    #[arg(long, value_name = "N", value_parser = batch_size)]
    batch_size: Option<usize>,
    /// Seed of weights, batches, times and noise [default: 0]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    chosen: Chosen,
    /// Where the metrics go [default: metrics.jsonl beside the checkpoint; NAME.metrics.jsonl for a policy NAME.safetensors that is
    /// trained into the folder of another]
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Go on with the run that was stopped at --out; with more --steps, or more --data than it had, too
    #[arg(long)]
    resume: bool,
    /// Start from this policy's weights (fine-tuning): network, shapes and objective are the policy's
    #[arg(long, value_name = "POLICY", conflicts_with = "resume")]
    init: Option<PathBuf>,
    /// With --init: keep the policy's normalisers, or fit them to the demonstrations
    #[arg(long, value_enum, value_name = "HOW", default_value = "keep", requires = "init")]
    init_normalizer: InitNormalizer,
    /// Go on, twice as many steps each time, until the held-out loss falls by less than 10 % per doubling
    #[arg(long)]
    until_flat: bool,
    /// With --until-flat: the most steps [default: 16 times --steps]
    #[arg(long, value_name = "N", value_parser = steps, requires = "until_flat")]
    max_steps: Option<u64>,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
}

/// Names the file that an error is about, if the error does not.
pub(super) fn in_file(path: &Path, error: anyhow::Error) -> anyhow::Error {
    let path = path.display().to_string();
    if error.to_string().contains(&path) { error } else { error.context(path) }
}

fn steps(text: &str) -> Result<u64, String> {
    number_in(text, 1, u32::MAX as usize).map(|n| n as u64)
}

fn batch_size(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 24)
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum InitNormalizer {
    Keep,
    Fit,
}

#[derive(Serialize)]
struct Summary<'a> {
    checkpoint: &'a Path,
    metrics: &'a Path,
    device: String,
    parameters: usize,
    steps: u64,
    batch_size: usize,
    seed: u64,
    /// Steps that were there when this command began.
    resumed_at: u64,
    /// Whether Ctrl-C came before the last step.
    stopped: bool,
    seconds: f64,
    steps_per_s: f64,
    loss: Option<f64>,
    val_loss: Option<f64>,
    /// The part of the held-out loss that the last doubling of the steps took away; null: too few validations to tell.
    fall_per_doubling: Option<f64>,
    /// What in the data may ruin the policy.
    warnings: &'a [Warning],
}

impl Run for Train {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let mut config = self.settings()?;
        let metrics = self.metrics.clone().unwrap_or_else(|| usual_metrics(&self.out));
        self.files(&config, &metrics).check()?;
        let of_set = |e: DataError| match self.data.as_slice() {
            [one] => in_file(one, e.into()),
            _ => e.into(),
        };
        let sets = DataSets::open(&self.data, &config.data).map_err(of_set)?;
        let warnings = sets.warnings(&config.purpose());
        let Loaded { episodes, notes, .. } = sets.load(Some(&config.windows())).map_err(of_set)?;
        // What is said as a warning is said once.
        for note in notes.into_iter().filter(|note| warnings.iter().all(|warning| warning.text != *note)) {
            note_line(&note);
        }
        for warning in screenful(&warnings, WARNINGS) {
            note_line(&format!("warning: {warning}"));
        }
        // Better now than after the first thousand steps.
        drop(Aside::create(&self.out)?);
        if self.out.is_dir() {
            anyhow::bail!("cannot write {}: it is a folder", self.out.display());
        }
        drop(Aside::create(&metrics)?);
        let _ours = (alone(&self.out, "--out")?, alone(&metrics, "--metrics")?);
        sweep(&resume::train_path(&self.out));
        let data = resume::fingerprint(&episodes);

        let device = cx.open()?;
        let interrupt = Interrupt::catch()?;
        let mut kept = Kept { policy: None, state: None };
        let most = self.max_steps.unwrap_or(config.steps.saturating_mul(16)).min(u32::MAX.into());
        let (mut resuming, mut first, mut taken, mut training) = (self.resume, None, 0, Duration::ZERO);
        // One round, or with --until-flat several, each as if the one before had been resumed with more steps.
        let (trainer, outcome, course) = loop {
            let (mut trainer, notes) = self.trainer(&device, &episodes, &config, &data, resuming)?;
            notes.iter().for_each(|note| note_line(note));
            if first.is_none() {
                warn(&trainer);
            }
            let suspects = trainer.suspects();
            let at = trainer.step();
            let mut writer = MetricsWriter::open(&metrics, resuming.then_some(at))?;
            writer.note(at, &warnings)?;
            if first.is_none() {
                note_line(&format!(
                    "{} of {}, {} parameters{}",
                    count(episodes.count(), "episode"),
                    count(episodes.steps(), "step"),
                    grouped(trainer.parameters() as i64),
                    if self.resume { format!(", from step {}", grouped(at as i64)) } else { String::new() },
                ));
                (kept.policy, kept.state) = (resuming.then_some(at), resuming.then_some(at));
            }
            first.get_or_insert(at);
            let bar = bar(at, config.steps);
            let options = RunOptions {
                checkpoint: Some(&self.out),
                metrics: Some(writer),
                data: &data,
                stop: &|| interrupt.pressed(),
            };
            let result = run(&mut trainer, options, &mut |event| {
                match event {
                    Event::PolicySaved(step) => kept.policy = Some(step),
                    Event::Saved(step) => kept.state = Some(step),
                    Event::HighLoss { step, loss } => {
                        let (step, loss) = (grouped(step as i64), short(loss));
                        bar.suspend(|| {
                            note_line(&format!("warning: the loss is {loss} at step {step}: {suspects}"))
                        });
                    }
                    _ => {}
                }
                show(&bar, &event, config.steps);
            });
            bar.finish_and_clear();
            let outcome = result.map_err(|e| self.explain(e, &kept))?;
            (taken, training) = (taken + outcome.taken, training + outcome.training);
            let losses: Vec<(u64, f64)> =
                read_metrics(&metrics)?.iter().filter_map(|line| Some((line.step, line.val_loss?))).collect();
            let course = Course::of(&losses);
            let falling = course.is_some_and(|course| course.is_falling());
            if !self.until_flat || outcome.stopped || !falling || config.steps >= most {
                break (trainer, outcome, course);
            }
            config.steps = (2 * config.steps).min(most);
            resuming = true;
        };
        let first = first.unwrap_or_default();
        let outcome = Outcome { taken, training, ..outcome };

        let summary = Summary {
            checkpoint: &self.out,
            metrics: &metrics,
            device: device.describe(),
            parameters: trainer.parameters(),
            steps: outcome.step,
            batch_size: config.batch_size,
            seed: config.seed,
            resumed_at: first,
            stopped: outcome.stopped,
            seconds: outcome.training.as_secs_f64(),
            steps_per_s: outcome.steps_per_s(),
            loss: outcome.last.map(|line| line.loss),
            val_loss: outcome.val_loss,
            fall_per_doubling: course.map(|course| course.fall_per_doubling()),
            warnings: &warnings,
        };
        if self.json {
            print_json(&summary)?;
        }
        if outcome.stopped {
            note_line(&self.stopped(&outcome, config.steps));
            return Err(Interrupted.into());
        }
        if self.json { Ok(()) } else { print(&(render(&summary) + &self.long_enough(course, &summary))) }
    }
}

impl Train {
    /// What is read and what is written.
    fn files(&self, config: &RunConfig, metrics: &Path) -> Files {
        let mut files = Files::default();
        for data in &self.data {
            files = files.reads("--data", data);
        }
        if let Some(path) = &self.config {
            files = files.reads("--config", path);
        }
        if let Some(path) = &self.init {
            files = files.reads("--init", path);
        }
        if let Some(reflow) = &config.reflow {
            files = files.reads("reflow.policy", &reflow.policy);
        }
        files
            .writes("--out", &self.out)
            .writes("the run's state", &resume::train_path(&self.out))
            .writes("--metrics", metrics)
    }

    /// The configuration file (or the stopped run's settings), then the options.
    fn settings(&self) -> anyhow::Result<RunConfig> {
        let base = match &self.init {
            Some(path) => RunConfig::of_policy(&Policy::load(path)?.spec)?,
            None => RunConfig::default(),
        };
        let mut config = match &self.config {
            Some(path) => RunConfig::load_over(path, &base)?,
            None if self.resume => resume::stored_config(&self.out)?,
            None => base,
        };
        config.objective = self.objective.clone().unwrap_or(config.objective);
        config.steps = self.steps.unwrap_or(config.steps);
        config.batch_size = self.batch_size.unwrap_or(config.batch_size);
        config.seed = self.seed.unwrap_or(config.seed);
        self.chosen.apply(&mut config.data);
        config.check()?;
        Ok(config)
    }

    /// The trainer, and what is to be said of how it goes on.
    fn trainer(
        &self,
        device: &Device,
        episodes: &Episodes,
        config: &RunConfig,
        data: &str,
        resuming: bool,
    ) -> anyhow::Result<(Trainer, Vec<String>)> {
        let (start, notes) = match (&self.init, resuming) {
            (_, true) => {
                let stopped = Stopped::read(&self.out)?;
                let notes = stopped.goes_on(config, data)?;
                (Start::from_stopped(&stopped, data, config)?, notes)
            }
            (Some(path), false) => {
                let keep = self.init_normalizer == InitNormalizer::Keep;
                let how = if keep { "kept" } else { "fitted to these demonstrations" };
                let note = format!("starts from the weights of {}, its normalisers {how}", path.display());
                (Start::from_policy(Policy::load(path)?, keep), vec![note])
            }
            (None, false) => (Start::default(), Vec::new()),
        };
        let mut trainer = Trainer::start(device, episodes, config, &start).map_err(|e| match e {
            TrainError::Data(_) | TrainError::Norm(_) => match self.data.as_slice() {
                [one] => in_file(one, e.into()),
                _ => e.into(),
            },
            _ => e.into(),
        })?;
        if resuming {
            trainer.resume(&self.out, data)?;
        }
        Ok((trainer, notes))
    }

    /// A line on whether the run was long enough, from the held-out loss's course.
    fn long_enough(&self, course: Option<Course>, s: &Summary<'_>) -> String {
        let step = |step: u64| grouped(step as i64);
        let (Some(c), true) = (course, s.steps > s.resumed_at) else { return String::new() };
        let (at, fall) = (
            format!(
                "{} at step {}, {} at {}",
                short(c.half.1),
                step(c.half.0),
                short(c.end.1),
                step(c.end.0)
            ),
            c.fall_per_doubling(),
        );
        if c.is_falling() {
            return format!(
                "held-out loss {at}: it still falls by {:.0} % per doubling of the steps, so a longer run will be better: go on with \
                 --resume --steps {}, or with --until-flat\n",
                100.0 * fall,
                2 * s.steps
            );
        }
        if c.is_rising() {
            return format!(
                "held-out loss {at}, but {} at step {}: it rises, as the policy learns its demonstrations by heart; fewer steps or more \
                 demonstrations will be better\n",
                short(c.least.1),
                step(c.least.0)
            );
        }
        format!("held-out loss {at}: flat, the run was long enough\n")
    }

    /// Says what there is, and what to do with it, when a run fails.
    fn explain(&self, error: TrainError, kept: &Kept) -> anyhow::Error {
        let at = self.out.display();
        let step = |step: u64| grouped(step as i64);
        let what = match (kept.policy, kept.state) {
            (None, _) if self.out.exists() => {
                format!("training failed before the first checkpoint; {at} is still that of an earlier run")
            }
            (None, _) => format!("training failed before the first checkpoint of {at}"),
            (Some(p), Some(s)) if p == s => format!("training failed; {at} keeps step {}", step(p)),
            (Some(p), Some(s)) => format!(
                "training failed; {at} is the policy of step {}, and --resume goes on from step {}",
                step(p),
                step(s)
            ),
            (Some(p), None) => format!(
                "training failed; {at} is the policy of step {}, whole, but without the run's state, so --resume cannot go on: sample it, \
                 or start a run from it (--init {at} and another --out)",
                step(p)
            ),
        };
        anyhow::Error::from(error).context(what)
    }

    fn stopped(&self, outcome: &Outcome, total: u64) -> String {
        let (step, total) = (grouped(outcome.step as i64), grouped(total as i64));
        match outcome.step {
            0 => "stopped before the first step; nothing was saved".into(),
            _ => format!(
                "stopped at step {step} of {total} and saved {}; the same command with --resume goes on",
                self.out.display()
            ),
        }
    }
}

/// Where the metrics of a policy go if nothing is said: metrics.jsonl beside it, unless that is another run's whose state lies there.
fn usual_metrics(out: &Path) -> PathBuf {
    let (shared, mut own) =
        (out.with_file_name("metrics.jsonl"), out.file_stem().unwrap_or_default().to_owned());
    own.push(".metrics.jsonl");
    let own = out.with_file_name(own);
    let state = resume::train_path(out);
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let others = || {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let states = entries.filter(|entry| Path::new(&entry.file_name()).extension() == state.extension());
        states.into_iter().any(|entry| Some(entry.file_name().as_os_str()) != state.file_name())
    };
    let anew = !out.exists() && !state.exists();
    if own.exists() || anew && shared.exists() && others() { own } else { shared }
}

/// Says what only the normalisers' fit knows: quantiles that give no scale. The rest is among the warnings.
fn warn(trainer: &Trainer) {
    let sparse = |found: &&ColumnFinding| matches!(found.finding, Finding::Sparse { .. });
    for finding in trainer.findings().iter().filter(sparse) {
        note_line(&format!("warning: {finding}"));
    }
}

/// The steps whose files are whole.
struct Kept {
    policy: Option<u64>,
    state: Option<u64>,
}

/// A bar over the whole run, an earlier part of it already done.
fn bar(first: u64, total: u64) -> ProgressBar {
    let bar = progress(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}  {eta} left") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.set_position(first);
    bar.reset_eta();
    bar
}

/// Moves the bar; where there is none, a line at each validation.
fn show(bar: &ProgressBar, event: &Event, total: u64) {
    match event {
        Event::Steps { step, loss, steps_per_s } => {
            bar.set_position(*step);
            let val = bar.prefix();
            bar.set_message(format!("loss {}{val}  {} steps/s", short(*loss), short(*steps_per_s)));
        }
        Event::Line(line) => {
            let Some(val) = line.val_loss else { return };
            bar.set_prefix(format!("  validation {}", short(val)));
            if bar.is_hidden() {
                let (step, total) = (grouped(line.step as i64), grouped(total as i64));
                let (loss, speed) = (short(line.loss), short(line.steps_per_s));
                note_line(&format!(
                    "step {step} of {total}  loss {loss}  validation {}  {speed} steps/s",
                    short(val)
                ));
            }
        }
        Event::PolicySaved(_) | Event::Saved(_) | Event::HighLoss { .. } => {}
    }
}

fn render(s: &Summary<'_>) -> String {
    let checkpoint = s.checkpoint.display();
    let taken = s.steps - s.resumed_at;
    if taken == 0 {
        return format!("{checkpoint} is complete: {}; nothing to do\n", count(s.steps as usize, "step"));
    }
    let mut out = format!(
        "trained {} of {} in {} ({} steps/s)\n",
        count(taken as usize, "step"),
        count(s.batch_size, "window"),
        duration(Duration::from_secs_f64(s.seconds)),
        short(s.steps_per_s),
    );
    if let Some(loss) = s.loss {
        let val = s.val_loss.map_or("no validation split".into(), |v| format!("validation {}", short(v)));
        out += &format!("loss {}, {val}\n", short(loss));
    }
    out + &format!("wrote {checkpoint} and {}\n", s.metrics.display())
}
