//! How far sampling and training are from what the device could do: time, floor, and which kernel holds the gap.

mod peaks;
mod plot;

pub use peaks::{Peaks, peaks};
pub use plot::plot;

use super::sample::{SEED, Sampling, one_each};
use super::train::{steps_of_a_look, trainer};
use super::{BenchError, Budget, Setting, Workload};
use crate::device::Device;
use crate::flow::Integrator;
use crate::flow::integrator::RUN_PHASES;
use crate::graph::{Bound, Clock, Fusion, Plan, Profile, Rates};
use crate::kernel::Command;
use serde::Serialize;

/// What a run spends outside the kernels: the host's part, launches, waiting, threads that wait for each other.
pub const OUTSIDE: &str = "outside kernels";
/// Replays of which a command's median is taken.
const REPLAYS: usize = 9;
/// What a training step replays.
const TRAINING_PHASES: [&str; 1] = ["step"];

/// What `advect bench --roofline --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RooflineReport {
    /// The device in one line.
    pub device: String,
    /// Threads of the CPU executor; 0 on a GPU.
    pub threads: usize,
    /// The solver.
    pub solver: String,
    /// What the device reaches at best.
    pub peaks: Peaks,
    /// By workload and batch, in the order asked for.
    pub results: Vec<RooflineRow>,
}

/// One workload and batch. The floors are those of [`crate::graph::cost`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RooflineRow {
    /// `sample`, or `train` for a training step.
    pub what: &'static str,
    /// The workload's name.
    pub workload: &'static str,
    /// Chunks in one run, windows in one training step.
    pub batch: usize,
    /// Median time of a run, milliseconds.
    pub p50_ms: f64,
    /// The fused floor: one perfect kernel for the whole run.
    pub floor_ms: f64,
    /// p50_ms / floor_ms.
    pub ratio: f64,
    /// What limits the floor.
    pub bound: Bound,
    /// The layered floor of the commands as they run (on the CPU, over blocks of rows): every one a pass of its own.
    pub layered_ms: f64,
    /// Operations of a run, as its commands need them (staging saves some of the nominal ones).
    pub flops: f64,
    /// Bytes that come from outside and go there in the fused floor.
    pub bytes: f64,
    /// The stages of the plan, each alone.
    pub stages: Vec<StageCost>,
    /// Whose time the kernels' is.
    pub clock: Clock,
    /// By kernel, the largest gap first.
    pub gaps: Vec<Gap>,
}

/// What one stage of a layered plan of the whole batch costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// Its name; `load` runs once for new weights, the others in every run.
    pub stage: &'static str,
    /// Kernel calls.
    pub commands: usize,
    /// Operations.
    pub flops: f64,
    /// Bytes that the commands move, each a pass of its own.
    pub layered_bytes: f64,
    /// Bytes that come from outside and go there if the stage were one perfect kernel.
    pub fused_bytes: f64,
}

/// The time of one kernel in a run, beside what its commands would need at least.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// The kernel, or [`OUTSIDE`].
    pub kernel: &'static str,
    /// The variant that a GPU runs; none on the CPU, which runs the kernel's twin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<&'static str>,
    /// Its commands in the plan.
    pub commands: usize,
    /// Its time in a run, milliseconds.
    pub ms: f64,
    /// Its commands' part of the layered floor, milliseconds.
    pub floor_ms: f64,
    /// Its part of what all take above their floors, 0 to 1.
    pub share: f64,
}

/// Measures sampling of one workload and batch beside its floor. Needs a solver with fixed steps. `go_on` hears how far it is
/// (0 to 1) and may stop it.
pub fn roofline(
    device: &Device,
    peaks: &Peaks,
    setting: &Setting,
    batch: usize,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<RooflineRow, BenchError> {
    let Setting { workload, solver, .. } = *setting;
    let layout = workload.parameters(SEED)?.layout;
    let plan = Integrator::whole_plan(device, &workload, &layout, solver, one_each(batch))?;
    let mut sampling = Sampling::new(device, setting, batch)?;
    let (times, _) = sampling.measure(budget, &mut |done| go_on(0.8 * done))?;
    let integrator = &mut sampling.integrator;
    let profile = integrator.profile(REPLAYS)?;
    let measured = Measured {
        p50_ms: times.percentile(0.5),
        profile,
        plan: integrator.plan(),
        passes: integrator.passes(),
        lanes: integrator.lanes() as f64,
    };
    let row = measured.row(device, &peaks.rates, ("sample", workload, batch), (&plan, &RUN_PHASES))?;
    if go_on(1.0) { Ok(row) } else { Err(BenchError::Stopped) }
}

/// As [`roofline`], of a training step with `batch` windows.
pub fn roofline_train(
    device: &Device,
    peaks: &Peaks,
    workload: Workload,
    batch: usize,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<RooflineRow, BenchError> {
    let mut trainer = trainer(device, workload, batch, Fusion::Auto)?;
    let steps = steps_of_a_look(&mut trainer)?;
    let times = budget.measure(|| Ok(trainer.advance(steps).map(drop)?), &mut |done| go_on(0.8 * done))?;
    let profile = trainer.profile(REPLAYS)?;
    let measured = Measured {
        p50_ms: times.of_each(steps as f64).percentile(0.5),
        profile,
        plan: trainer.plan(),
        passes: 1.0,
        lanes: 1.0,
    };
    let row =
        measured.row(device, &peaks.rates, ("train", workload, batch), (trainer.plan(), &TRAINING_PHASES))?;
    if go_on(1.0) { Ok(row) } else { Err(BenchError::Stopped) }
}

/// Runs, measured whole and command by command.
struct Measured<'a> {
    p50_ms: f64,
    profile: Profile,
    /// The plan of the profile.
    plan: &'a Plan,
    /// How often a run replays it one after another.
    passes: f64,
    /// How many replay it at the same time.
    lanes: f64,
}

impl Measured<'_> {
    /// The measurement beside the floor of `phases` of the plan for the whole batch.
    fn row(
        &self,
        device: &Device,
        rates: &Rates,
        (what, workload, batch): (&'static str, Workload, usize),
        (whole, names): (&Plan, &[&str]),
    ) -> Result<RooflineRow, BenchError> {
        let phases = names.iter().map(|name| whole.phase(name)).collect::<crate::graph::Result<Vec<_>>>()?;
        let cost = whole.cost(&phases);
        let floor = cost.floor(rates);
        let gaps = self.gaps(device, rates);
        Ok(RooflineRow {
            what,
            workload: workload.name(),
            batch,
            p50_ms: self.p50_ms,
            floor_ms: 1e3 * floor.seconds,
            ratio: 1e-3 * self.p50_ms / floor.seconds,
            bound: floor.bound,
            layered_ms: gaps.iter().map(|g| g.floor_ms).sum(),
            flops: cost.flops(),
            bytes: floor.bytes,
            stages: stages(whole, names, rates.cache_bytes),
            clock: self.profile.clock,
            gaps,
        })
    }

    /// What takes a run longer than its commands need.
    fn gaps(&self, device: &Device, rates: &Rates) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = Vec::new();
        for time in &self.profile.commands {
            let (kernel, variant) = name(device, &self.plan.commands[time.command]);
            let at = gaps.iter().position(|g| (g.kernel, g.variant) == (kernel, variant));
            let at = at.unwrap_or_else(|| {
                gaps.push(Gap { kernel, variant, commands: 0, ms: 0.0, floor_ms: 0.0, share: 0.0 });
                gaps.len() - 1
            });
            gaps[at].commands += 1;
            gaps[at].ms += 1e3 * time.median * self.passes;
            // The lanes share the device: a command's floor is that of all lanes' together.
            let seconds = rates.seconds(&self.plan.command_cost(time.command));
            gaps[at].floor_ms += 1e3 * seconds * self.passes * self.lanes;
        }
        let outside = self.p50_ms - gaps.iter().map(|g| g.ms).sum::<f64>();
        if outside > 0.0 {
            let (kernel, variant) = (OUTSIDE, None);
            gaps.push(Gap { kernel, variant, commands: 0, ms: outside, floor_ms: 0.0, share: 0.0 });
        }
        let above = |g: &Gap| (g.ms - g.floor_ms).max(0.0);
        let all = gaps.iter().map(above).sum::<f64>();
        for gap in &mut gaps {
            gap.share = if all > 0.0 { above(gap) / all } else { 0.0 };
        }
        gaps.sort_by(|a, b| b.share.total_cmp(&a.share));
        gaps
    }
}

/// The phases among `used`, and `load`, if the plan has it.
fn stages(plan: &Plan, used: &[&str], cache_bytes: f64) -> Vec<StageCost> {
    let used = plan.phases.iter().enumerate().filter(|(_, p)| p.name == "load" || used.contains(&p.name));
    used.map(|(index, phase)| {
        let cost = plan.cost(&[index]);
        StageCost {
            stage: phase.name,
            commands: cost.commands.len(),
            flops: cost.flops(),
            layered_bytes: cost.layered_bytes(),
            fused_bytes: cost.fused_bytes(cache_bytes),
        }
    })
    .collect()
}

/// The kernel and, on a GPU, the variant that run a command.
fn name(device: &Device, command: &Command) -> (&'static str, Option<&'static str>) {
    match device {
        Device::Gpu(_) => (command.kernel.name, Some(command.variant.name)),
        // One twin stands for the three kernels of products.
        Device::Cpu(_) => (command.kernel.name.trim_end_matches("_soft"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Workload;
    use crate::device::Cpu;
    use crate::flow::Solver;
    use crate::kernel::KERNELS;

    fn report(batches: &[usize]) -> RooflineReport {
        let device = Device::Cpu(Cpu::with_threads(2).unwrap());
        let budget = Budget { seconds: 0.0, least: 3 };
        let solver = Solver::euler(2);
        let peaks = peaks(&device, 0.0, &mut |_| true).unwrap();
        let row = |batch: &usize| {
            let setting = Setting::new(Workload::Mlp256, solver);
            roofline(&device, &peaks, &setting, *batch, budget, &mut |_| true).unwrap()
        };
        let results = batches.iter().map(row).collect();
        RooflineReport { device: "a <cpu>".into(), threads: 2, solver: solver.to_string(), peaks, results }
    }

    #[test]
    fn every_row_has_a_floor_and_names_what_exists() {
        let report = report(&[1, 70]);
        let rates = &report.peaks.rates;
        assert!(rates.flops_per_s > 0.0 && rates.cache_bytes_per_s >= rates.memory_bytes_per_s);
        assert_eq!((report.peaks.square, report.peaks.clock), (512, Clock::Host));
        for row in &report.results {
            assert!(row.ratio > 0.0 && row.ratio.is_finite(), "{row:?}");
            assert!(row.floor_ms > 0.0 && row.layered_ms > 0.0);
            let shares: f64 = row.gaps.iter().map(|g| g.share).sum();
            // None, if everything was faster than a roof that a busy machine measured.
            assert!((shares - 1.0).abs() < 1e-9 || shares == 0.0, "{shares}");
            for gap in &row.gaps {
                let known = KERNELS.iter().any(|k| k.name == gap.kernel);
                assert!(known || gap.kernel == OUTSIDE, "{gap:?}");
                assert!(gap.ms > 0.0 && (gap.floor_ms > 0.0) == known, "{gap:?}");
            }
            let stages: Vec<&str> = row.stages.iter().map(|s| s.stage).collect();
            assert_eq!(stages, ["noise", "load", "request", "steps"]);
            let run: f64 = row.stages.iter().filter(|s| s.stage != "load").map(|s| s.flops).sum();
            assert_eq!(run, row.flops);
        }
        // Weights are read once whatever the batch; the rest grows with it.
        let [one, many] = [&report.results[0], &report.results[1]];
        assert!((many.flops / one.flops - 70.0).abs() < 1e-9);
        assert!(many.bytes > one.bytes && many.bytes < 70.0 * one.bytes);
        let figure = plot(&report);
        assert!(figure.svg().contains("mlp256, 70") && !figure.svg().contains("NaN"));
    }

    #[test]
    fn a_training_step_has_a_floor_too() {
        let device = Device::Cpu(Cpu::with_threads(2).unwrap());
        let peaks = peaks(&device, 0.0, &mut |_| true).unwrap();
        let budget = Budget { seconds: 0.0, least: 3 };
        let row =
            |batch| roofline_train(&device, &peaks, Workload::Mlp256, batch, budget, &mut |_| true).unwrap();
        let [one, many] = [row(32), row(64)];
        assert_eq!((one.what, one.batch, one.stages.len(), one.stages[0].stage), ("train", 32, 1, "step"));
        assert!(one.floor_ms > 0.0 && one.ratio > 0.0 && one.ratio.is_finite(), "{one:?}");
        // Two products backward for each forward, and an optimiser whose work does not grow with the batch.
        let forward = Workload::Mlp256.sampling_operations(32, &Solver::euler(1)).unwrap().unwrap();
        assert!(one.flops > 2.0 * forward && many.flops > 1.5 * one.flops && many.flops < 2.0 * one.flops);
        assert!(one.gaps.iter().any(|g| g.kernel == "adamw"), "{:?}", one.gaps);
        let stopped = roofline_train(&device, &peaks, Workload::Mlp256, 32, budget, &mut |_| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }

    #[test]
    fn adaptive_solvers_have_no_floor() {
        let device = Device::Cpu(Cpu::with_threads(1).unwrap());
        let layout = Workload::Mlp256.parameters(SEED).unwrap().layout;
        let solver = "dopri5:1e-3".parse().unwrap();
        let found = Integrator::whole_plan(&device, &Workload::Mlp256, &layout, solver, one_each(1));
        assert!(matches!(found, Err(crate::flow::FlowError::Unsupported { .. })));
        let stopped = peaks(&device, 0.0, &mut |_| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }
}
