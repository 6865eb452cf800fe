//! `advect demo`: trains on the Push-T demonstrations, samples, and shows what came of it.

mod held_out;
mod modes;
mod pace;
mod page;
mod pictures;
mod quality;
mod sampling;
mod training;

use super::Run;
use super::common::{Context, Interrupt, alone, note_line, print};
use super::errors::Interrupted;
use super::files::Files;
use super::output::{Colour, bytes, count, grouped, short};
use advect::data::{Array, Aside, DataError, DataSets, Episodes, read_npz_f32, write_aside, write_npy_f32};
use advect::policy::SamplerOptions;
use advect::train::{RunConfig, Trainer};
use anyhow::Context as _;
use page::{Story, estimate, time};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const POLICY: &str = "policy.safetensors";
const ACTIONS: &str = "actions.npy";
const METRICS: &str = "metrics.jsonl";
const REPORT: &str = "report.html";
/// The demonstrations that the program carries, so that it needs no other file.
const SHIPPED: &[u8] = include_bytes!("../../data/pusht.npz");
/// What they are called.
const SHIPPED_NAME: &str = "data/pusht.npz";

/// Train on the shipped Push-T demonstrations, sample 4,096 action chunks, and write a report with pictures
#[derive(clap::Args)]
#[command(after_help = "\
Training takes about a minute: a few steps are timed, and as many as fit are taken (at most 6,000). Give --steps for a run
that can be repeated exactly.

Examples:
  advect demo
  advect demo --device gpu
  advect demo --steps 2000 --seed 1 --out runs/seed1")]
pub struct Demo {
    /// The demonstrations [default: those of Push-T that advect carries]
    #[arg(long, value_name = "FILE.npz")]
    data: Option<PathBuf>,
    /// Training steps [default: what fits a minute, at most 6,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    steps: Option<u64>,
    /// Where the policy, samples, metrics and report go
    #[arg(long, value_name = "FOLDER", default_value = "advect-out")]
    out: PathBuf,
    /// Seed of weights, batches and noise
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

/// What the policy learns from.
struct Demonstrations {
    episodes: Episodes,
    /// The scene's state at each row, where the file has it.
    states: Option<Array>,
    /// What in them may ruin the policy, as `advect train` says it.
    warnings: Vec<String>,
}

/// Wall times of the demo's parts.
struct Parts {
    list: Vec<(&'static str, Duration)>,
    since: Instant,
}

impl Parts {
    /// Ends a part and begins the next.
    fn end(&mut self, part: &'static str) {
        self.list.push((part, self.since.elapsed()));
        self.since = Instant::now();
    }
}

impl Run for Demo {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut parts = Parts { list: Vec::new(), since: begin };
        let interrupt = Interrupt::catch()?;
        let mut config = RunConfig { seed: self.seed, ..RunConfig::push_t() };
        let outputs = [POLICY, ACTIONS, METRICS, REPORT].map(|name| self.out.join(name));
        let files = self.data.iter().fold(Files::default(), |files, path| files.reads("--data", path));
        outputs.iter().fold(files, |files, path| files.writes("--out", path)).check()?;
        let Demonstrations { episodes, states, warnings } = self.load(&config)?;
        // Before a folder is made: a device that does not exist leaves none behind.
        let device = cx.open()?;
        self.prepare()?;
        let _ours = alone(&self.out.join(POLICY), "--out")?;
        let software = device.gpu().is_some_and(|gpu| gpu.report().is_software());
        let mut notes = Vec::new();
        let mut note = |text: String| {
            note_line(&text);
            notes.push(text);
        };
        parts.end("reading the data");

        let steps = match self.steps {
            Some(steps) => steps,
            None => {
                let pace = pace::measure(&device, &episodes, &config)?;
                let took = format!("{} ms per step", short(pace.ms_per_step));
                match (pace.steps < pace::MOST, software) {
                    (false, _) => {}
                    (true, true) => note(format!(
                        "software adapter: {} steps instead of {} ({took})",
                        grouped(pace.steps as i64),
                        grouped(pace::MOST as i64)
                    )),
                    (true, false) => {
                        note(format!("{} steps fit a minute ({took})", grouped(pace.steps as i64)))
                    }
                }
                pace.steps
            }
        };
        config = training::schedule(config, steps);
        if self.steps.is_none() {
            parts.end("timing a few steps");
        }

        let mut trainer = Trainer::new(&device, &episodes, &config)?;
        note_line(&format!(
            "training {} parameters for {} of {} windows",
            grouped(trainer.parameters() as i64),
            count(steps as usize, "step"),
            config.batch_size
        ));
        let record = training::train(&mut trainer, interrupt)?;
        let policy = trainer.policy()?;
        let parameters = trainer.parameters();
        drop(trainer);
        parts.end("training");

        let held_out = held_out::HeldOut::new(&episodes, &config, &policy.spec, states, &self.name())?;
        let shown = held_out.spread(sampling::OBSERVATIONS)?;
        let rate = sampling::rate(&device, &policy, &shown)?;
        let samples = sampling::affordable(rate, shown.windows.len());
        if samples < sampling::SAMPLES {
            let [now, full] = [samples, sampling::SAMPLES].map(|n| grouped((n * shown.windows.len()) as i64));
            note(format!(
                "{}: {now} chunks instead of {full}",
                if software { "software adapter" } else { "slow device" }
            ));
        }
        let chunks = sampling::batch(&device, &policy, &shown, samples, 0, if software { 1 } else { 5 })?;
        let latency = sampling::latency(&device, &policy, &shown)?;
        parts.end("sampling");
        check(interrupt)?;
        let per_s = chunks.count(policy.spec.chunk()) as f64 / chunks.elapsed.as_secs_f64();
        let quality = quality::measure(&device, &policy, &held_out, &shown, &chunks, per_s)?;
        parts.end("judging the samples");
        check(interrupt)?;
        let pictures = pictures::draw(&device, &policy, &held_out, &shown, &chunks)?;
        parts.end("drawing");

        let spec = &policy.spec;
        let story = Story {
            config: &config,
            spec,
            device: &device,
            data: self.name(),
            command: self.command(cx, steps),
            parameters,
            observations: shown.windows.len(),
            warnings: warnings.iter().chain(&record.warnings).cloned().collect(),
            record: &record,
            chunks: &chunks,
            latency: &latency,
            quality: &quality,
            pictures,
            parts: parts.list,
            notes,
        };
        let html = story.page().to_html();
        policy.save(self.out.join(POLICY))?;
        write_npy_f32(
            self.out.join(ACTIONS),
            &[shown.windows.len(), samples, spec.horizon, spec.action_dim],
            &chunks.actions,
        )?;
        let mut lines = String::new();
        for line in &record.lines {
            lines += &(serde_json::to_string(line)? + "\n");
        }
        write_aside(self.out.join(METRICS), |file| file.write_all(lines.as_bytes()))?;
        write_aside(self.out.join(REPORT), |file| file.write_all(html.as_bytes()))?;

        let c = Colour::stdout();
        let mut out = String::new();
        let mut say =
            |label: &str, text: String| out += &format!("{}  {text}\n", c.bold(&format!("{label:<11}")));
        let losses = match (record.lines.first(), record.held_out()) {
            (Some(first), Some(end)) => format!(
                "; loss {} at first, {} on held-out episodes at the end",
                short(first.loss),
                short(end)
            ),
            _ => String::new(),
        };
        say(
            "trained",
            format!(
                "{} in {} ({} steps/s){losses}",
                count(steps as usize, "step"),
                time(record.elapsed),
                short(record.steps_per_s())
            ),
        );
        say(
            "sampled",
            format!(
                "{} in {}: {} chunks/s ({} held-out observations x {samples} samples, {})",
                count(chunks.count(spec.chunk()), "action chunk"),
                time(chunks.elapsed),
                short(per_s),
                shown.windows.len(),
                SamplerOptions::default().solver
            ),
        );
        say("one request", format!("{} median, {} p99", time(latency.p50), time(latency.p99)));
        say(
            "quality",
            format!(
                "energy distance {} to {} demonstrated chunks, normalised units (floor {}; standing still {})",
                estimate(&quality.chunks.sampled),
                grouped(quality.observations as i64),
                estimate(&quality.chunks.floor),
                short(quality.chunks.still)
            ),
        );
        say(
            "",
            format!(
                "the nearest of {samples} samples is {} px from the demonstration, an average one {} px",
                short(quality.nearest),
                short(quality.average)
            ),
        );
        say("took", format!("{} in all", time(begin.elapsed())));
        out.push('\n');
        for (name, what) in [
            (REPORT, "open this: losses, chunks over the scene, the flow, times"),
            (POLICY, "the policy: weights, moving average, normalisers, all it means"),
            (ACTIONS, "the chunks [observations, samples, steps, x y], px"),
            (METRICS, "losses and speed by step"),
        ] {
            let path = self.out.join(name);
            let size = path.metadata().map_or(0, |m| m.len());
            out += &format!("{:<32} {:>9}  {}\n", path.display(), bytes(size), c.dim(what));
        }
        print(&out)
    }
}

impl Demo {
    /// Reads and judges the demonstrations.
    fn load(&self, config: &RunConfig) -> anyhow::Result<Demonstrations> {
        let read = |path: &Path| -> anyhow::Result<_> {
            let of_file = |error| match error {
                DataError::In { source, .. } => *source,
                error => error,
            };
            let states = read_npz_f32(path, "state")?;
            let sets = DataSets::open(&[path], &config.data).map_err(of_file)?;
            let warnings = sets.warnings(&config.purpose()).into_iter().map(|warning| warning.text);
            let warnings = warnings.collect();
            Ok(Demonstrations { episodes: sets.load(None).map_err(of_file)?.episodes, states, warnings })
        };
        let Some(path) = &self.data else {
            // Gone as soon as it is read.
            let mut file = tempfile::Builder::new().prefix("advect-demo").suffix(".npz").tempfile()?;
            file.write_all(SHIPPED).context("cannot write the demonstrations to a temporary file")?;
            return read(file.path());
        };
        read(path)
    }

    /// What the demonstrations are called.
    fn name(&self) -> String {
        self.data.as_ref().map_or_else(|| SHIPPED_NAME.into(), |path| path.display().to_string())
    }

    /// Makes the folder and sees whether it takes files, before a minute of work goes into them.
    fn prepare(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make the folder {}", self.out.display()))?;
        drop(Aside::create(self.out.join(POLICY))?);
        Ok(())
    }

    /// The command line that repeats this run.
    fn command(&self, cx: &Context, steps: u64) -> String {
        let mut line =
            format!("advect demo --device {} --steps {steps} --seed {}", cx.device_choice(), self.seed);
        if let Some(data) = &self.data {
            line += &format!(" --data {}", data.display());
        }
        if self.out != Path::new("advect-out") {
            line += &format!(" --out {}", self.out.display());
        }
        line
    }
}

fn check(interrupt: Interrupt) -> anyhow::Result<()> {
    if interrupt.pressed() { Err(Interrupted.into()) } else { Ok(()) }
}
