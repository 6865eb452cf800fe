//! report.html: every method's samples over the data, quality against evaluations, quality against latency, flows over time,
//! and all numbers.

use super::pictures::Ground;
use super::record::{Report, Status};
use super::summary::{Mean, Spread, WITHIN};
use super::{Method, RunRecord, Task};
use crate::report::chart::Chart;
use crate::report::format::{si, significant};
use crate::report::{Page, Section, Table, Tile};

/// The page of a finished comparison; `command` repeats it.
pub(super) fn page(task: &Task, report: &Report, records: &[RunRecord], command: &str) -> Page {
    let ids: Vec<&str> = methods(report).collect();
    let differences: String = Method::differences(&ids).iter().map(|d| format!("; {d}")).collect();
    let mut page = Page::new(format!("Compared: {}", task.title)).subtitle(format!(
        "{} methods, {} steps of {} each, the same {}, on {}{differences}.",
        ids.len(),
        si(report.steps as f64),
        report.batch_size,
        report.network,
        report.device
    ));
    page = page.section(glance(report)).section(samples(task, records));
    page = page.section(against_evaluations(report)).section(against_latency(report));
    page = page.section(flows(task, records)).section(numbers(report)).section(trainings(report));
    page.section(again(report, command)).footer(format!("advect {}", env!("CARGO_PKG_VERSION")))
}

/// The distance that methods are ranked by.
fn quality(mean: &Mean) -> Option<Spread> {
    mean.energy_distance_joint.or(mean.energy_distance)
}

fn distance_name(report: &Report) -> &'static str {
    match report.reference.energy_distance_joint {
        Some(_) => "energy distance of chunks with their observations",
        None => "energy distance",
    }
}

fn floor(report: &Report) -> f64 {
    report.reference.energy_distance_joint.unwrap_or(report.reference.energy_distance)
}

fn glance(report: &Report) -> Section {
    let best = |nfe: usize| {
        let at = report.summary.iter().filter(move |m| m.nfe == nfe);
        at.filter_map(|m| Some((m, quality(m)?.mean))).min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let mut section = Section::new("At a glance");
    for (nfe, what) in [(1, "evaluation"), (10, "evaluations")] {
        if let Some((mean, distance)) = best(nfe) {
            let tile = Tile::new(mean.method.clone(), format!("closest to the data with {nfe} {what}"));
            section =
                section.tile(tile.note(format!("{} {}", distance_name(report), significant(distance, 3))));
        }
    }
    let fastest = report.equal_quality.methods.iter().filter(|m| m.latency_ms.is_some());
    if let Some(m) =
        fastest.min_by(|a, b| a.latency_ms.unwrap_or(0.0).total_cmp(&b.latency_ms.unwrap_or(0.0)))
    {
        let note = format!(
            "{} ms with {}",
            significant(m.latency_ms.unwrap_or(0.0), 3),
            evaluations(m.nfe.unwrap_or(0))
        );
        section = section.tile(Tile::new(m.method.clone(), "fastest at equal quality").note(note));
    }
    let tile = Tile::new(significant(floor(report), 3), "of other draws of the data");
    let section = section.tile(tile.note("no sampler can be expected to come below"));
    let failed: Vec<String> = report
        .training
        .iter()
        .filter(|t| t.status == Status::Failed)
        .map(|t| format!("{} seed {} ({})", t.method, t.seed, t.reason.as_deref().unwrap_or("failed")))
        .collect();
    match failed.is_empty() {
        true => section,
        false => section.text(format!("Failed, and in none of the means: {}.", failed.join("; "))),
    }
}

fn evaluations(n: usize) -> String {
    format!("{n} evaluation{}", if n == 1 { "" } else { "s" })
}

/// The first seed's record of each method.
fn first_of(records: &[RunRecord]) -> impl Iterator<Item = &RunRecord> {
    records.iter().filter(|r| r.training.seed == 0)
}

fn samples(task: &Task, records: &[RunRecord]) -> Section {
    let ground = Ground::new(task);
    let figures: Vec<_> = first_of(records).flat_map(|r| ground.samples(r)).collect();
    let text = match first_of(records).flat_map(|r| &r.pictures.panels).next() {
        Some(_) if task.reproduction.is_some() => {
            "Grey: the demonstrations. Blue: closed-loop reproductions from new starts, some of the shapes. Seed 0."
        }
        Some(panel) if panel.length > 1 => {
            "Dark: the held-out demonstration. Blue: samples for the same observation. Seed 0."
        }
        _ => "Grey: held-out data. Blue: samples. Seed 0.",
    };
    Section::new("Samples over the data").text(text).figures(figures)
}

fn methods(report: &Report) -> impl Iterator<Item = &str> {
    report.equal_quality.methods.iter().map(|m| m.method.as_str())
}

fn of<'a>(report: &'a Report, method: &'a str) -> impl Iterator<Item = &'a Mean> {
    report.summary.iter().filter(move |m| m.method == method)
}

fn against_evaluations(report: &Report) -> Section {
    let label = distance_name(report);
    let mut chart = Chart::new("Quality against evaluations", "evaluations of the network", label);
    for method in methods(report) {
        let points: Vec<[f64; 2]> =
            of(report, method).filter_map(|m| Some([m.nfe as f64, quality(m)?.mean])).collect();
        chart = chart.line(method, &points);
    }
    chart = chart.log(true, true).level(floor(report), "other draws");
    let mut section = Section::new("Quality against evaluations").figure(
        chart.render(),
        "Lower is closer to the held-out data; means over the seeds. The dashed line is the distance of other draws of the data.",
    );
    if report.summary.iter().any(|m| m.validity.is_some()) {
        let mut chart =
            Chart::new("Validity against evaluations", "evaluations of the network", "valid samples, %");
        for method in methods(report) {
            let points: Vec<[f64; 2]> =
                of(report, method).filter_map(|m| Some([m.nfe as f64, 100.0 * m.validity?.mean])).collect();
            chart = chart.line(method, &points);
        }
        section = section.figure(
            chart.log(true, false).render(),
            "Share of the samples in the support: off the manifold or in collision is invalid.",
        );
    }
    section
}

fn against_latency(report: &Report) -> Section {
    let label = distance_name(report);
    let mut chart = Chart::new("Quality against latency", "latency of one chunk, ms", label).log(true, true);
    let point = |m: &Mean| Some([m.latency_ms?.mean, quality(m)?.mean]);
    for method in methods(report) {
        let own: Vec<(&Mean, [f64; 2])> = of(report, method).filter_map(|m| Some((m, point(m)?))).collect();
        let points: Vec<[f64; 2]> = own.iter().map(|(_, p)| *p).collect();
        chart = chart.noted(method, &points, own.iter().map(|(m, _)| m.nfe.to_string()).collect());
    }
    let all: Vec<[f64; 2]> = report.summary.iter().filter_map(point).collect();
    let beaten = |p: &[f64; 2]| all.iter().any(|q| q != p && q[0] <= p[0] && q[1] <= p[1]);
    chart = all.iter().filter(|p| !beaten(p)).fold(chart, |chart, p| chart.ring(*p));
    let mut table = Table::new(["method", "evaluations", label, "latency, ms", "chunks/s"]);
    for m in &report.equal_quality.methods {
        let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| significant(v, 3));
        let nfe = m.nfe.map_or_else(|| "does not reach it".to_owned(), |n| n.to_string());
        let rate = m.samples_per_s.map_or_else(|| "-".to_owned(), si);
        table = table.row([m.method.clone(), nfe, number(m.energy_distance), number(m.latency_ms), rate]);
    }
    let section = Section::new("Quality against latency").figure(
        chart.render(),
        "The number beside a dot is the evaluations. Ringed: nothing is both faster and closer to the data (Pareto front).",
    );
    match report.equal_quality.target {
        Some(target) => section
            .text(format!(
                "At equal quality: the fewest evaluations with which each method comes within {WITHIN} times the best distance, {}.",
                significant(target, 3)
            ))
            .table(table),
        None => section,
    }
}

fn flows(task: &Task, records: &[RunRecord]) -> Section {
    let ground = Ground::new(task);
    let mut section = Section::new("Flows over time").text(
        "The samples (coloured by time) on their way from noise to action, over the held-out data; for points of the plane \
         also the velocity at each place, its arrows scaled to the longest of each panel. Seed 0. Methods without a flow are \
         left out.",
    );
    for record in first_of(records) {
        if let Some(trace) = &record.pictures.trace {
            section = section.figure_row(ground.flow(&record.training.method, trace));
        }
    }
    section
}

fn cell(value: &Option<Spread>) -> String {
    match value {
        None => "-".into(),
        Some(Spread { mean, sd: Some(sd) }) => format!("{} ± {}", significant(*mean, 3), significant(*sd, 2)),
        Some(Spread { mean, sd: None }) => significant(*mean, 3),
    }
}

fn numbers(report: &Report) -> Section {
    let mut table = Table::new([
        "method",
        "evaluations",
        "energy distance",
        "with observations",
        "sliced W2",
        "modes covered",
        "balance",
        "least share",
        "valid",
        "end error",
        "time warping",
        "diverged",
        "latency, ms",
        "chunks/s",
    ]);
    for m in &report.summary {
        table = table.row([
            m.name(),
            m.nfe.to_string(),
            cell(&m.energy_distance),
            cell(&m.energy_distance_joint),
            cell(&m.sliced_wasserstein),
            cell(&m.mode_coverage),
            cell(&m.mode_balance),
            cell(&m.mode_least),
            cell(&m.validity),
            cell(&m.end_error),
            cell(&m.dtw),
            cell(&m.diverged),
            cell(&m.latency_ms),
            m.samples_per_s.map_or_else(|| "-".to_owned(), |s| si(s.mean)),
        ]);
    }
    let r = &report.reference;
    let maybe = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| significant(v, 3));
    table = table.row([
        "(other draws)".to_owned(),
        String::new(),
        significant(r.energy_distance, 3),
        maybe(r.energy_distance_joint),
        significant(r.sliced_wasserstein, 3),
        String::new(),
        String::new(),
        String::new(),
        maybe(r.validity),
    ]);
    let section = Section::new("All numbers").text(
        "Means over the seeds that did not fail, with the sample standard deviation where there are several. What each measure is: docs/compare.md.",
    );
    section.table(table).pairs(report.absent.iter().map(|(k, v)| (k.clone(), v.clone())))
}

fn trainings(report: &Report) -> Section {
    let mut table = Table::new([
        "method",
        "seed",
        "parameters",
        "seconds",
        "loss",
        "log-likelihood",
        "deviation from straight",
        "length / chord",
        "remark",
    ]);
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| significant(v, 3));
    for t in &report.training {
        let remark = match t.status {
            Status::Ok => String::new(),
            _ => t.reason.clone().unwrap_or_default(),
        };
        table = table.row([
            t.method.clone(),
            t.seed.to_string(),
            t.parameters.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            number(t.train_s),
            number(t.loss),
            number(t.log_likelihood),
            number(t.straightness.map(|s| s.deviation)),
            number(t.straightness.map(|s| s.length_ratio)),
            remark,
        ]);
    }
    Section::new("Training, likelihood, straightness")
        .text(
            "Losses of different objectives do not compare. Log-likelihood: nats per held-out chunk. Deviation from straight: 0 \
             where one Euler step is exact; length over chord: 1 where paths are straight.",
        )
        .table(table)
}

fn again(report: &Report, command: &str) -> Section {
    let why = |method: &str| {
        let row = report.results.iter().find(|r| r.method == method && r.status != Status::Ok)?;
        Some((method.to_owned(), row.reason.clone()?))
    };
    let reasons: Vec<(String, String)> = methods(report).filter_map(why).collect();
    let mut section = Section::new("Make it again")
        .text("The same command on the same device gives the same numbers, times excepted.")
        .code(command);
    if !reasons.is_empty() {
        section = section.text("What does not apply, or failed:").pairs(reasons);
    }
    section
}
