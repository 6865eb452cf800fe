//! Devices: which ones there are, opening one, and the few things the floors above do with it.
//!
//! This is the lowest floor. It knows adapters, buffers, pipelines, recordings and readbacks, and nothing of kernels
//! or graphs. A session above it holds lists of [`Dispatch`] and replays them with [`Gpu::submit`], which looks up
//! nothing and allocates nothing of its own.

mod buffers;
pub mod cache;
mod caps;
mod choice;
mod counters;
mod cpu;
mod deadline;
mod error;
mod gpu;
mod headroom;
mod health;
pub mod memory;
mod options;
mod pipeline_cache;
mod pipelines;
mod readback;
mod recording;
mod team;
mod timer;
mod tuning;
mod upload;
mod vulkan;

#[cfg(test)]
mod tests;

pub use buffers::Buffer;
pub use caps::{
    AdapterKind, AdapterReport, AutoVerdict, Caps, CoopScalar, CoopShape, DeviceLimits, SubgroupSizes,
};
pub use choice::DeviceChoice;
pub use counters::{CounterSnapshot, Counters};
pub use cpu::{Cpu, CpuReport};
pub use deadline::Deadline;
pub use error::DeviceError;
pub use gpu::{Gpu, Submission, enumerate};
pub use options::GpuOptions;
pub use pipelines::{Access, BindGroupCache, Binding, Bound, Pipeline};
pub use readback::Readback;
pub use recording::{BufferCopy, Command, Dispatch, Indirect};
pub use team::Team;
pub use timer::Timer;
pub use tuning::{Tuned, Tuning, TuningError};
pub use upload::Uploads;

use choice::Pick;
use std::sync::Arc;

/// Where plans run: the CPU executor or a GPU. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Device {
    /// The CPU executor.
    Cpu(Cpu),
    /// A GPU (or a software adapter that was asked for).
    Gpu(Gpu),
}

impl Device {
    /// A real GPU if there is one that opens, else the CPU executor. With [`GpuOptions::from_env`]: as tuned, compiled kernels kept.
    pub fn auto() -> Result<Self, DeviceError> {
        Self::open_with(&DeviceChoice::Auto, &GpuOptions::from_env()?)
    }

    /// What `ADVECT_DEVICE` asks for; `auto` if it is not set. With [`GpuOptions::from_env`].
    pub fn from_env() -> Result<Self, DeviceError> {
        let text = std::env::var_os("ADVECT_DEVICE").unwrap_or_default();
        let Ok(choice) = text.to_string_lossy().parse();
        Self::open_with(&choice, &GpuOptions::from_env()?)
    }

    /// Opens what `choice` comes to on this machine, without a look at the cache folder: the same plans for everybody.
    pub fn open(choice: &DeviceChoice) -> Result<Self, DeviceError> {
        Self::open_with(choice, &GpuOptions::default())
    }

    /// As [`open`](Self::open), with options for the GPU.
    pub fn open_with(choice: &DeviceChoice, options: &GpuOptions) -> Result<Self, DeviceError> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::Cpu(Cpu::new()?)),
            DeviceChoice::Auto => Self::open_auto(options),
            _ => match choice::resolve(choice, &enumerate())? {
                Pick::Cpu => Ok(Self::Cpu(Cpu::new()?)),
                Pick::Adapter(index) => Ok(Self::Gpu(Gpu::open(index, options)?)),
            },
        }
    }

    /// Every real GPU that opens, the one that `auto` prefers first; the CPU executor if there is none.
    pub fn open_all(options: &GpuOptions) -> Result<Vec<Self>, DeviceError> {
        let mut devices = Vec::new();
        for index in choice::all_gpus(&enumerate()) {
            match Gpu::open(index, options) {
                Ok(gpu) => devices.push(Self::Gpu(gpu)),
                Err(error) => tracing::warn!("all passes over adapter {index}: {error}"),
            }
        }
        if devices.is_empty() {
            devices.push(Self::Cpu(Cpu::new()?));
        }
        Ok(devices)
    }

    /// `auto` means "whatever works best", so a GPU whose driver fails to open is passed over, with a warning.
    fn open_auto(options: &GpuOptions) -> Result<Self, DeviceError> {
        for index in choice::real_gpus(&enumerate()) {
            match Gpu::open(index, options) {
                Ok(gpu) => return Ok(Self::Gpu(gpu)),
                Err(error) => tracing::warn!("auto passes over adapter {index}: {error}"),
            }
        }
        Ok(Self::Cpu(Cpu::new()?))
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu(cpu) => cpu.describe(),
            Self::Gpu(gpu) => gpu.describe(),
        }
    }

    /// The same device with other tuned choices (see [`Gpu::with_tuning`]). The CPU executor has none.
    pub fn with_tuning(&self, tuning: Option<Arc<Tuning>>) -> Self {
        match self {
            Self::Cpu(cpu) => Self::Cpu(cpu.clone()),
            Self::Gpu(gpu) => Self::Gpu(gpu.with_tuning(tuning)),
        }
    }

    /// The GPU, if this is one.
    pub fn gpu(&self) -> Option<&Gpu> {
        match self {
            Self::Gpu(gpu) => Some(gpu),
            Self::Cpu(_) => None,
        }
    }
}
