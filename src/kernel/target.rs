//! What a kernel's choice of variant may depend on.

use super::matmul::MatrixUnit;
use crate::device::{Caps, Device, Tuning};
use std::sync::Arc;

/// The executor that a command is made for, reduced to what kernel choice needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// False for the CPU executor.
    pub gpu: bool,
    /// A software rasteriser such as llvmpipe: few wide lanes, costly barriers, no real workgroup memory.
    pub software: bool,
    /// A GPU with memory of its own.
    pub discrete: bool,
    /// Smallest subgroup the adapter may run.
    pub subgroup_min: u32,
    /// Whether subgroup operations may be used.
    pub subgroup_ops: bool,
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// The matrix units that may be used.
    pub matrix: Option<MatrixUnit>,
    /// Elements that one storage binding takes.
    pub binding: usize,
    /// What was measured to be faster than the guess.
    pub tuning: Option<Arc<Tuning>>,
}

impl Target {
    /// The CPU executor.
    pub const CPU: Target = Target {
        gpu: false,
        software: false,
        discrete: false,
        subgroup_min: 1,
        subgroup_ops: false,
        workgroup_bytes: 0,
        invocations: 0,
        matrix: None,
        binding: usize::MAX,
        tuning: None,
    };
    /// The least that WebGPU promises.
    pub const MINIMAL_GPU: Target = Target {
        gpu: true,
        software: false,
        discrete: false,
        subgroup_min: 4,
        subgroup_ops: false,
        workgroup_bytes: 16_384,
        invocations: 256,
        matrix: None,
        binding: 1 << 25,
        tuning: None,
    };

    /// The target of a device, with its tuned choices.
    pub fn of(device: &Device) -> Target {
        match device {
            Device::Cpu(_) => Target::CPU,
            Device::Gpu(gpu) => Target { tuning: gpu.tuning().cloned(), ..Target::from(gpu.caps()) },
        }
    }

    /// The one of `choices` that was measured to be fastest for `question`; none if nothing was, or if what was fastest is not (or no
    /// longer) among them.
    pub fn tuned<T: Copy>(
        &self,
        question: impl FnOnce() -> String,
        choices: &[T],
        name: impl Fn(&T) -> &'static str,
    ) -> Option<T> {
        let best = self.tuning.as_ref()?.choice(&question())?;
        choices.iter().copied().find(|choice| name(choice) == best)
    }
}

impl From<&Caps> for Target {
    fn from(caps: &Caps) -> Target {
        Target {
            gpu: true,
            software: caps.software,
            discrete: caps.discrete,
            subgroup_min: caps.subgroups.map_or(4, |s| s.min),
            subgroup_ops: caps.subgroups.is_some(),
            workgroup_bytes: caps.limits.workgroup_storage_bytes,
            invocations: caps.limits.workgroup_invocations,
            matrix: MatrixUnit::of(caps),
            binding: caps.limits.binding_elements(),
            tuning: None,
        }
    }
}

/// The bucket of a size: the next power of two. Sizes of one bucket are within a factor of two, and share what is tuned.
pub fn bucket(size: usize) -> usize {
    size.checked_next_power_of_two().unwrap_or(size)
}
