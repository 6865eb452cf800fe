//! `advect tune`: which kernels and schedules are fastest on this device.

use super::Run;
use super::bench::{batch, seconds};
use super::common::{Context, Interrupt, note_line, print, print_json, progress};
use super::errors::{Interrupted, Usage};
use super::output::{Colour, Table, count, short};
use advect::bench::{self, BenchError, Subject, TuneOptions, TuneResult, TuneRow, Workload};
use advect::device::{Device, Gpu, Tuning, cache};
use advect::flow::Solver;
use advect::graph::Precision;
use advect::policy::Policy;
use std::path::PathBuf;

/// Measure which kernels and schedules are fastest on this GPU, and keep the answers for every later run
///
/// Every variant of each product and attention in the given networks' plans is timed alone, then every way of running a sampler's steps, or a training
/// step: layer by layer, or all layers in one dispatch. A guess gives way to what is faster by more than 5 %. The answers hold for shapes within a
/// factor of two, and for this driver and this version's shaders.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect tune
  advect tune --policy policy.safetensors --batch 1,8
  advect tune --workload mlp256,unet1d --train
  advect tune --dry-run --json | jq '.results[] | select(.gain > 1.05)'

The file lies in the cache folder: ADVECT_CACHE_DIR, else the platform's; `advect devices` shows it. ADVECT_TUNING=off ignores it.
A tuned plan may round differently than an untuned one.")]
pub struct Tune {
    /// Networks of `advect bench` [default: mlp256,mlp512; on a software adapter mlp256; with --policy none]
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// A policy to tune for
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Batch sizes: numbers of chunks sampled together [default: 1,64,1024,16384; on a software adapter 1,64]
    #[arg(long, value_delimiter = ',', value_parser = batch)]
    batch: Vec<usize>,
    /// The solver, as for `advect bench`
    #[arg(long, default_value = "euler:10")]
    solver: Solver,
    /// How weights are stored, as for `advect bench`: f32 or f16
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Measure a training step of the workloads too: its products, and the ways of running it
    #[arg(long)]
    train: bool,
    /// About how long to measure each question, seconds (at least five rounds of all its answers)
    #[arg(long, default_value = "0.3", value_parser = seconds)]
    seconds: f64,
    /// Measure and print, and keep nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {device, results, skipped, file}
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Report {
    device: String,
    results: Vec<TuneRow>,
    skipped: Vec<bench::SkippedBatch>,
    /// Where the answers are kept; null if they are not.
    file: Option<PathBuf>,
}

impl Run for Tune {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let folder = match (cache::folder(), self.dry_run) {
            (_, true) => None,
            (Some(folder), false) => Some(folder),
            (None, false) => {
                let text =
                    format!("{} keeps no files: set it to a folder, or try --dry-run", cache::VARIABLE);
                return Err(Usage(text).into());
            }
        };
        let device = cx.open_for(self.precision)?;
        let mut report =
            Report { device: device.describe(), results: Vec::new(), skipped: Vec::new(), file: None };
        let mut kept = Ok(());
        match &device {
            Device::Cpu(_) => note_line("nothing to tune: the CPU executor has one twin for each kernel"),
            Device::Gpu(gpu) => {
                let tuning = self.measure(gpu, &mut report)?;
                if let Some(folder) = folder {
                    kept = tuning.add_to(&folder, gpu.report()).map(|path| report.file = Some(path));
                }
            }
        }
        match (self.json, device.gpu()) {
            (true, _) => print_json(&report)?,
            (false, Some(_)) => print(&report.render(Colour::stdout()))?,
            (false, None) => {}
        }
        // Minutes of measurements are shown also where the disk does not take them.
        Ok(kept?)
    }
}

impl Tune {
    fn measure(&self, gpu: &Gpu, report: &mut Report) -> anyhow::Result<Tuning> {
        let software = gpu.report().is_software();
        let (subjects, batches) = (self.subjects(software)?, self.batches(software));
        let (solver, precision) = (self.solver, self.precision);
        let options = TuneOptions { batches, solver, precision, train: self.train, seconds: self.seconds };
        let (interrupt, bar) = (Interrupt::catch()?, progress(1000));
        let found = bench::tune(gpu, &subjects, &options, &mut |what, done| {
            if bar.message() != what {
                bar.set_message(what.to_owned());
            }
            bar.set_position((1000.0 * done) as u64);
            !interrupt.pressed()
        });
        bar.finish_and_clear();
        let found = found.map_err(|error| match error {
            BenchError::Stopped => anyhow::Error::from(Interrupted),
            other => other.into(),
        })?;
        something(&found)?;
        (report.results, report.skipped) = (found.rows, found.skipped);
        Ok(found.tuning)
    }

    fn subjects(&self, software: bool) -> anyhow::Result<Vec<Subject>> {
        let mut subjects: Vec<Subject> = self.workload.iter().copied().map(Subject::Workload).collect();
        if let Some(path) = &self.policy {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            subjects.push(Subject::Policy { name, policy: Box::new(Policy::load(path)?) });
        }
        if subjects.is_empty() {
            let all = [Workload::Mlp256, Workload::Mlp512];
            subjects.extend(all.into_iter().take(if software { 1 } else { 2 }).map(Subject::Workload));
        }
        Ok(subjects)
    }

    fn batches(&self, software: bool) -> Vec<usize> {
        match (self.batch.is_empty(), software) {
            (false, _) => self.batch.clone(),
            (true, true) => vec![1, 64],
            (true, false) => vec![1, 64, 1024, 16_384],
        }
    }
}

/// Refuses a tuning of which every batch was skipped.
fn something(found: &TuneResult) -> anyhow::Result<()> {
    match (&found.rows[..], &found.skipped[..]) {
        ([], [first, ..]) => {
            anyhow::bail!("nothing was measured, no batch fits: {}: {}", first.what, first.reason)
        }
        _ => Ok(()),
    }
}

impl Report {
    fn render(&self, colour: Colour) -> String {
        let mut table = Table::new(&["what", "guess", ">ms", "best", ">ms", ">gain"]);
        let mut changed = 0;
        for row in &self.results {
            let of = |name: &str| row.ways.iter().find(|w| w.way == name).map_or(f64::NAN, |w| w.ms);
            let guess = row.ways.first().map_or("-", |w| w.way);
            let better = row.best != guess;
            changed += usize::from(better);
            table.row(vec![
                row.what.clone(),
                guess.to_owned(),
                short(of(guess)),
                if better { row.best.to_owned() } else { "the guess".to_owned() },
                short(of(row.best)),
                if better { format!("{:.2} x", row.gain) } else { "-".to_owned() },
            ]);
        }
        let mut text = format!("{}\n{}", self.device, table.render(colour));
        for skipped in &self.skipped {
            text += &format!("skipped {}: {}\n", skipped.what, skipped.reason);
        }
        let kept = match &self.file {
            Some(path) => format!("kept in {}", path.display()),
            None => "nothing kept".to_owned(),
        };
        text + &format!("{} measured, {changed} changed; {kept}\n", count(self.results.len(), "question"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuning_nothing_is_a_failure() {
        let skipped =
            vec![bench::SkippedBatch { what: "mlp256, batch 9".into(), reason: "too large".into() }];
        let mut found = TuneResult { skipped, ..TuneResult::default() };
        let error = something(&found).unwrap_err().to_string();
        assert_eq!(error, "nothing was measured, no batch fits: mlp256, batch 9: too large");
        found.rows.push(TuneRow {
            what: "steps".into(),
            question: "q".into(),
            ways: vec![],
            best: "rows",
            gain: 1.0,
        });
        assert!(something(&found).is_ok(), "some were measured");
        assert!(something(&TuneResult::default()).is_ok(), "there was nothing to measure");
    }
}
