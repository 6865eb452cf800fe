//! The section of a report that says what ran where, and how fast.

use super::format::{si, significant};
use super::html::Section;
use super::table::Table;

/// A device that a run used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceInfo {
    /// Name, for example "NVIDIA Jetson Orin" or the processor's model.
    pub name: String,
    /// Backend, for example "Vulkan", "Metal" or "CPU".
    pub backend: String,
    /// Driver and its version; empty if there is none.
    pub driver: String,
    /// Worker threads on the host, where the device is one.
    pub threads: Option<usize>,
}

/// How long one stage of the work takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageTime {
    /// The stage, for example "sample, batch 256, 10 steps".
    pub stage: String,
    /// Median wall time in milliseconds.
    pub ms: f64,
    /// 99th percentile of the wall time in milliseconds, if measured.
    pub p99_ms: Option<f64>,
    /// Action chunks finished per second, if the stage makes any.
    pub chunks_per_s: Option<f64>,
}

/// A section with a table of devices and a table of stages (bars compare the median times). Columns that would be
/// empty are left out.
pub fn timing_section(title: &str, devices: &[DeviceInfo], stages: &[StageTime]) -> Section {
    let mut section = Section::new(title);
    if !devices.is_empty() {
        section = section.table(device_table(devices));
    }
    section.table(stage_table(stages))
}

fn device_table(devices: &[DeviceInfo]) -> Table {
    let (drivers, threads) =
        (devices.iter().any(|d| !d.driver.is_empty()), devices.iter().any(|d| d.threads.is_some()));
    let pick = |cells: [String; 4]| {
        let kept = cells.into_iter().zip([true, true, drivers, threads]).filter(|(_, keep)| *keep);
        kept.map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    let head = pick(["Device", "Backend", "Driver", "Threads"].map(Into::into));
    devices.iter().fold(Table::new(head), |table, d| {
        let driver = if d.driver.is_empty() { "–".to_owned() } else { d.driver.clone() };
        let threads = d.threads.map_or_else(|| "–".into(), |n| n.to_string());
        table.row(pick([d.name.clone(), d.backend.clone(), driver, threads]))
    })
}

fn stage_table(stages: &[StageTime]) -> Table {
    let (tails, rates) =
        (stages.iter().any(|s| s.p99_ms.is_some()), stages.iter().any(|s| s.chunks_per_s.is_some()));
    let pick = |cells: [String; 4]| {
        let kept = cells.into_iter().zip([true, true, tails, rates]).filter(|(_, keep)| *keep);
        kept.map(|(cell, _)| cell).collect::<Vec<_>>()
    };
    let optional = |value: Option<String>| value.unwrap_or_else(|| "–".into());
    let head = pick(["Stage", "Median ms", "p99 ms", "Chunks/s"].map(Into::into));
    let table = stages.iter().fold(Table::new(head), |table, s| {
        let tail = optional(s.p99_ms.map(|ms| significant(ms, 3)));
        table.row(pick([s.stage.clone(), significant(s.ms, 3), tail, optional(s.chunks_per_s.map(si))]))
    });
    table.bars(1, stages.iter().map(|s| s.ms))
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::super::html::Page;
    use super::*;

    #[test]
    fn empty_columns_are_left_out() {
        let device = DeviceInfo {
            name: "CPU <8>".into(),
            backend: "CPU".into(),
            threads: Some(8),
            ..Default::default()
        };
        let stage = StageTime {
            stage: "sample".into(),
            ms: f64::NAN,
            chunks_per_s: Some(1.5e6),
            ..Default::default()
        };
        let html = Page::new("t").section(timing_section("Timing", &[device], &[stage])).to_html();
        well_formed(&html);
        assert!(html.contains("1.5M") && html.contains("n/a") && html.contains("CPU &lt;8&gt;"));
        assert!(!html.contains("Driver") && !html.contains("p99 ms"));
    }

    #[test]
    fn nothing_measured_says_so() {
        let html = Page::new("t").section(timing_section("Timing", &[], &[])).to_html();
        well_formed(&html);
        assert!(html.contains("no data"));
    }
}
