//! What the self-test found, as plain data: one file to copy when a GPU or driver is in doubt.

use super::golden::{Outcome, Status};
use crate::device::AdapterReport;
use serde::Serialize;
use std::path::Path;

/// Failures kept in full for each variant; the rest is only counted.
const KEPT: usize = 3;

/// Everything that a self-test found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Version of advect.
    pub version: &'static str,
    /// The device in one line.
    pub device: String,
    /// The adapter, where the device is a GPU.
    pub adapter: Option<AdapterReport>,
    /// The system: `linux x86_64`.
    pub system: String,
    /// Every kernel.
    pub kernels: Vec<KernelReport>,
    /// Variants that this adapter cannot run.
    pub skipped: Vec<Skipped>,
    /// Variants that it could run, but that no case reached: a fault of the self-test.
    pub never_exercised: Vec<&'static str>,
    /// What was tested besides the kernels: random numbers, whole passes, repetition.
    pub checks: Vec<Check>,
    /// The golden cases, where a folder was given.
    pub golden: Option<GoldenReport>,
    /// The verdict.
    pub passed: bool,
    /// How long it took, seconds.
    pub seconds: f64,
}

impl Report {
    /// All cases of all kernels.
    pub fn cases(&self) -> usize {
        self.kernels.iter().map(KernelReport::cases).sum()
    }

    /// What failed, a line for each variant and check.
    pub fn failures(&self) -> impl Iterator<Item = String> + '_ {
        let variants = self.kernels.iter().flat_map(|k| k.variants.iter().map(move |v| (k.kernel, v)));
        let kernels = variants.filter(|(_, v)| v.failed > 0).map(|(kernel, v)| {
            let first = v.failures.first().map_or("", String::as_str);
            format!("{kernel} ({}), {} of {} cases, the first: {first}", v.variant, v.failed, v.cases)
        });
        let missing = self.never_exercised.iter().map(|v| format!("{v}: no case reaches it"));
        let checks = self.checks.iter().filter(|c| !c.passed).map(|c| format!("{}: {}", c.name, c.detail));
        let cases = self.golden.iter().flat_map(|g| g.failed.iter());
        let golden = cases.map(|c| format!("golden {} ({}): {}", c.file, c.case, c.message));
        kernels.chain(missing).chain(checks).chain(golden)
    }
}

/// One kernel: all variants of one shader, or on the CPU its twin.
#[derive(Debug, Clone, Serialize)]
pub struct KernelReport {
    /// Its name: `shaders/<kernel>.wgsl`, `src/kernel/<kernel>.rs`.
    pub kernel: &'static str,
    /// What ran.
    pub variants: Vec<VariantReport>,
}

impl KernelReport {
    /// Cases of all variants.
    pub fn cases(&self) -> usize {
        self.variants.iter().map(|v| v.cases).sum()
    }

    /// The worst relative L2 error against the f64 oracle.
    pub fn oracle_error(&self) -> f64 {
        self.variants.iter().map(|v| v.oracle_error).fold(0.0, worse)
    }

    /// The worst relative L2 distance from the CPU twin.
    pub fn twin_error(&self) -> f64 {
        self.variants.iter().map(|v| v.twin_error).fold(0.0, worse)
    }

    /// Whether every case passed.
    pub fn passed(&self) -> bool {
        self.variants.iter().all(|v| v.failed == 0)
    }
}

/// One variant of a kernel; on the CPU, the twin on so many threads.
#[derive(Debug, Clone, Serialize)]
pub struct VariantReport {
    /// Its name.
    pub variant: String,
    /// Cases run.
    pub cases: usize,
    /// Cases failed.
    pub failed: usize,
    /// The worst relative L2 error against the f64 oracle (of integers: how many differ).
    pub oracle_error: f64,
    /// The worst relative L2 distance from the CPU twin on one thread.
    pub twin_error: f64,
    /// The first failures.
    pub failures: Vec<String>,
}

impl VariantReport {
    pub(super) fn new(variant: String) -> VariantReport {
        VariantReport {
            variant,
            cases: 0,
            failed: 0,
            oracle_error: 0.0,
            twin_error: 0.0,
            failures: Vec::new(),
        }
    }

    /// Notes why a case failed, in one line.
    pub(super) fn fail(&mut self, reason: String) {
        self.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push(reason.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}

/// A variant that the adapter cannot run.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// Its name.
    pub variant: &'static str,
    /// The limit that it exceeds.
    pub reason: String,
}

/// One thing tested besides the kernels.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it held.
    pub passed: bool,
    /// Numbers, or what went wrong.
    pub detail: String,
}

/// Golden cases: inputs and outputs of the field's reference implementations.
#[derive(Debug, Clone, Serialize)]
pub struct GoldenReport {
    /// Where they lie.
    pub folder: String,
    /// Those that were met.
    pub passed: Vec<GoldenCase>,
    /// Those that were not.
    pub failed: Vec<GoldenCase>,
}

/// One golden case.
#[derive(Debug, Clone, Serialize)]
pub struct GoldenCase {
    /// The file's name, without its ending.
    pub file: String,
    /// What it computes.
    pub case: String,
    /// The worst relative L2 error.
    pub error: f64,
    /// The error allowed.
    pub tolerance: f64,
    /// Which tensor was worst, or what went wrong.
    pub message: String,
}

impl GoldenReport {
    pub(super) fn new(folder: &Path) -> GoldenReport {
        let folder = folder.display().to_string();
        GoldenReport { folder, passed: Vec::new(), failed: Vec::new() }
    }

    /// Notes one outcome.
    pub(super) fn note(&mut self, outcome: Outcome) {
        let Outcome { file, case, status, error, tolerance, message } = outcome;
        let case = GoldenCase { file, case, error, tolerance, message };
        match status {
            Status::Passed => self.passed.push(case),
            Status::Failed => self.failed.push(case),
        }
    }

    /// Notes a file that is no golden case.
    pub(super) fn broken(&mut self, file: &str, message: String) {
        let (file, case) = (file.to_owned(), "unreadable".to_owned());
        self.failed.push(GoldenCase { file, case, error: f64::NAN, tolerance: 0.0, message });
    }

    /// Whether there was a case and all were met.
    pub fn passed(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }

    /// The case that came closest to its tolerance, of those that were met.
    pub fn closest(&self) -> Option<&GoldenCase> {
        let share = |c: &GoldenCase| c.error / c.tolerance;
        self.passed.iter().max_by(|a, b| share(a).total_cmp(&share(b)))
    }
}

/// The larger of two errors; NaN is the worst.
pub(super) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
