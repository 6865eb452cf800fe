//! `advect bench --roofline`: time beside floor.

use super::super::common::{Context, Interrupt, print, print_json, progress};
use super::super::errors::Usage;
use super::super::output::{Colour, Table, bytes, grouped, short};
use super::{Bench, stopped};
use advect::bench::{self, Budget, RooflineReport, RooflineRow, TRAIN_BATCH};
use advect::data::write_aside;
use advect::report::{Page, Section};
use anyhow::Context as _;
use std::io::Write as _;
use std::path::Path;

pub(super) fn run(args: &Bench, cx: &Context) -> anyhow::Result<()> {
    if args.solver.evaluations().is_none() {
        return Err(
            Usage(format!("--roofline: found {}, needed a solver with fixed steps", args.solver)).into()
        );
    }
    let device = cx.open()?;
    let interrupt = Interrupt::catch()?;
    let trained = usize::from(args.train);
    let bar = progress(100 * (1 + args.workload.len() * (args.batch.len() + trained)) as u64);
    let mut parts = 0;
    let mut heard = |done: f64| {
        bar.set_position((100.0 * (f64::from(parts) + done)) as u64);
        !interrupt.pressed()
    };
    bar.set_message("what the device reaches");
    // A twentieth of the time for a batch is long enough for one replay.
    let peaks = stopped(bench::peaks(&device, 0.05 * args.seconds, &mut heard))?;
    let mut results = Vec::new();
    let budget = Budget::seconds(args.seconds);
    for &workload in &args.workload {
        let sampled = args.batch.iter().map(|&batch| (false, batch));
        for (train, batch) in sampled.chain(args.train.then_some((true, TRAIN_BATCH))) {
            parts += 1;
            let what = if train { "training" } else { "sampling" };
            bar.set_message(format!("{what} {}, batch {}", workload.name(), grouped(batch as i64)));
            let mut heard = |done: f64| {
                bar.set_position((100.0 * (f64::from(parts) + done)) as u64);
                !interrupt.pressed()
            };
            let row = match train {
                true => bench::roofline_train(&device, &peaks, workload, batch, budget, &mut heard),
                false => bench::roofline(&device, &peaks, &args.setting(workload), batch, budget, &mut heard),
            };
            results.push(stopped(row)?);
        }
    }
    bar.finish_and_clear();
    let (device, threads) = (device.describe(), bench::threads(&device));
    let report = RooflineReport { device, threads, solver: args.solver.to_string(), peaks, results };
    if let Some(path) = &args.plot {
        write(path, &report)?;
    }
    if args.json { print_json(&report) } else { print(&render(&report, Colour::stdout())) }
}

/// The drawing, alone or in a page with the table.
fn write(path: &Path, report: &RooflineReport) -> anyhow::Result<()> {
    let figure = bench::plot(report);
    let text = match path.extension().is_some_and(|e| e == "svg") {
        true => figure.svg().to_owned(),
        false => {
            let section = Section::new("Time and floor")
                .figure(figure, "Across: operations per byte that must come from outside or go there. Up: what a run reached. The lines: the most that the device can do.")
                .code(render(report, Colour::none()));
            Page::new(format!("Roofline, {}", report.device)).section(section).to_html()
        }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(write_aside(path, |file| file.write_all(text.as_bytes()))?)
}

fn render(report: &RooflineReport, colour: Colour) -> String {
    let rates = &report.peaks.rates;
    let mut text = format!("{} on {}\n", report.solver, report.device);
    text += &format!(
        "at best {} GFLOP/s (products up to {} cubed), {} GB/s from memory (working sets up to {})",
        short(1e-9 * rates.flops_per_s),
        grouped(report.peaks.square as i64),
        short(1e-9 * rates.memory_bytes_per_s),
        bytes(report.peaks.working_set_bytes as u64)
    );
    if rates.cache_bytes > 0.0 {
        let (rate, size) = (short(1e-9 * rates.cache_bytes_per_s), bytes(rates.cache_bytes as u64));
        text += &format!(", {rate} GB/s in the cache (up to {size})");
    }
    let mut table = Table::new(&[
        "what",
        "workload",
        ">batch",
        ">time ms",
        ">floor ms",
        ">ratio",
        "bound",
        ">layered ms",
        "holds the gap",
        ">share",
    ]);
    for row in &report.results {
        let (holder, share) = holder(row);
        table.row(vec![
            row.what.to_owned(),
            row.workload.to_owned(),
            grouped(row.batch as i64),
            short(row.p50_ms),
            short(row.floor_ms),
            short(row.ratio),
            row.bound.name().to_owned(),
            short(row.layered_ms),
            holder,
            share,
        ]);
    }
    let clock = report.results.first().map_or(report.peaks.clock, |row| row.clock);
    text + "\n" + &table.render(colour) + "kernels timed by " + clock.name() + "\n"
}

/// What takes longest beyond its own floor, and its part of all that do.
fn holder(row: &RooflineRow) -> (String, String) {
    match row.gaps.first() {
        Some(gap) => {
            let name = gap.variant.unwrap_or(gap.kernel).to_owned();
            (name, format!("{:.0} %", 100.0 * gap.share))
        }
        None => ("-".into(), "-".into()),
    }
}
