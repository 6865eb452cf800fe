//! What a plan's temporaries held before does not count: a device clears its memory once, and from the second run on it holds what other
//! commands left.

use crate::common::devices;
use advect::bench::{Workload, demonstrations, run_config};
use advect::device::Device;
use advect::flow::integrator::RUN_PHASES;
use advect::flow::{Batch, Integrator, Solver};
use advect::graph::{Plan, Session};
use advect::kernel::BufferId;
use advect::kernel::state::State;
use advect::nn::NetworkSpec;
use advect::train::Trainer;

/// Runs phases of a plan whose temporaries hold `stale`, with waves in the named buffers; the results, bit by bit.
fn run(device: &Device, plan: &Plan, phases: &[&str], stale: f32, results: &[&str]) -> Vec<Vec<u32>> {
    let mut session = Session::new(device, plan.clone()).unwrap();
    for (n, slot) in plan.slots.iter().enumerate() {
        let id = BufferId(n as u32);
        let data: Vec<f32> = match (slot.name.as_deref(), &slot.data) {
            (_, Some(_)) => continue,
            (None, None) => vec![stale; slot.elements],
            (Some("state"), _) => State::new(5, 1).words(),
            (Some("params" | "observations" | "actions"), _) => {
                (0..slot.elements).map(|i| 0.1 * (0.7 * i as f32).sin()).collect()
            }
            // Moments, averages, indices: as at the start.
            (Some(_), None) => continue,
        };
        session.write(id, &data).unwrap();
    }
    let phases: Vec<usize> = phases.iter().map(|name| plan.phase(name).unwrap()).collect();
    session.run(&phases).unwrap();
    let read = |name: &&str| {
        let id = plan.buffer(name).unwrap();
        let mut out = vec![f32::NAN; plan.slots[id.0 as usize].elements];
        session.read(id, &mut out).unwrap();
        assert!(out.iter().all(|v| v.is_finite()), "{name}: {stale} is still there");
        assert!(out.iter().any(|v| *v != 0.0), "{name}: nothing was computed");
        out.iter().map(|v| v.to_bits()).collect()
    };
    results.iter().map(read).collect()
}

#[test]
fn sampling_reads_nothing_stale() {
    for device in devices() {
        for (workload, requests, samples) in
            [(Workload::Mlp256, 5, 3), (Workload::Transformer, 2, 1), (Workload::Unet1d, 1, 1)]
        {
            let layout = workload.parameters(1).unwrap().layout;
            let batch = Batch { requests, samples };
            let plan = Integrator::whole_plan(&device, &workload, &layout, Solver::euler(1), batch).unwrap();
            let mut phases = vec!["load"];
            phases.splice(0..0, plan.phase("pack").ok().map(|_| "pack"));
            phases.extend(RUN_PHASES);
            let [clean, stale] =
                [0.0, f32::NAN].map(|value| run(&device, &plan, &phases, value, &["result"]));
            assert_eq!(clean, stale, "{} on {}", workload.name(), device.describe());
        }
    }
}

#[test]
fn training_reads_nothing_stale() {
    for device in devices() {
        for workload in [Workload::Mlp256, Workload::Unet1d, Workload::Transformer] {
            let mut config = run_config(workload, 3, 1);
            match &mut config.network {
                NetworkSpec::Mlp(net) => net.hidden = vec![33, 65],
                NetworkSpec::Unet1d(net) => net.down_dims = vec![16, 32],
                NetworkSpec::Transformer(net) => (net.width, net.layers, net.heads) = (32, 2, 2),
                _ => {}
            }
            let data = demonstrations(2, 32, 1).unwrap();
            let trainer = Trainer::new(&device, &data, &config).unwrap();
            let results = ["params", "grads", "ema"];
            let [clean, stale] =
                [0.0, f32::NAN].map(|value| run(&device, trainer.plan(), &["step"], value, &results));
            assert_eq!(clean, stale, "{} on {}", workload.name(), device.describe());
        }
    }
}
