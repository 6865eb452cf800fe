//! report.html of the demo.

use super::pictures::Pictures;
use super::quality::{DRAWS, Distances, Quality};
use super::sampling::{Chunks, Latency};
use super::training::Record;
use crate::cli::output::{grouped, short};
use advect::data::Estimate;
use advect::device::Device;
use advect::policy::{PolicySpec, SamplerOptions};
use advect::report::format::significant;
use advect::report::{DeviceInfo, LossCurve, Page, Section, StageTime, Table, Tile, timing_section};
use advect::train::RunConfig;
use std::time::Duration;

/// What the page tells of.
pub struct Story<'a> {
    pub config: &'a RunConfig,
    pub spec: &'a PolicySpec,
    pub device: &'a Device,
    pub data: String,
    pub command: String,
    pub parameters: usize,
    pub observations: usize,
    pub record: &'a Record,
    /// What was said of the data and of the run, a line each.
    pub warnings: Vec<String>,
    pub chunks: &'a Chunks,
    pub latency: &'a Latency,
    pub quality: &'a Quality,
    pub pictures: Pictures,
    /// Wall time of each part of the demo.
    pub parts: Vec<(&'static str, Duration)>,
    /// Why something is smaller than usual.
    pub notes: Vec<String>,
}

/// A mean with its standard error.
pub fn estimate(e: &Estimate) -> String {
    match e.standard_error {
        Some(error) => format!("{} ± {}", short(e.mean), significant(error, 1)),
        None => short(e.mean),
    }
}

/// Milliseconds, or microseconds below one.
pub fn time(t: Duration) -> String {
    let ms = t.as_secs_f64() * 1e3;
    match () {
        () if ms < 1.0 => format!("{} µs", significant(ms * 1e3, 3)),
        () if ms < 1e3 => format!("{} ms", significant(ms, 3)),
        () => format!("{} s", significant(ms / 1e3, 3)),
    }
}

impl Story<'_> {
    /// The page.
    pub fn page(self) -> Page {
        let (spec, config) = (self.spec, self.config);
        let steps = grouped(config.steps as i64);
        let what = format!(
            "A flow-matching policy that pushes a T, trained for {steps} steps on {} and sampled on {}.",
            self.data,
            self.device.describe()
        );
        let mut page = Page::new("Push-T: what the policy learned").subtitle(what);
        page = page.section(self.glance());
        if let Some(section) = warned(&self.warnings) {
            page = page.section(section);
        }
        page = page.section(self.training());
        let horizon = match spec.rate_hz {
            Some(hz) => format!("{} positions to steer to, {:.1} s", spec.horizon, spec.horizon as f64 / hz),
            None => format!("{} positions to steer to", spec.horizon),
        };
        let text = format!(
            "The policy sees the scene and proposes chunks of actions ({horizon}). Thin lines are samples, the dark line is \
             the demonstration. None of these episodes was trained on. Of {} observations spread over them, first those on \
             which the samples part most, then typical ones.",
            self.observations
        );
        let Pictures { scenes, flow } = self.pictures;
        page = page.section(Section::new("Sampled chunks").text(text).figures(scenes));
        let text = "Sampling starts from noise around the agent (t = 0) and follows the learned velocity field to actions \
                    (t = 1). Each panel shows the same chunks at one time, in the scene of the first picture above.";
        page = page.section(Section::new("From noise to action").text(text).figure_row(flow));
        page = page.section(quality(self.quality, self.chunks, self.observations));
        let mut timing = timing_section(
            "Device and time",
            &devices(self.device),
            &stages(config, self.record, self.chunks, self.latency),
        );
        timing = timing.pairs(self.parts.iter().map(|(part, t)| ((*part).to_owned(), time(*t))));
        page = page.section(timing);
        let mut again = Section::new("Make it again")
            .text("The same command on the same device gives the same policy and the same samples, bit for bit.")
            .code(self.command)
            .pairs(settings(config, spec, self.parameters));
        for note in self.notes {
            again = again.text(note);
        }
        page.section(again).footer(format!("advect {}", env!("CARGO_PKG_VERSION")))
    }

    fn glance(&self) -> Section {
        let (config, quality) = (self.config, self.quality);
        let rate = self.chunks.count(self.spec.chunk()) as f64 / self.chunks.elapsed.as_secs_f64();
        let solver = SamplerOptions::default().solver;
        let mut section = Section::new("At a glance")
            .tile(Tile::new(time(self.record.elapsed), "training").note(format!(
                "{} steps of {} windows",
                grouped(config.steps as i64),
                config.batch_size
            )))
            .tile(Tile::new(format!("{}/s", short(rate)), "action chunks sampled").note(format!(
                "{} in one batch, {solver}",
                grouped(self.chunks.count(self.spec.chunk()) as i64)
            )))
            .tile(
                Tile::new(time(self.latency.p50), "one request")
                    .note(format!("p99 {}, batch 1", time(self.latency.p99))),
            )
            .tile(
                Tile::new(short(quality.chunks.sampled.mean), "energy distance to demonstrations")
                    .note(format!("floor {}", estimate(&quality.chunks.floor))),
            );
        if let Some(loss) = self.record.held_out() {
            section =
                section.tile(Tile::new(short(loss), "held-out loss").note("moving average of the weights"));
        }
        section
    }

    fn training(&self) -> Section {
        let train = self.record.series(|l| Some(l.loss));
        let validation = self.record.series(|l| l.val_loss);
        let rate = self.record.series(|l| Some(l.lr));
        let curve = LossCurve::new(&train).validation(&validation).learning_rate(&rate).log_y(true).render();
        Section::new("Training").figure(
            curve,
            "Mean square error of the velocity, normalised units. It does not go to 0: one observation allows many actions. \
             Part of this loss can never be removed, so compare runs rather than aiming at 0. Validation is on held-out \
             episodes, with the moving average of the weights, which trails behind at first.",
        )
    }
}

/// What was warned of; no section where nothing was.
fn warned(warnings: &[String]) -> Option<Section> {
    let text = "What the data and the run say about themselves, as advect train and advect data inspect print it. Look at these \
                before the numbers below.";
    (!warnings.is_empty()).then(|| Section::new("Warnings").text(text).list(warnings))
}

fn quality(q: &Quality, chunks: &Chunks, shown: usize) -> Section {
    let row = |what: &str, d: &Distances| {
        let ratio = d.sampled.mean / d.floor.mean;
        [what.to_owned(), estimate(&d.sampled), estimate(&d.floor), format!("{ratio:.2}"), short(d.still)]
    };
    let table = Table::new([
        "Energy distance, normalised units",
        "Samples",
        "Floor",
        "Samples / floor",
        "Standing still",
    ])
    .row(row("chunks", &q.chunks))
    .row(row("chunks with their observation", &q.joint));
    Section::new("How good are the samples?")
        .text(format!(
            "One sampled chunk for each of {} held-out observations against the chunks demonstrated there; mean \
             and standard error over {DRAWS} draws. The floor is the distance between two disjoint sets of as many \
             demonstrations, which a perfect sampler would score too; a policy that never moves sets the scale.",
            grouped(q.observations as i64)
        ))
        .table(table)
        .tile(
            Tile::new(format!("{} px", short(q.nearest)), format!("nearest of {} samples", chunks.samples))
                .note(format!("distance to the demonstration, mean over the chunk and {shown} observations")),
        )
        .tile(Tile::new(format!("{} px", short(q.average)), "an average sample").note("where there are several ways, most samples take another one"))
}

fn devices(device: &Device) -> [DeviceInfo; 1] {
    [match device {
        Device::Cpu(cpu) => {
            let report = cpu.report();
            let with = report.vector_extensions.join(", ");
            DeviceInfo {
                name: format!("CPU, {} ({with})", report.arch),
                backend: "CPU executor".into(),
                driver: String::new(),
                threads: Some(cpu.threads()),
            }
        }
        Device::Gpu(gpu) => {
            let report = gpu.report();
            DeviceInfo {
                name: report.name.clone(),
                backend: format!("WGSL through {}", report.backend),
                driver: format!("{} {}", report.driver, report.driver_info).trim().to_owned(),
                threads: None,
            }
        }
    }]
}

fn stages(config: &RunConfig, record: &Record, chunks: &Chunks, latency: &Latency) -> [StageTime; 3] {
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let count = (chunks.actions.len() / config.horizon / 2) as f64;
    [
        StageTime {
            stage: format!("one training step, {} windows (mean)", config.batch_size),
            ms: 1e3 / record.steps_per_s(),
            p99_ms: None,
            chunks_per_s: None,
        },
        StageTime {
            stage: format!(
                "sampling {} chunks in one batch (median of {})",
                grouped(count as i64),
                chunks.passes
            ),
            ms: ms(chunks.elapsed),
            p99_ms: None,
            chunks_per_s: Some(count / chunks.elapsed.as_secs_f64()),
        },
        StageTime {
            stage: format!("sampling one chunk ({} requests)", grouped(latency.requests as i64)),
            ms: ms(latency.p50),
            p99_ms: Some(ms(latency.p99)),
            chunks_per_s: Some(1.0 / latency.p50.as_secs_f64()),
        },
    ]
}

fn settings(config: &RunConfig, spec: &PolicySpec, parameters: usize) -> Vec<(String, String)> {
    let o = &config.optimizer;
    let pair = |k: &str, v: String| (k.to_owned(), v);
    vec![
        pair("parameters", grouped(parameters as i64)),
        pair("observation", format!("{} steps of {} values", spec.history, spec.obs_dim)),
        pair("action chunk", format!("{} steps of {} values", spec.horizon, spec.action_dim)),
        pair("batch", format!("{} windows", config.batch_size)),
        pair(
            "learning rate",
            format!(
                "{} after {} steps, then a cosine to 0",
                significant(o.lr.into(), 3),
                grouped(o.warmup.into())
            ),
        ),
        pair("held-out episodes", grouped(spec.provenance.validation_episodes.len() as i64)),
        pair("solver", SamplerOptions::default().solver.to_string()),
        pair("seed", config.seed.to_string()),
    ]
}
