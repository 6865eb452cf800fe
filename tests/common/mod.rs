//! The devices that tests run on. Every test binary compiles this file for itself.
#![allow(dead_code)] // Not every one of them needs all of it.

use advect::device::{Cpu, Device, DeviceChoice, DeviceError, GpuOptions};
use advect::kernel::Variant;
use std::sync::Mutex;

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

/// That adapter, with its matrix units if it has any.
pub fn gpu_with_matrix_units() -> Option<Device> {
    let mut options = GpuOptions::default();
    options.cooperative_matrix_if_any = true;
    gpu_with(&options)
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

/// A variant with other WGSL, which `mark` tells from its own.
pub fn rewritten(of: &Variant, mark: &str, source: String) -> &'static Variant {
    let name = format!("{}{mark}", of.name).leak();
    Box::leak(Box::new(Variant { name, source: source.leak(), ..*of }))
}

/// What `each` makes of every item, on two threads, in no order.
pub fn on_two_threads<T: Send, R: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    each: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let items = Mutex::new(items.into_iter());
    let next = || items.lock().expect("no panic").next();
    let work = || std::iter::from_fn(next).map(&each).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect()
    })
}
