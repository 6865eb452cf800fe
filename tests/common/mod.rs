//! The devices that tests run on. Every test binary compiles this file for itself.
#![allow(dead_code)] // Not every one of them needs all of it.

use advect::device::{Cpu, Device, DeviceChoice, DeviceError, GpuOptions};

/// The CPU executor with two threads, on every machine the same.
pub fn cpu() -> Device {
    Device::Cpu(Cpu::with_threads(2).expect("a CPU"))
}

/// The adapter that `gpu` means here (ADVECT_DEVICE may name another); none where there is none.
pub fn gpu() -> Option<Device> {
    gpu_with(&GpuOptions::default())
}

/// That adapter, opened with options.
pub fn gpu_with(options: &GpuOptions) -> Option<Device> {
    let choice = match std::env::var("ADVECT_DEVICE").as_deref() {
        Err(_) | Ok("" | "auto" | "cpu") => DeviceChoice::Gpu,
        Ok(name) => name.parse().expect("every text is a choice"),
    };
    found(Device::open_with(&choice, options))
}

/// The CPU, and a GPU where there is one.
pub fn devices() -> Vec<Device> {
    std::iter::once(cpu()).chain(gpu()).collect()
}

/// The device, or none after saying loudly that the test did not run, which ADVECT_REQUIRE_GPU=1 makes a failure.
pub fn found(opened: Result<Device, DeviceError>) -> Option<Device> {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    match opened {
        Ok(device) => {
            println!("{test}: on {}", device.describe());
            Some(device)
        }
        Err(error) => {
            let required = std::env::var_os("ADVECT_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required, "{test}: ADVECT_REQUIRE_GPU=1, but no adapter opens: {error}");
            println!("NOT RUN: {test} on a GPU: no adapter opens: {error}");
            None
        }
    }
}
