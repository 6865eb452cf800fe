//! What a device reaches at best, with the engine's own kernels: the roofs.

use crate::bench::BenchError;
use crate::device::{Device, memory};
use crate::graph::{Clock, Program, Rates, Session};
use crate::kernel::matmul::{self, Epilogue, Form};
use crate::kernel::pack_weights::Layout;
use crate::kernel::{Target, View, copy};
use serde::Serialize;

/// Elements of the smallest and the largest buffer that is copied: 1 MiB and 256 MiB.
const ELEMENTS: [usize; 2] = [1 << 18, 1 << 26];
/// Rows and columns of the products.
const SQUARES: [usize; 4] = [512, 1024, 2048, 4096];
/// Elements of a row of the matrix that is only read.
const ROW: usize = 1024;
/// Replays of which the fastest counts: a roof is what can be reached.
const REPLAYS: usize = 7;
/// A working set lies in the cache if it moves so many times faster than one that cannot.
const CACHED: f64 = 1.5;

/// The roofs, and how they were found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peaks {
    /// The roofs.
    pub rates: Rates,
    /// Rows and columns of the largest product.
    pub square: usize,
    /// Bytes of the largest working set.
    pub working_set_bytes: f64,
    /// Whose time it is.
    pub clock: Clock,
}

/// Bytes moved per second over one working set.
struct Moved {
    working_set: f64,
    bytes_per_s: f64,
}

/// Measures a device. Bandwidth: the faster of `copy` and of a product of one row with a matrix (which is nearly all reading),
/// over working sets that double up to 512 MiB, or until one takes `patience` seconds; memory's is the best of the sets that are at
/// least half as large as the largest. A set that moves half as fast again counts as lying in the cache. Operations: square products up to 4,096, or until one
/// takes `patience` seconds; on the CPU also one thread's product times the threads, as many products side by side. `go_on` hears how far it is (0 to 1) and may stop it.
pub fn peaks(
    device: &Device,
    patience: f64,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Peaks, BenchError> {
    let mut go_on = |done: f64| if go_on(done) { Ok(()) } else { Err(BenchError::Stopped) };
    let (mut sets, mut clock): (Vec<[Moved; 2]>, Clock) = (Vec::new(), Clock::Host);
    let mut elements = ELEMENTS[0];
    while elements <= ELEMENTS[1] && (sets.is_empty() || 4 * elements as u64 <= most_bytes(device)) {
        go_on(0.06 * sets.len() as f64)?;
        let (moved, seconds, by) = bandwidth(device, elements)?;
        sets.push(moved);
        clock = by;
        if seconds > patience {
            break;
        }
        elements *= 2;
    }
    let all = || sets.iter().flatten();
    let largest = all().map(|m| m.working_set).fold(0.0, f64::max);
    let large = all().filter(|m| m.working_set >= 0.45 * largest);
    let memory = large.map(|m| m.bytes_per_s).fold(0.0, f64::max);
    let cached = all().filter(|m| m.bytes_per_s >= CACHED * memory);
    let cache_bytes = cached.map(|m| m.working_set).fold(0.0, f64::max);
    let within = all().filter(|m| m.working_set <= cache_bytes);
    let cache = within.map(|m| m.bytes_per_s).fold(memory, f64::max);

    let (mut flops_per_s, mut square) = (0.0, 0);
    for n in SQUARES.into_iter().take_while(|n| 4 * (n * n) as u64 <= most_bytes(device)) {
        go_on(0.55 + 0.1 * square as f64 / 1024.0)?;
        let (flops, seconds) = product(device, n)?;
        flops_per_s = f64::max(flops_per_s, flops / seconds);
        square = n;
        if seconds > patience {
            break;
        }
    }
    let rates = Rates { flops_per_s, memory_bytes_per_s: memory, cache_bytes_per_s: cache, cache_bytes };
    Ok(Peaks { rates, square, working_set_bytes: largest, clock })
}

/// Bytes that one buffer may have.
fn most_bytes(device: &Device) -> u64 {
    let limits = match device.gpu() {
        Some(gpu) => {
            let limits = gpu.caps().limits;
            limits.max_buffer_bytes.min(limits.max_storage_binding_bytes)
        }
        None => u64::MAX,
    };
    let host = memory::available().map_or(u64::MAX, |bytes| bytes / 8);
    if device.gpu().is_some_and(|gpu| !gpu.report().is_software()) { limits } else { limits.min(host) }
}

/// Copying so many elements, and reading them; the longer one's time.
fn bandwidth(device: &Device, elements: usize) -> Result<([Moved; 2], f64, Clock), BenchError> {
    let target = Target::of(device);
    let mut program = Program::new(target.clone());
    let (x, y) = (program.resident("x", elements)?, program.resident("y", elements)?);
    let (row, sums) = (program.resident("row", ROW)?, program.resident("sums", elements / ROW)?);
    let empty = program.empty();
    let whole = View::dense(0, elements);
    program.phase("copy");
    program.push(copy::command([1, elements], 0, elements, (x, whole), (y, whole)))?;
    program.phase("read");
    let operands = ((row, View::dense(0, ROW)), (x, View::dense(0, ROW)));
    let out = (sums, View::dense(0, elements / ROW));
    let shape = [1, elements / ROW, ROW];
    let epilogue = Epilogue::default();
    let command = matmul::command(Form::NT, shape, operands.0, operands.1, out, &epilogue, empty, &target);
    program.push(command)?;
    let mut session = Session::new(device, program.finish()?)?;
    session.split_kernels(true);
    let profile = session.profile(&[0, 1], REPLAYS)?;
    let cost = session.plan().cost(&[0, 1]);
    let moved = |n: usize| Moved {
        working_set: cost.commands[n].bytes,
        bytes_per_s: cost.commands[n].bytes / profile.commands[n].least.max(1e-9),
    };
    let longer = profile.commands.iter().map(|c| c.least).fold(0.0, f64::max);
    Ok(([moved(0), moved(1)], longer, profile.clock))
}

/// Operations and seconds of a product of square matrices, in the form of a linear layer, by the fastest of the engine's kernels.
fn product(device: &Device, n: usize) -> Result<(f64, f64), BenchError> {
    let target = Target::of(device);
    let mut program = Program::new(target.clone());
    let [a, b, c] =
        [program.resident("a", n * n)?, program.resident("b", n * n)?, program.resident("c", n * n)?];
    let empty = program.empty();
    let view = View::dense(0, n);
    let operands = ((a, view), (b, view), (c, view));
    let (a, b, c) = operands;
    let command = matmul::command(Form::NT, [n; 3], a, b, c, &Epilogue::default(), empty, &target);
    // The CPU's plans pack weights that stay; what the packing takes is no part of the product.
    let call = matmul::Call::of(&command).filter(|_| !target.gpu);
    program.push(command)?;
    if let Some(call) = call {
        let packed = program.resident("packed", Layout::Panels.elements([n; 2]))?;
        program.push(matmul::packed_command(&call, (packed, 0), empty))?;
    }
    let mut session = Session::new(device, program.finish()?)?;
    let mut least = |split: bool| -> Result<f64, BenchError> {
        session.split_kernels(split);
        let profile = session.profile(&[0], REPLAYS)?;
        Ok(profile.commands.iter().map(|c| c.least).fold(f64::INFINITY, f64::min))
    };
    let seconds = match device {
        Device::Gpu(_) => least(false)?,
        Device::Cpu(cpu) => least(true)?.min(least(false)? / cpu.threads() as f64),
    };
    Ok((session.plan().cost(&[0]).commands[0].flops, seconds.max(1e-9)))
}
