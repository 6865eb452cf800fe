//! `advect bench`: how fast a device is.

use super::Run;
use super::common::{Context, Interrupt, number_in, print, print_json, progress};
use super::errors::{Interrupted, Usage};
use super::output::{Colour, Table, grouped, short};
use advect::bench::{self, BenchError, Budget, Report, Row, Setting, TRAIN_BATCH, Workload};
use advect::device::{Device, DeviceChoice};
use advect::flow::Solver;
use advect::graph::{Fusion, LAYERS, Precision};
use std::path::PathBuf;

mod roofline;

/// Measure how many action chunks per second a device samples (and trains), with random weights
///
/// One run draws the noise of a batch, each chunk with an observation of its own, integrates it, and has the result on
/// the host. GFLOP/s are nominal: the whole network at each evaluation, two operations for each element of its weight
/// matrices.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect bench
  advect bench --device gpu --batch 1,64 --solver rk4:4
  advect bench --batch 1 --train
  advect bench --batch 1 --latency
  advect bench --batch 1 --control --seconds 30
  advect bench --workload mlp512 --seconds 5 --json > bench.json
  advect bench --roofline --workload mlp256,mlp512 --plot roofline.svg

Workloads, for a chunk of 16 x 2 actions and an observation of 20: three hidden layers of 256 (mlp256) or 512 (mlp512), SiLU;
diffusion policy's U-Net of 256, 512 and 1024 channels over two observations (unet1d); a diffusion transformer of width 512,
6 layers, 8 heads, over the 16 actions (transformer).")]
pub struct Bench {
    /// The network: mlp256, mlp512, unet1d or transformer; with --roofline several, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "mlp256")]
    workload: Vec<Workload>,
    /// Batch sizes: numbers of chunks sampled together
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024,16384", value_parser = batch)]
    batch: Vec<usize>,
    /// euler:N, midpoint:N, heun:N, rk4:N, rk4_38:N, bosh3:RTOL[:ATOL], dopri5:RTOL[:ATOL] or tsit5:RTOL[:ATOL]
    #[arg(long, default_value = "euler:10")]
    solver: Solver,
    /// How the steps are scheduled: auto, layers (a dispatch each layer), or, where network and device allow it, all steps in
    /// one dispatch: rows (some samples in each workgroup), latency (one to four); either also has a training step run an MLP forward
    /// and backward in one dispatch
    #[arg(long, default_value = "auto")]
    fusion: Fusion,
    /// How weights are stored: f32, or f16 where a product is bound by reading them (few rows, fused steps) and for matrix units;
    /// then the error is reported too
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Measure a training step of batch 256 too: forward, backward, clipping, AdamW, moving average
    #[arg(long)]
    train: bool,
    /// Measure single chunks too, 10,000 calls one after another: p50, p99, p99.9, the longest, and the jitter (the mean
    /// difference from one call to the next)
    #[arg(long)]
    latency: bool,
    /// Measure the control loop too: one robot at 100 Hz in real time, a chunk at every step, inference in the loop and on
    /// a thread of its own, --seconds each (30 or more give a p99 that means something)
    #[arg(long)]
    control: bool,
    /// Compare with what the device could do: measure its bandwidth and its rate of operations with the engine's own kernels, and
    /// print for each workload and batch the time, the floor (the longer of all operations at that rate and all bytes that must
    /// be moved at that bandwidth, were the run one perfect kernel), their ratio, and which kernel holds most of the gap; with
    /// --train for a training step too
    #[arg(long, conflicts_with_all = ["latency", "control"])]
    roofline: bool,
    /// Draw the roofline into a file that ends in .svg or .html
    #[arg(long, value_name = "FILE", requires = "roofline", value_parser = plot_file)]
    plot: Option<PathBuf>,
    /// About how long to measure each batch size, seconds (at least five runs)
    #[arg(long, default_value = "2", value_parser = seconds)]
    seconds: f64,
    /// Print JSON: {device, workload, solver, threads, results, latency, control}; with --roofline {device, threads, solver, peaks,
    /// results}
    #[arg(long)]
    json: bool,
}

/// One measurement, which tells how far it is and hears whether to go on.
type Measure<'a> = dyn FnMut(&mut dyn FnMut(f64) -> bool) -> Result<Row, BenchError> + 'a;

/// A batch size.
pub(super) fn batch(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 24)
}

fn plot_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg" | "html") => Ok(path),
        _ => Err("needed a name that ends in .svg or .html".into()),
    }
}

/// How long to measure, seconds.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("needed a number of seconds above 0, up to 3600".into()),
    }
}

impl Bench {
    /// One of its workloads as it is to be measured.
    fn setting(&self, workload: Workload) -> Setting {
        Setting { workload, solver: self.solver, fusion: self.fusion, precision: self.precision }
    }
}

impl Run for Bench {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        if self.roofline {
            return roofline::run(&self, cx);
        }
        let [workload] = self.workload[..] else {
            return Err(Usage("--workload: several need --roofline".into()).into());
        };
        let setting = self.setting(workload);
        let all = *cx.device_choice() == DeviceChoice::All;
        if all && (self.train || self.latency || self.control) {
            return Err(
                Usage("--device all: needed one device for --train, --latency and --control".into()).into()
            );
        }
        let devices = cx.open_all(self.precision)?;
        let [device, ..] = &devices[..] else { anyhow::bail!("no device was opened") };
        let interrupt = Interrupt::catch()?;
        let budget = Budget::seconds(self.seconds);
        let mut report = Report {
            device: devices.iter().map(Device::describe).collect::<Vec<_>>().join(" + "),
            workload: workload.name(),
            solver: self.solver.to_string(),
            threads: bench::threads(device),
            results: Vec::new(),
            shares: Vec::new(),
            latency: None,
            control: Vec::new(),
        };
        let parts = self.batch.len()
            + [self.train, self.latency, self.control].map(usize::from).iter().sum::<usize>();
        let bar = progress(100 * parts as u64);
        let mut parts = 0;
        let mut measured = |what: &str, batch: usize, measure: &mut Measure<'_>| {
            bar.set_message(format!("{what}, batch {}", grouped(batch as i64)));
            let row = measure(&mut |done| {
                bar.set_position((100.0 * (parts as f64 + done)) as u64);
                !interrupt.pressed()
            });
            parts += 1;
            stopped(row)
        };
        for &batch in &self.batch {
            let mut shares = Vec::new();
            report.results.push(measured("sampling", batch, &mut |go_on| match all {
                false => bench::sample(device, &setting, batch, budget, go_on),
                true => {
                    let (row, own) = bench::fleet(&devices, &setting, batch, budget, go_on)?;
                    shares = own;
                    Ok(row)
                }
            })?);
            if all {
                report.shares.push(shares);
            }
        }
        if self.train {
            report.results.push(measured("training", TRAIN_BATCH, &mut |go_on| {
                bench::train(device, &setting, TRAIN_BATCH, budget, go_on)
            })?);
        }
        let from = |before: &[bool]| 100 * (self.batch.len() + before.iter().filter(|b| **b).count()) as u64;
        if self.latency {
            bar.set_message("single chunks");
            let from = from(&[self.train]);
            let row = bench::latency(device, &setting, bench::CALLS, &mut |done| {
                bar.set_position(from + (100.0 * done) as u64);
                !interrupt.pressed()
            });
            report.latency = Some(stopped(row)?);
        }
        if self.control {
            bar.set_message("the control loop");
            let from = from(&[self.train, self.latency]);
            let rows = bench::control(device, workload, self.solver, budget, &mut |done| {
                bar.set_position(from + (100.0 * done) as u64);
                !interrupt.pressed()
            });
            report.control = stopped(rows)?;
        }
        bar.finish_and_clear();
        if self.json { print_json(&report) } else { print(&render(&report, Colour::stdout())) }
    }
}

/// A measurement that was stopped was stopped by Ctrl-C.
fn stopped<T>(measured: Result<T, BenchError>) -> anyhow::Result<T> {
    measured.map_err(|error| match error {
        BenchError::Stopped => Interrupted.into(),
        other => other.into(),
    })
}

fn render(report: &Report, colour: Colour) -> String {
    let half = report.results.iter().any(|row| row.precision_error.is_some());
    let mut head = vec![
        "what",
        ">batch",
        ">p50 ms",
        ">p99 ms",
        ">min ms",
        ">chunks/s",
        ">evals/s",
        ">GFLOP/s",
        ">dispatches",
        ">submits",
    ];
    if half {
        head.push(">f16 error");
    }
    let mut table = Table::new(&head);
    let maybe = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), short);
    for row in &report.results {
        let mut cells = vec![
            row.what.to_owned(),
            grouped(row.batch as i64),
            short(row.p50_ms),
            short(row.p99_ms),
            short(row.min_ms),
            short(row.chunks_per_s),
            maybe(row.evals_per_s),
            maybe(row.gflops),
            grouped(row.dispatches as i64),
            grouped(row.submits as i64),
        ];
        if half {
            cells.push(row.precision_error.map_or_else(|| "-".to_owned(), |e| format!("{e:.1e}")));
        }
        table.row(cells);
    }
    let head = format!("{}, {} on {}", report.workload, report.solver, report.device);
    let mut text = format!("{head}\n{}", table.render(colour));
    for (row, shares) in report.results.iter().zip(&report.shares) {
        let list: Vec<String> =
            shares.iter().map(|s| format!("{} on {}", grouped(s.chunks as i64), s.device)).collect();
        text.push_str(&format!("batch {}: {}\n", grouped(row.batch as i64), list.join(", ")));
    }
    for step in report.results.iter().filter_map(|row| row.step) {
        let fused =
            if step.way == LAYERS { "layer by layer".into() } else { format!("fused by {}", step.way) };
        text.push_str(&format!("a training step: {} kernel calls, {fused}\n", step.calls));
    }
    if let Some(row) = &report.latency {
        let mut table = Table::new(&[
            ">calls",
            ">p50 ms",
            ">p99 ms",
            ">p99.9 ms",
            ">max ms",
            ">jitter ms",
            ">dispatches",
            ">submits",
        ]);
        table.row(vec![
            grouped(row.calls as i64),
            short(row.p50_ms),
            short(row.p99_ms),
            short(row.p999_ms),
            short(row.max_ms),
            short(row.jitter_ms),
            grouped(row.dispatches as i64),
            grouped(row.submits as i64),
        ]);
        text.push_str(&format!("\nsingle chunks, one after another\n{}", table.render(colour)));
    }
    if !report.control.is_empty() {
        text.push_str(&format!(
            "\nthe control loop at {} Hz\n{}",
            bench::RATE_HZ,
            control_table(report, colour)
        ));
    }
    text
}

fn control_table(report: &Report, colour: Colour) -> String {
    let mut table = Table::new(&[
        "inference",
        ">steps",
        ">act p50 ms",
        ">p99 ms",
        ">max ms",
        ">chunk p50 ms",
        ">p99 ms",
        ">max ms",
        ">held",
        ">longest delay",
    ]);
    for row in &report.control {
        let mut cells = vec![row.inference.to_owned(), grouped(row.ticks as i64)];
        cells.extend([row.act_p50_ms, row.act_p99_ms, row.act_max_ms].map(short));
        cells.extend([row.chunk_p50_ms, row.chunk_p99_ms, row.chunk_max_ms].map(short));
        cells.extend([grouped(row.held as i64), grouped(row.longest_delay as i64)]);
        table.row(cells);
    }
    table.render(colour)
}
