//! Matrix units are trusted after one product that comes out as on the CPU. wgpu calls them experimental, so a device's first plan that
//! uses them is preceded by a small one with a known result.

use super::session::Session;
use super::session_gpu::GpuSession;
use super::{Plan, Program, Result};
use crate::device::{Cpu, Device, DeviceError, Gpu};
use crate::kernel::matmul::{self, Call, Epilogue, Form};
use crate::kernel::pack_weights::{self, Layout, Store};
use crate::kernel::{Target, View, philox};
use std::sync::Arc;

/// Largest relative distance from the CPU twin, which rounds the inputs alike: sums alone may differ, and units round those in ways of
/// their own.
const TOLERANCE: f64 = 1e-4;
/// Edges that are no multiples of a tile, more than one slab of depth.
const SIZE: [usize; 3] = [70, 90, 132];

/// Fails if a plan uses matrix units and those of the device compute something else than products. They are tried once.
pub(super) fn check(gpu: &Gpu, plan: &Plan) -> Result<()> {
    if !plan.commands.iter().any(|c| std::ptr::eq(c.kernel, &matmul::COOP)) {
        return Ok(());
    }
    let found = match gpu.matrix_error() {
        Some(known) => known,
        None => gpu.note_matrix_error(measure(gpu)?),
    };
    match found <= TOLERANCE {
        true => Ok(()),
        false => {
            let device = gpu.report().name.clone();
            Err(DeviceError::MatrixUnits { device, found, needed: TOLERANCE }.into())
        }
    }
}

/// The relative distance of a small product from its twin.
fn measure(gpu: &Gpu) -> Result<f64> {
    let (target, [m, n, k]) = (Target::from(gpu.caps()), SIZE);
    let Some(unit) = target.matrix else {
        let device = gpu.report().name.clone();
        return Err(DeviceError::Missing { feature: "matrix units of a known shape", device }.into());
    };
    let mut p = Program::new(target);
    let (a, weights, out) =
        (p.resident("a", m * k)?, p.resident("weights", n * k)?, p.resident("out", m * n)?);
    let kind = (Layout::Columns, Store::Half);
    let packed = p.temporary(kind.0.words(kind.1, [n, k]))?;
    let empty = p.empty();
    let call = Call {
        form: Form::NT,
        size: SIZE,
        a: (a, View::dense(0, k)),
        b: (weights, View::dense(0, k)),
        c: (out, View::dense(0, n)),
        epilogue: Epilogue::default(),
    };
    p.push(pack_weights::command(kind, Form::NT, [n, k], call.b, (packed, 0)))?;
    p.push(matmul::coop_command(unit, &call, (packed, 0), empty))?;
    let plan = Arc::new(p.finish()?);
    let [a, weights, out] = ["a", "weights", "out"].map(|name| plan.buffer(name));
    let (a, weights, out) = (a?, weights?, out?);
    let values = |stream: u32, len: usize| {
        let mut values = vec![0.0; len];
        philox::fill_normal(1, stream, 0, 0, &mut values);
        values
    };
    let (rows, matrix) = (values(0, m * k), values(1, n * k));
    let mut gpu = GpuSession::new(gpu, plan.clone())?;
    gpu.write(a, 0, &rows)?;
    gpu.write(weights, 0, &matrix)?;
    gpu.repeat(&[0], 1)?;
    let mut got = vec![f32::NAN; m * n];
    gpu.read(out, 0, &mut got)?;
    let mut cpu = Session::new(&Device::Cpu(Cpu::with_threads(1)?), plan)?;
    cpu.write(a, &rows)?;
    cpu.write(weights, &matrix)?;
    cpu.run(&[0])?;
    let mut want = vec![0.0; m * n];
    cpu.read(out, &mut want)?;
    let square = |value: &dyn Fn(usize) -> f32| (0..m * n).map(|e| f64::from(value(e)).powi(2)).sum::<f64>();
    let error = (square(&|e| got[e] - want[e]) / square(&|e| want[e])).sqrt();
    Ok(if error.is_nan() { f64::INFINITY } else { error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, GpuOptions};
    use crate::graph::GraphError;
    use crate::graph::packing::{self, Precision};
    use crate::kernel::matmul::MatrixUnit;

    /// A layer of `rows` rows as a plan for `target` has it, in half precision.
    fn layer(target: Target, rows: usize) -> Plan {
        let (n, k) = (40, 64);
        let mut p = Program::new(target.clone());
        let weights = p.resident("weights", n * k).unwrap();
        let (a, out) = (p.resident("a", rows * k).unwrap(), p.resident("out", rows * n).unwrap());
        let empty = p.empty();
        p.phase("steps");
        let (a, b) = ((a, View::dense(0, k)), (weights, View::dense(0, k)));
        let c = (out, View::dense(0, n));
        let epilogue = Epilogue::default();
        p.push(matmul::command(Form::NT, [rows, n, k], a, b, c, &epilogue, empty, &target)).unwrap();
        packing::pack_products(&mut p, &["steps"], weights, Precision::F16).unwrap();
        p.finish().unwrap()
    }

    fn kernels(plan: &Plan) -> Vec<&'static str> {
        plan.commands.iter().map(|c| c.kernel.name).collect()
    }

    #[test]
    fn half_precision_takes_the_units_of_the_target_for_more_than_a_few_rows() {
        let with = Target { matrix: Some(MatrixUnit::M16), ..Target::MINIMAL_GPU };
        assert_eq!(kernels(&layer(with.clone(), 33)), ["matmul_coop", "pack_weights"]);
        assert_eq!(kernels(&layer(with.clone(), 16)), ["matmul_half", "pack_weights"]);
        let software = Target { software: true, ..with };
        assert!(!kernels(&layer(software, 33)).contains(&"matmul_coop"));
        assert_eq!(kernels(&layer(Target::MINIMAL_GPU, 33)), ["matmul"]);
    }

    /// The GPU of this machine; none is said, and is a failure where one is required.
    fn gpu(options: &GpuOptions) -> Option<Device> {
        match Device::open_with(&DeviceChoice::Gpu, options) {
            Ok(device) => Some(device),
            Err(error) => {
                assert!(std::env::var_os("ADVECT_REQUIRE_GPU").is_none_or(|v| v != "1"), "{error}");
                println!("NOT RUN: {error}");
                None
            }
        }
    }

    #[test]
    fn a_layer_by_units_is_that_of_the_cpu() {
        let options = GpuOptions { cooperative_matrix_if_any: true, ..GpuOptions::default() };
        let Some(device) = gpu(&options) else { return };
        // Software's units too.
        let target = Target { software: false, ..Target::of(&device) };
        if target.matrix.is_none() {
            return println!("NOT RUN: {} has no matrix units that can be used", device.describe());
        }
        let plan = Arc::new(layer(target, 70));
        assert_eq!(kernels(&plan), ["matmul_coop", "pack_weights"]);
        let [a, weights, out] = ["a", "weights", "out"].map(|name| plan.buffer(name).unwrap());
        let results: Vec<Vec<f32>> = [device, Device::Cpu(Cpu::with_threads(1).unwrap())]
            .iter()
            .map(|device| {
                let mut session = Session::new(device, plan.clone()).unwrap();
                for (stream, (buffer, len)) in [(a, 70 * 64), (weights, 40 * 64)].into_iter().enumerate() {
                    let mut values = vec![0.0; len];
                    philox::fill_normal(7, stream as u32, 0, 0, &mut values);
                    session.write(buffer, &values).unwrap();
                }
                let phases: Vec<usize> = (0..plan.phases.len()).rev().collect();
                session.run(&phases).unwrap();
                let mut got = vec![f32::NAN; 70 * 40];
                session.read(out, &mut got).unwrap();
                got
            })
            .collect();
        let worst = results[0].iter().zip(&results[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Sums of 64 products of normals, rounded in orders of their own.
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn units_that_a_device_has_not_are_an_error() {
        let plan = Arc::new(layer(Target { matrix: Some(MatrixUnit::M16), ..Target::MINIMAL_GPU }, 33));
        // The CPU has the twin.
        assert!(Session::new(&Device::Cpu(Cpu::with_threads(1).unwrap()), plan.clone()).is_ok());
        let Some(device) = gpu(&GpuOptions::default()) else { return };
        // Opened without asking for them, no device has any.
        let found = Session::new(&device, plan).err();
        let missing = matches!(&found, Some(GraphError::Device(DeviceError::Missing { .. })));
        assert!(missing, "{found:?}");
    }
}
