//! The roofline as a picture: operations per byte against operations per second.

use super::{RooflineReport, RooflineRow};
use crate::report::{Chart, Figure};

/// The roofs and a point for each row: across, operations per byte that must come from outside or
/// go there; up, 10^9 operations per second that the run reached.
pub fn plot(report: &RooflineReport) -> Figure {
    let rates = &report.peaks.rates;
    let memory = rates.memory_bytes_per_s;
    let mut bandwidths = vec![(memory, format!("memory, {:.0} GB/s", 1e-9 * memory))];
    if rates.cache_bytes > 0.0 {
        bandwidths
            .push((rates.cache_bytes_per_s, format!("cache, {:.0} GB/s", 1e-9 * rates.cache_bytes_per_s)));
    }
    let across = report.results.iter().map(|r| r.flops / r.bytes);
    let bends = bandwidths.iter().map(|(bandwidth, _)| rates.flops_per_s / bandwidth);
    let (low, high) = across.chain(bends).fold((f64::INFINITY, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
    let (low, high) = (0.5 * low, 2.0 * high);

    let title = format!("Roofline of {}", report.device);
    let mut chart = Chart::new(title, "operations per byte", "GFLOP/s").log(true, true);
    let top = 1e-9 * rates.flops_per_s;
    for (bandwidth, name) in bandwidths {
        let bend = rates.flops_per_s / bandwidth;
        chart = chart.roof(name, &[[low, 1e-9 * bandwidth * low], [bend, top], [high, top]]);
    }
    let label = |r: &RooflineRow| match r.what {
        "train" => format!("{}, training", r.workload),
        _ => r.workload.to_owned(),
    };
    let mut names: Vec<String> = report.results.iter().map(label).collect();
    names.dedup();
    for name in names {
        let rows = || report.results.iter().filter(|r| label(r) == name);
        let points: Vec<[f64; 2]> = rows().map(|r| [r.flops / r.bytes, 1e-6 * r.flops / r.p50_ms]).collect();
        let notes = rows().map(|r| format!("{name}, {}", r.batch)).collect();
        chart = chart.dots(name.clone(), &points, notes);
    }
    chart.render()
}
