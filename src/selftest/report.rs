//! What the self-test found, as plain data: one file to copy when a GPU or driver is in doubt.

use crate::device::AdapterReport;
use serde::Serialize;

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
        kernels.chain(missing).chain(checks)
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

/// The larger of two errors; NaN is the worst.
pub(super) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
