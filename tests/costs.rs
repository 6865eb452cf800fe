//! What kernels and plans say that they cost, against what calls really touch and against counts by hand.

use advect::bench::{HORIZON, OBS_DIM, STATE_DIM, Workload};
use advect::device::{Access, Cpu, Device};
use advect::flow::integrator::RUN_PHASES;
use advect::flow::{Batch, IntegrateOptions, Integrator, Solver};
use advect::graph::Plan;
use advect::kernel::case::Case;
use advect::kernel::cost::Span;
use advect::kernel::math::Activation;
use advect::kernel::matmul::{self, Epilogue, Form};
use advect::kernel::{BufferId, Cost, KERNELS, Target, View};
use advect::selftest::cases::CASES;
use std::collections::BTreeSet;

/// One pass over the cases of each target, since their oracles take longer than what is checked here.
#[test]
fn calls_cost_what_they_touch() {
    let (mut kernels, mut exact) = (BTreeSet::new(), 0);
    for case in
        CASES.iter().flat_map(|(_, cases)| [Target::CPU, Target::MINIMAL_GPU].map(|t| cases(&t))).flatten()
    {
        let cost = (case.command.kernel.cost)(&case.command.params);
        kernels.insert(case.command.kernel.name);
        it_lies_within_the_buffers(&case, &cost);
        exact += what_is_written_is_exact(&case, &cost);
        what_is_read_is_enough(case, &cost);
    }
    let all: BTreeSet<_> = KERNELS.iter().map(|k| k.name).collect();
    assert_eq!(kernels, all, "every kernel has a cost that is checked");
    assert!(exact > 1000, "{exact}");
}

fn it_lies_within_the_buffers(case: &Case, cost: &Cost) {
    let label = &case.label;
    assert!(cost.flops.is_finite() && cost.flops >= 0.0, "{label}");
    assert!(cost.read_bytes() + cost.written_bytes() > 0.0, "{label}");
    for (spans, forbidden) in [(&cost.read, Access::Write), (&cost.written, Access::Read)] {
        for (binding, span) in spans {
            assert_ne!(case.command.kernel.access[*binding], forbidden, "{label}: binding {binding}");
            let have = case.buffers[case.command.args[*binding].0 as usize].len();
            assert!(span.end() <= have, "{label}: binding {binding}, {span:?} of {have}");
            assert!(span.scattered || span.elements() <= have, "{label}: binding {binding}");
        }
    }
}

/// How many outputs were compared.
fn what_is_written_is_exact(case: &Case, cost: &Cost) -> usize {
    let mut checked = 0;
    for (n, access) in case.command.kernel.access.iter().enumerate() {
        let buffer = case.command.args[n].0 as usize;
        let Some((_, want)) = case.expect.iter().find(|(b, _)| *b == buffer) else { continue };
        if *access != Access::Write {
            continue;
        }
        let places: BTreeSet<usize> =
            cost.written.iter().filter(|(b, _)| *b == n).flat_map(|(_, span)| span.places()).collect();
        let written = (0..want.len()).filter(|e| !want[*e].is_nan());
        assert!(written.eq(places), "{}: binding {n}", case.label);
        checked += 1;
    }
    checked
}

/// A twin that finds rubbish wherever the cost says that it need not read must still give the expected result.
fn what_is_read_is_enough(mut case: Case, cost: &Cost) {
    let read = |case: &Case, b: usize| -> Vec<Span> {
        let bindings = cost.read.iter().filter(|(n, _)| case.command.args[*n].0 as usize == b);
        bindings.map(|(_, span)| *span).collect()
    };
    for b in 0..case.buffers.len() {
        let only_read = case.command.args.iter().zip(case.command.kernel.access);
        let mut bound = only_read.filter(|(id, _)| id.0 as usize == b).map(|(_, access)| access);
        let spans = read(&case, b);
        if bound.any(|access| *access != Access::Read) || spans.iter().any(|s| s.scattered) {
            continue;
        }
        let needed: BTreeSet<usize> = spans.into_iter().flat_map(Span::places).collect();
        for (e, value) in case.buffers[b].iter_mut().enumerate() {
            if !needed.contains(&e) {
                *value = f32::NAN;
            }
        }
    }
    let got = case.run_twin(1);
    case.check(&got).unwrap_or_else(|error| panic!("unneeded elements count: {error}"));
}

#[test]
fn a_product_by_hand() {
    let (m, n, k) = (6, 10, 4);
    let id = [0, 1, 2, 3].map(BufferId);
    let epilogue = Epilogue {
        act: Activation::Silu,
        bias: Some((id[2], 1)),
        residual: Some((id[0], View { row_stride: 0, ..View::dense(0, n) })),
        ..Epilogue::default()
    };
    let (a, b) = ((id[0], View::dense(0, k)), (id[1], View::strided(8, k + 4)));
    let c = (id[3], View::dense(0, n));
    let command = matmul::command(Form::NT, [m, n, k], a, b, c, &epilogue, id[2], &Target::CPU);
    let cost = (command.kernel.cost)(&command.params);
    // Bias 1, residual 2, activation 1.
    assert_eq!(cost.flops, (2 * m * n * k + 4 * m * n) as f64);
    // A, B, the bias, one row of the residual.
    assert_eq!(cost.read_bytes(), 4.0 * (m * k + n * k + n + n) as f64);
    assert_eq!(cost.written_bytes(), 4.0 * (m * n) as f64);
}

fn cpu() -> Device {
    Device::Cpu(Cpu::with_threads(1).unwrap())
}

fn plan(workload: Workload, batch: usize, staging: bool) -> Plan {
    let layout = workload.parameters(1).unwrap().layout;
    let options = IntegrateOptions { staging, ..IntegrateOptions::default() };
    let rows = Batch { requests: batch, samples: 1 };
    let integrator = Integrator::new(&cpu(), &workload, &layout, Solver::euler(10), rows, &options).unwrap();
    integrator.plan().as_ref().clone()
}

/// Operations of the products (and attentions) of some phases, as the lowering counts them.
fn counted(plan: &Plan, phases: &[&str]) -> f64 {
    let ranges: Vec<_> =
        plan.phases.iter().filter(|p| phases.contains(&p.name)).map(|p| p.range.clone()).collect();
    plan.costs.iter().filter(|(at, _)| ranges.iter().any(|r| r.contains(at))).map(|(_, f)| f).sum()
}

#[test]
fn plans_count_what_workloads_say() {
    // Without staging every evaluation is the whole network: the nominal operations.
    let solver = Solver::euler(10);
    let workload = Workload::Mlp256;
    let whole = plan(workload, 3, false);
    let nominal = workload.sampling_operations(3, &solver).unwrap().unwrap();
    assert_eq!(counted(&whole, &["load", "request", "steps"]), nominal);
    // Staged: the time's part of the first layer once per load, the observation's once per request.
    let staged = plan(workload, 3, true);
    let (width, steps) = (256, 10);
    assert_eq!(counted(&staged, &["load"]), (2 * steps * 64 * width) as f64);
    assert_eq!(counted(&staged, &["request"]), (2 * 3 * OBS_DIM * width) as f64);
    let each = 2 * 3 * (STATE_DIM * width + 2 * width * width + width * STATE_DIM);
    assert_eq!(counted(&staged, &["steps"]), (steps * each) as f64);
    assert_eq!(STATE_DIM, 2 * HORIZON);
    // Kernels count the same, and their epilogues: a few operations for each element that is written.
    for workload in Workload::ALL {
        let plan = plan(*workload, 2, true);
        for (command, flops) in &plan.costs {
            let call = &plan.commands[*command];
            let cost = (call.kernel.cost)(&call.params);
            let elements = cost.written_bytes() / 4.0;
            let more = cost.flops - flops;
            let most = if call.kernel.name == "attention" { 0.2 * flops } else { 6.0 * elements };
            assert!((0.0..=most).contains(&more), "{}: {} {flops}", call.kernel.name, cost.flops);
        }
    }
}

#[test]
fn a_run_of_mlp256_reads_its_weights_once() {
    let (workload, batch) = (Workload::Mlp256, 64);
    let layout = workload.parameters(1).unwrap().layout;
    let rows = Batch { requests: batch, samples: 1 };
    let plan = Integrator::whole_plan(&cpu(), &workload, &layout, Solver::euler(10), rows).unwrap();
    let phases = RUN_PHASES.map(|name| plan.phase(name).unwrap());
    let cost = plan.cost(&phases);
    let (w, s) = (256, STATE_DIM);
    // Weights without the time's part of the first layer; all biases.
    let weights = (s + OBS_DIM) * w + w + 2 * (w * w + w) + w * s + s;
    // The first layer's part of the time for each step, observations, the seed and where its noise begins; noise (which has a buffer) and result.
    let rest = 10 * w + batch * OBS_DIM + 6 + 2 * batch * s;
    assert_eq!(cost.fused_bytes(1e9), 4.0 * (weights + rest) as f64);
    let again = 4.0 * 9.0 * (s * w + 2 * (w * w + w) + w * s + s) as f64;
    assert_eq!(cost.fused_bytes(0.0) - cost.fused_bytes(1e9), again);
    assert!(cost.layered_bytes() > cost.fused_bytes(0.0));
}

#[test]
fn a_training_step_has_a_cost() {
    use advect::bench::{demonstrations, run_config};
    use advect::train::Trainer;
    let config = run_config(Workload::Mlp256, 8, 1);
    let mut trainer = Trainer::new(&cpu(), &demonstrations(2, 32, 1).unwrap(), &config).unwrap();
    let weights = trainer.policy().unwrap().weights.layout.len();
    let plan = trainer.plan();
    let cost = plan.cost(&[0]);
    assert!(cost.flops() >= plan.costs.iter().map(|(_, f)| f).sum::<f64>());
    // The optimiser alone reads and writes weights, both moments and the average.
    assert!(cost.fused_bytes(1e9) >= (4 * 8 * weights) as f64);
    assert!(cost.layered_bytes() > cost.fused_bytes(1e9));
}
