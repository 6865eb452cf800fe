//! `advect devices`: what there is to compute on.

use super::Run;
use super::common::{Context, print, print_json};
use super::output::{Colour, bytes, count, grouped};
use advect::device::{
    AdapterReport, AutoVerdict, CpuReport, SubgroupSizes, Tuning, TuningError, cache, enumerate,
};
use std::path::PathBuf;

/// List every adapter and the CPU executor: limits, features, which one `auto` takes and why
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect devices
  advect devices --json | jq '.adapters[].name'")]
pub struct Devices {
    /// Print JSON: {auto, cpu, adapters}
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Listing {
    /// `cpu`, or the index of the adapter that `auto` takes.
    auto: String,
    cpu: CpuEntry,
    adapters: Vec<AdapterEntry>,
}

#[derive(serde::Serialize)]
struct AdapterEntry {
    #[serde(flatten)]
    report: AdapterReport,
    /// What `advect tune` kept; null if nothing.
    tuning: Option<TuningEntry>,
}

#[derive(serde::Serialize)]
struct TuningEntry {
    file: PathBuf,
    /// Questions measured.
    measured: usize,
    /// Guesses that gave way.
    changed: usize,
    /// Why the file does not count; null if it does.
    problem: Option<String>,
}

impl TuningEntry {
    fn of(report: &AdapterReport) -> Option<TuningEntry> {
        let folder = cache::folder()?;
        let file = Tuning::path(&folder, report);
        match Tuning::load(&folder, report) {
            Ok(None) => None,
            Ok(Some(tuning)) => {
                let (measured, changed) = (tuning.measured(), tuning.changed());
                Some(TuningEntry { file, measured, changed, problem: None })
            }
            Err(error) => {
                let problem = Some(match error {
                    TuningError::Outdated { .. } => "measured with another driver or version".into(),
                    other => other.to_string(),
                });
                Some(TuningEntry { file, measured: 0, changed: 0, problem })
            }
        }
    }

    fn line(&self) -> String {
        let (measured, changed) = (self.measured, self.changed);
        match &self.problem {
            Some(problem) => format!("not used: {problem}; advect tune measures again"),
            None => format!("{changed} of {measured} guesses changed, {}", self.file.display()),
        }
    }
}

#[derive(serde::Serialize)]
struct CpuEntry {
    #[serde(flatten)]
    report: CpuReport,
    auto: AutoVerdict,
}

impl Run for Devices {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let adapters = enumerate();
        let taken = adapters.iter().find(|a| a.auto.taken);
        let reason = match taken {
            Some(adapter) => format!("'{}' comes before it", adapter.name),
            None if adapters.is_empty() => "there is no GPU driver here".to_owned(),
            None => "there is no real GPU here".to_owned(),
        };
        let auto = AutoVerdict { taken: taken.is_none(), reason };
        let listing = Listing {
            auto: taken.map_or_else(|| "cpu".to_owned(), |a| a.index.to_string()),
            cpu: CpuEntry { report: cx.cpu()?.report(), auto },
            adapters: adapters
                .into_iter()
                .map(|report| AdapterEntry { tuning: TuningEntry::of(&report), report })
                .collect(),
        };
        if self.json { print_json(&listing) } else { print(&listing.render(Colour::stdout())) }
    }
}

impl Listing {
    fn render(&self, colour: Colour) -> String {
        let mut out = block(colour, "cpu", "the CPU executor", &self.cpu.lines());
        for adapter in &self.adapters {
            let mut lines = lines(&adapter.report);
            let tuning = adapter.tuning.as_ref().map(TuningEntry::line);
            lines.push(("tuning", tuning.unwrap_or_else(|| "none: advect tune measures".to_owned())));
            out += &block(colour, &adapter.report.index.to_string(), &adapter.report.name, &lines);
        }
        out += "--device (or ADVECT_DEVICE) takes auto, cpu, gpu, an index or part of a name; with sample and bench also all.\n";
        out
    }
}

impl CpuEntry {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let report = &self.report;
        let vectors = match report.vector_extensions.as_slice() {
            [] => "no vector extensions".to_owned(),
            some => some.join(", "),
        };
        let processor = format!("{}, {}", report.arch, count(report.threads, "thread"));
        vec![("processor", processor), ("vectors", vectors), ("auto", verdict(&self.auto))]
    }
}

fn lines(a: &AdapterReport) -> Vec<(&'static str, String)> {
    let l = &a.limits;
    let [x, y, z] = l.workgroup_size;
    let matrices: Vec<String> = a
        .cooperative_matrix
        .iter()
        .map(|s| format!("{}x{}x{} {:?} into {:?}", s.m, s.n, s.k, s.input, s.accumulate).to_lowercase())
        .collect();
    let immediates = match l.max_immediate_bytes {
        0 => "none".to_owned(),
        n => bytes(n.into()),
    };
    let compute = if a.compute { "" } else { ", no compute shaders" };
    let yes = |has: bool| if has { "yes" } else { "no" }.to_owned();
    vec![
        ("kind", format!("{:?}, {}{compute}", a.device_type, a.backend).to_lowercase()),
        ("driver", format!("{} {}", a.driver, a.driver_info).trim().to_owned()),
        (
            "buffers",
            format!(
                "up to {}, {} in one binding, {} bindings; uniform {}",
                bytes(l.max_buffer_bytes),
                bytes(l.max_storage_binding_bytes),
                l.storage_buffers_per_stage,
                bytes(l.max_uniform_binding_bytes)
            ),
        ),
        (
            "workgroups",
            format!(
                "{} invocations ({x} x {y} x {z}), {} of shared memory, {} in each dimension",
                l.workgroup_invocations,
                bytes(l.workgroup_storage_bytes.into()),
                grouped(l.workgroups_per_dimension.into())
            ),
        ),
        ("immediates", immediates),
        ("subgroups", a.subgroups.map_or_else(|| "no".to_owned(), subgroups)),
        ("f16", yes(a.shader_f16)),
        ("timestamps", yes(a.timestamps)),
        ("matrix units", if matrices.is_empty() { "none".to_owned() } else { matrices.join("; ") }),
        ("auto", verdict(&a.auto)),
    ]
}

fn subgroups(sizes: SubgroupSizes) -> String {
    match sizes {
        SubgroupSizes { min, max } if min == max => format!("of {min}"),
        SubgroupSizes { min, max } => format!("of {min} to {max}"),
    }
}

fn verdict(auto: &AutoVerdict) -> String {
    format!("{}: {}", if auto.taken { "takes it" } else { "passes" }, auto.reason)
}

/// A device: its key and name, then one line per property.
fn block(colour: Colour, key: &str, name: &str, lines: &[(&str, String)]) -> String {
    let mut out = format!("{}  {}\n", colour.bold(&format!("{key:>3}")), colour.bold(name));
    for (label, text) in lines {
        let text = if text.starts_with("takes it") { colour.green(text) } else { text.clone() };
        out += &format!("     {} {text}\n", colour.dim(&format!("{label:<12}")));
    }
    out + "\n"
}
