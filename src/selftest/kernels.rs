//! Every kernel variant that a device can run, over all cases: against the f64 oracle, and against the CPU twin.

use super::cases::CASES;
use super::gpu::CaseRunner;
use super::report::{KernelReport, Skipped, VariantReport, worse};
use super::{Progress, SelfTestError};
use crate::device::{Cpu, Device, DeviceLimits, Gpu};
use crate::kernel::case::Case;
use crate::kernel::variant::Need;
use crate::kernel::{KERNELS, Target, Variant, variant};
use std::collections::{BTreeMap, BTreeSet};

/// How far WGSL may be from its twin where the oracle allows less.
const TWIN_TOLERANCE: f64 = 1e-5;

/// Results by kernel and variant.
#[derive(Default)]
struct Table {
    rows: BTreeMap<(&'static str, String), VariantReport>,
}

impl Table {
    fn row(&mut self, kernel: &'static str, variant: String) -> &mut VariantReport {
        self.rows.entry((kernel, variant.clone())).or_insert_with(|| VariantReport::new(variant))
    }

    /// Notes one outcome: the buffers, checked against the oracle and `twin`.
    fn note(&mut self, kernel: &'static str, name: String, case: &Case, got: &[Vec<f32>], twin: &[Vec<f32>]) {
        let row = self.row(kernel, name);
        row.cases += 1;
        let apart = distance(case, got, twin);
        row.twin_error = worse(row.twin_error, apart);
        match case.check(got) {
            Err(error) => {
                if let crate::kernel::case::CaseError::Error { found, .. } = &error {
                    row.oracle_error = worse(row.oracle_error, *found);
                }
                row.fail(error.to_string());
            }
            Ok(error) => {
                row.oracle_error = worse(row.oracle_error, error);
                let needed = case.tolerance.max(TWIN_TOLERANCE);
                if apart.is_nan() || apart > needed {
                    row.fail(format!(
                        "{}: {apart:.2e} from its twin, needed at most {needed:.0e}",
                        case.label
                    ));
                }
            }
        }
    }

    /// By kernel, in the order of the engine's table.
    fn finish(mut self) -> Vec<KernelReport> {
        let mut kernels = Vec::new();
        for kernel in KERNELS {
            let (own, rest) =
                std::mem::take(&mut self.rows).into_iter().partition(|((k, _), _)| *k == kernel.name);
            self.rows = rest;
            let own: BTreeMap<(&str, String), VariantReport> = own;
            if !own.is_empty() {
                kernels.push(KernelReport { kernel: kernel.name, variants: own.into_values().collect() });
            }
        }
        kernels
    }
}

/// Runs all cases on a device.
pub(super) fn run(device: &Device, progress: &mut Progress<'_>) -> Result<Vec<KernelReport>, SelfTestError> {
    match device {
        Device::Gpu(gpu) => on_gpu(gpu, progress),
        Device::Cpu(cpu) => on_cpu(cpu, progress),
    }
}

fn on_gpu(gpu: &Gpu, progress: &mut Progress<'_>) -> Result<Vec<KernelReport>, SelfTestError> {
    let runner = CaseRunner::new(gpu)?;
    let target = Target::from(gpu.caps());
    let mut table = Table::default();
    for (n, (name, cases)) in CASES.iter().enumerate() {
        for case in cases(&target) {
            progress.at(name, n, CASES.len())?;
            let (kernel, variant) = (case.command.kernel.name, case.command.variant.name.to_owned());
            match runner.run(&case) {
                Ok(got) => table.note(kernel, variant, &case, &got, &case.run_twin(1)),
                Err(error) if error.is_lost() => return Err(error.into()),
                Err(error) => {
                    let row = table.row(kernel, variant);
                    row.cases += 1;
                    row.fail(format!("{}: {error}", case.label));
                }
            }
        }
    }
    Ok(table.finish())
}

fn on_cpu(cpu: &Cpu, progress: &mut Progress<'_>) -> Result<Vec<KernelReport>, SelfTestError> {
    let mut table = Table::default();
    let mut widths = vec![1, cpu.threads()];
    widths.dedup();
    for (n, (name, cases)) in CASES.iter().enumerate() {
        for case in cases(&Target::CPU) {
            progress.at(name, n, CASES.len())?;
            let alone = case.run_twin(1);
            for &threads in &widths {
                let row = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
                let kernel = case.command.kernel.name;
                if threads == 1 {
                    table.note(kernel, row, &case, &alone, &alone);
                } else {
                    table.note(kernel, row, &case, &cpu.install(|| case.run_twin(threads)), &alone);
                }
            }
        }
    }
    Ok(table.finish())
}

/// Relative L2 distance of two executors' outputs over the elements that the oracle speaks of; of integers, the root of
/// how many differ.
fn distance(case: &Case, a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let mut worst = 0.0f64;
    for (n, want) in &case.expect {
        let (mut diff, mut norm) = (0.0f64, 0.0f64);
        for ((a, b), want) in a[*n].iter().zip(&b[*n]).zip(want) {
            if case.exact {
                diff += f64::from(u8::from(a.to_bits() != b.to_bits()));
            } else if !want.is_nan() {
                diff += (f64::from(*a) - f64::from(*b)).powi(2);
                norm += f64::from(*b).powi(2);
            }
        }
        worst = worse(worst, if norm > 0.0 { (diff / norm).sqrt() } else { diff.sqrt() });
    }
    worst
}

/// What a variant needs that a device has not, if anything.
fn lacks(variant: &Variant, limits: &DeviceLimits, target: &Target) -> Option<String> {
    if variant.needs.contains(&Need::Subgroups) && !target.subgroup_ops {
        return Some("needs subgroup operations".into());
    }
    if variant.needs.contains(&Need::MatrixUnits) {
        return Some(match target.matrix {
            Some(unit) => format!("needs other matrix units than {unit:?}"),
            None => "needs matrix units: f16 in, f32 out, one size of subgroups".into(),
        });
    }
    let invocations: u32 = variant.workgroup.iter().product();
    let over =
        |what: &str, need: u32, have: u32| (need > have).then(|| format!("{what}: needs {need}, has {have}"));
    over("invocations per workgroup", invocations, limits.workgroup_invocations)
        .or_else(|| over("workgroup memory in bytes", variant.shared_bytes, limits.workgroup_storage_bytes))
        .or_else(|| over("storage buffers", variant.bindings.len() as u32, limits.storage_buffers_per_stage))
}

/// The variants that a device cannot run, and those that it could but that are not among the results.
pub(super) fn uncovered(
    limits: &DeviceLimits,
    target: &Target,
    results: &[KernelReport],
) -> (Vec<Skipped>, Vec<&'static str>) {
    let reached: BTreeSet<&str> =
        results.iter().flat_map(|k| &k.variants).map(|v| v.variant.as_str()).collect();
    let (mut skipped, mut never) = (Vec::new(), Vec::new());
    for variant in variant::ALL.iter().filter(|v| !reached.contains(v.name)) {
        match lacks(variant, limits, target) {
            Some(reason) => skipped.push(Skipped { variant: variant.name, reason }),
            None => never.push(variant.name),
        }
    }
    (skipped, never)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matmul::MatrixUnit;

    #[test]
    fn the_cases_reach_every_variant() {
        for software in [false, true] {
            // Room for the largest variants.
            let (workgroup_bytes, invocations) = (65_536, 1024);
            let target = Target { software, workgroup_bytes, invocations, ..Target::MINIMAL_GPU };
            let with = |unit| Target { matrix: Some(unit), subgroup_ops: true, ..target.clone() };
            let mut reached = BTreeSet::new();
            for (n, target) in MatrixUnit::ALL.map(with).iter().enumerate() {
                // The kind of matrix units decides over one kernel's variants only, and making cases takes a while.
                let tried = CASES.iter().filter(|(name, _)| n == 0 || *name == "matmul_coop");
                reached.extend(tried.flat_map(|(_, cases)| cases(target)).map(|c| c.command.variant.name));
            }
            let never: Vec<_> =
                variant::ALL.iter().map(|v| v.name).filter(|v| !reached.contains(v)).collect();
            assert!(never.is_empty(), "no case for {never:?}");
        }
    }

    #[test]
    fn a_wrong_result_is_seen() {
        let case = &CASES.iter().find(|(k, _)| *k == "softmax").unwrap().1(&Target::CPU)[0];
        let good = case.run_twin(1);
        let verdict = |got: &[Vec<f32>]| {
            let mut table = Table::default();
            table.note("softmax", "x".into(), case, got, &good);
            table.finish()[0].passed()
        };
        assert!(verdict(&good));
        let (output, want) = &case.expect[0];
        let element = want.iter().position(|w| !w.is_nan()).unwrap();
        for wrong in [f32::NAN, f32::INFINITY, good[*output][element] + 1e-3] {
            let mut bad = good.clone();
            bad[*output][element] = wrong;
            assert!(!verdict(&bad), "{wrong}");
        }
        let mut bad = good.clone();
        *bad[*output].last_mut().unwrap() = 0.0;
        assert!(!verdict(&bad), "a canary");
    }
}
