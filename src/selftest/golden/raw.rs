//! Kernels that no graph holds: random numbers and probability paths.

use super::{GoldenError, GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::{Program, Session};
use crate::kernel::path::{self, PathKind};
use crate::kernel::{Target, philox_raw};

pub(super) fn philox(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let (counter, key) = (file.u32("in.counter")?, file.u32("in.key")?);
    let n = key.len() / 2;
    let mut program = Program::new(Target::of(device));
    let counters = program.resident("counter", counter.len())?;
    let keys = program.resident("key", key.len())?;
    let y = program.resident("y", 4 * n)?;
    program.push(philox_raw::command(n, counters, keys, y))?;
    let mut session = Session::new(device, program.finish()?)?;
    let [counters, keys, y] = ["counter", "key", "y"].map(|name| session.plan().buffer(name));
    session.write_u32(counters?, &counter)?;
    session.write_u32(keys?, &key)?;
    session.run(&[0])?;
    let mut got = vec![0; 4 * n];
    session.read_u32(y?, &mut got)?;
    score.equal(file, "out.y", &got)
}

/// The path that a file names.
pub(super) fn kind(name: &str) -> Result<PathKind> {
    match name {
        "target" => Ok(PathKind::Ot),
        "independent" => Ok(PathKind::Independent),
        "variance_preserving" => Ok(PathKind::VariancePreserving),
        "schrodinger_bridge" => Ok(PathKind::SchrodingerBridge),
        other => Err(GoldenError::Unknown { what: "path", found: other.into() }),
    }
}

pub(super) fn path(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let kind = kind(file.text("path")?)?;
    let sigma = file.number("sigma")? as f32;
    let shape = file.shape("in.x0")?;
    let mut program = Program::new(Target::of(device));
    let names = ["in.x0", "in.x1", "in.t", "in.eps"];
    let mut ids = Vec::new();
    for name in names {
        ids.push(program.resident(name, file.shape(name)?.len())?);
    }
    let (xt, ut) = (program.resident("out.xt", shape.len())?, program.resident("out.ut", shape.len())?);
    let size = [shape.rows(), shape.cols()];
    program.push(path::command(kind, sigma, size, ids[0], ids[1], ids[2], ids[3], xt, ut))?;
    let mut session = Session::new(device, program.finish()?)?;
    for name in names {
        let id = session.plan().buffer(name)?;
        session.write(id, &file.f32(name)?)?;
    }
    session.run(&[0])?;
    for name in ["out.xt", "out.ut"] {
        let id = session.plan().buffer(name)?;
        let mut got = vec![0.0; shape.len()];
        session.read(id, &mut got)?;
        score.close(file, name, &got)?;
    }
    Ok(())
}
