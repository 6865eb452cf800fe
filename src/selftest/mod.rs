//! The self-test: every kernel variant against its twin and an f64 oracle, then random numbers, whole passes and the golden
//! cases of the field's references, so that a user knows in a minute whether a GPU and its driver can be trusted. The test
//! suite calls the same code.

pub mod cases;
mod checks;
pub mod golden;
pub mod gpu;
mod kernels;
mod report;

pub use report::{Check, GoldenCase, GoldenReport, KernelReport, Report, Skipped, VariantReport};

use crate::device::{Device, DeviceError};
use crate::kernel::Target;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Why a self-test came to no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// The caller asked to stop.
    #[error("the self-test was stopped")]
    Stopped,
    /// The device was lost or could not hold the test.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The folder of golden cases cannot be read.
    #[error(transparent)]
    Golden(#[from] golden::GoldenError),
}

/// Where the self-test is: what it tries, how many things of this part are done, of how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At<'a> {
    /// The kernel or check.
    pub what: &'a str,
    /// Parts done.
    pub done: usize,
    /// Parts in all.
    pub of: usize,
}

/// Tells the caller where the self-test is; the answer false stops it.
pub(crate) struct Progress<'a> {
    go_on: &'a mut dyn FnMut(At<'_>) -> bool,
}

impl Progress<'_> {
    fn at(&mut self, what: &str, done: usize, of: usize) -> Result<(), SelfTestError> {
        if (self.go_on)(At { what, done, of }) { Ok(()) } else { Err(SelfTestError::Stopped) }
    }
}

/// Tests a device, with the golden cases of a folder if one is given. `go_on` hears what is being tried, often, and may
/// stop it by answering false.
pub fn run(
    device: &Device,
    golden: Option<&Path>,
    go_on: &mut dyn FnMut(At<'_>) -> bool,
) -> Result<Report, SelfTestError> {
    let begun = Instant::now();
    let mut progress = Progress { go_on };
    // A folder that cannot be read is known before the minute of work, not after it.
    let files = golden.map(golden::files).transpose()?;
    let kernels = kernels::run(device, &mut progress)?;
    let checks = checks::run(device, &mut progress)?;
    let golden = match (golden, files) {
        (Some(folder), Some(files)) => Some(goldens(device, folder, &files, &mut progress)?),
        _ => None,
    };
    let (skipped, never_exercised) = match device {
        Device::Gpu(gpu) => kernels::uncovered(&gpu.caps().limits, &Target::from(gpu.caps()), &kernels),
        Device::Cpu(_) => Default::default(),
    };
    let passed = kernels.iter().all(KernelReport::passed)
        && checks.iter().all(|c| c.passed)
        && golden.as_ref().is_none_or(GoldenReport::passed)
        && never_exercised.is_empty();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        device: device.describe(),
        adapter: device.gpu().map(|gpu| gpu.report().clone()),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        kernels,
        skipped,
        never_exercised,
        checks,
        golden,
        passed,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Runs the golden cases; only a lost device ends them.
fn goldens(
    device: &Device,
    folder: &Path,
    files: &[PathBuf],
    progress: &mut Progress<'_>,
) -> Result<GoldenReport, SelfTestError> {
    let mut report = GoldenReport::new(folder);
    for (n, path) in files.iter().enumerate() {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        progress.at(&name, n, files.len())?;
        match golden::GoldenFile::open(path) {
            Ok(file) => report.note(golden::run(&file, device)),
            Err(error) => report.broken(&name, error.to_string()),
        }
        if let Device::Gpu(gpu) = device {
            gpu.check()?;
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    /// On a GPU the command does the same: `tests/cli`.
    #[test]
    fn twins_match_their_oracles() {
        let report = run(&Device::Cpu(Cpu::with_threads(2).unwrap()), None, &mut |_| true).unwrap();
        let failures: Vec<String> = report.failures().collect();
        assert!(report.passed, "{}:\n{}", report.device, failures.join("\n"));
        assert!(failures.is_empty());
        assert_eq!(report.kernels.len(), crate::kernel::KERNELS.len() - 2, "all but the other two products");
        assert!(report.kernels.iter().all(|k| k.variants.len() == 2), "one thread and two");
    }

    /// The order of every sum is that of the shape: no kernel's result depends on how many threads share the work.
    #[test]
    fn threads_change_no_bit_of_a_kernel() {
        let cpu = Cpu::with_threads(4).unwrap();
        let bits =
            |buffers: &[Vec<f32>]| -> Vec<u32> { buffers.iter().flatten().map(|v| v.to_bits()).collect() };
        for (name, cases) in cases::CASES {
            for case in cases(&crate::kernel::Target::CPU) {
                let alone = bits(&case.run_twin(1));
                for threads in [2, 3, 4, 8, 16] {
                    let shared = cpu.install(|| case.run_twin(threads));
                    assert!(bits(&shared) == alone, "{name}, {}: {threads} threads", case.label);
                }
            }
        }
    }

    #[test]
    fn it_can_be_stopped() {
        let device = Device::Cpu(Cpu::with_threads(1).unwrap());
        assert!(matches!(run(&device, None, &mut |_| false), Err(SelfTestError::Stopped)));
    }
}
