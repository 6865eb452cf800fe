//! The CPU executor's threads.

use super::{DeviceError, Team};
use serde::Serialize;
use std::sync::Arc;

/// The CPU executor as `advect devices` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CpuReport {
    /// `x86_64`, `aarch64`, ...
    pub arch: &'static str,
    /// Threads in the pool.
    pub threads: usize,
    /// Vector extensions of this processor that the twins and the matrix products know how to use.
    pub vector_extensions: Vec<&'static str>,
}

/// The CPU as a device: a thread pool of its own, so that its width is controlled. Cheap to clone.
#[derive(Clone)]
pub struct Cpu {
    pool: Arc<rayon::ThreadPool>,
}

impl Cpu {
    /// As many threads as `ADVECT_THREADS` says, else as the machine has.
    pub fn new() -> Result<Self, DeviceError> {
        let threads = match std::env::var_os("ADVECT_THREADS") {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(found) => parse_threads(&found.to_string_lossy())?,
        };
        Self::with_threads(threads)
    }

    /// A pool of `threads` threads; 0 counts as 1.
    pub fn with_threads(threads: usize) -> Result<Self, DeviceError> {
        let threads = threads.max(1);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("advect-cpu-{i}"))
            .build()
            .map(|pool| Self { pool: Arc::new(pool) })
            .map_err(|e| DeviceError::Threads { threads, message: e.to_string() })
    }

    /// Threads in the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` inside the pool: rayon's parallel iterators in it use this pool's threads.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Runs `work` inside the pool, leading a team of its threads, which stay awake until it ends.
    pub fn lead<T: Send>(&self, work: impl FnOnce(&Team) -> T + Send) -> T {
        let threads = self.threads();
        self.pool.install(|| Team::lead(threads, work))
    }

    /// What `advect devices` shows of it.
    pub fn report(&self) -> CpuReport {
        CpuReport {
            arch: std::env::consts::ARCH,
            threads: self.threads(),
            vector_extensions: vector_extensions(),
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let n = self.threads();
        format!("cpu [{}, {n} thread{}]", std::env::consts::ARCH, if n == 1 { "" } else { "s" })
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cpu").field("threads", &self.threads()).finish()
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn vector_extensions() -> Vec<&'static str> {
    let has = [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    has.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
}

#[cfg(target_arch = "aarch64")]
fn vector_extensions() -> Vec<&'static str> {
    // Part of every 64-bit ARM processor with an operating system.
    vec!["neon"]
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn vector_extensions() -> Vec<&'static str> {
    Vec::new()
}

fn parse_threads(found: &str) -> Result<usize, DeviceError> {
    match found.trim().parse() {
        Ok(n) if (1..=1024).contains(&n) => Ok(n),
        _ => Err(DeviceError::Environment {
            name: "ADVECT_THREADS",
            found: found.to_owned(),
            needed: "a number of threads from 1 to 1024",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn threads_are_controlled() {
        let cpu = Cpu::with_threads(2).expect("two threads start");
        assert_eq!(cpu.threads(), 2);
        assert_eq!(cpu.install(rayon::current_num_threads), 2);
        assert_eq!(cpu.install(|| (0..100u32).into_par_iter().sum::<u32>()), 4950);
    }

    #[test]
    fn thread_counts_are_checked() {
        assert_eq!(parse_threads(" 4 "), Ok(4));
        for bad in ["0", "-1", "many", "1e9", ""] {
            assert!(matches!(parse_threads(bad), Err(DeviceError::Environment { .. })), "{bad}");
        }
    }
}
