//! (placeholder until the device floor lands)
#![allow(missing_docs)]
/// How a kernel uses a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}
#[derive(Debug, thiserror::Error)]
#[error("device")]
pub enum DeviceError {
    X,
}
#[derive(Clone, Debug, Default)]
pub struct Counters {}
#[derive(Clone, Debug)]
pub struct Cpu {
    threads: usize,
}
impl Cpu {
    pub fn new() -> Cpu {
        Cpu { threads: 2 }
    }
    pub fn threads(&self) -> usize {
        self.threads
    }
    pub fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        f()
    }
}
#[derive(Clone, Debug)]
pub struct Gpu {}
#[derive(Clone, Debug)]
pub enum Device {
    Cpu(Cpu),
    Gpu(Gpu),
}
