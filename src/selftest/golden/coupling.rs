//! Minibatch couplings: the optimal pairing's cost, and the entropic plan.

use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::flow::coupling::sinkhorn::Problem;
use crate::flow::coupling::{BatchShape, exact};
use crate::graph::{Program, Session};
use crate::kernel::{Target, View, copy, mse, reorder, state};

/// Iterations after which the files' plans have long converged in f32.
const ITERATIONS: u32 = 300;

fn shape(file: &GoldenFile) -> Result<BatchShape> {
    file.expect("cost", "squared euclidean")?;
    let x0 = file.shape("in.x0")?;
    Ok(BatchShape { batch: x0.rows(), dim: x0.cols(), request: 0 })
}

/// The pairing comes from the host; the device puts the rows in its order and takes the mean cost.
pub(super) fn exact(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let shape = shape(file)?;
    let BatchShape { batch, dim, .. } = shape;
    let (x0, x1) = (file.f32("in.x0")?, file.f32("in.x1")?);
    let pairs = exact::pair(&shape, 0.0, [&x0, &x1, &[]])?;

    let mut program = Program::new(Target::of(device));
    let [a, b] = [("x0", x0.len()), ("x1", x1.len())].map(|(name, n)| program.resident(name, n));
    let (a, b) = (a?, b?);
    let (index, state) = (program.resident("index", batch)?, program.resident("state", state::WORDS)?);
    let ordered = program.resident("ordered", x1.len())?;
    let loss = program.resident("loss", 4)?;
    program.push(reorder::command([batch, dim], batch, (index, 1), state, b, ordered))?;
    let dense = View::dense(0, dim);
    program.push(mse::command(
        1.0 / batch as f32,
        [batch, dim],
        (a, dense),
        (ordered, dense),
        (loss, View::dense(0, 1)),
    ))?;
    let mut session = Session::new(device, program.finish()?)?;
    let [a, b, index, loss] = ["x0", "x1", "index", "loss"].map(|name| session.plan().buffer(name));
    session.write(a?, &x0)?;
    session.write(b?, &x1)?;
    session.write_u32(index?, &pairs.columns)?;
    session.run(&[0])?;
    let mut mean = [0.0];
    session.read(loss?, &mut mean)?;
    score.close(file, "out.cost", &mean)?;
    // Of several pairings that are as good any will do.
    let theirs = file.u32("out.match")?;
    let mut matrix = vec![0.0; batch * batch];
    exact::cost(&shape, 0.0, [&x0, &x1, &[]], &mut matrix)?;
    let sum: f64 = theirs.iter().enumerate().map(|(i, j)| f64::from(matrix[i * batch + *j as usize])).sum();
    score.record("out.match", if pairs.columns == theirs { 0.0 } else { (sum - pairs.cost).abs() / sum });
    Ok(())
}

/// Potentials on the device; the plan's entries from them.
pub(super) fn sinkhorn(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let shape = shape(file)?;
    let (x0, x1) = (file.f32("in.x0")?, file.f32("in.x1")?);
    let (n, reg) = (shape.batch, file.number("reg")? as f32);
    let problem = Problem { shape, reg, iterations: ITERATIONS, condition_weight: 0.0 };
    let mut program = Program::new(Target::of(device));
    let (a, b) = (program.resident("x0", x0.len())?, program.resident("x1", x1.len())?);
    let empty = program.empty();
    let plan = problem.plan(&mut program, a, b, empty)?;
    let keep = [("cost", plan.cost, n * n), ("u", plan.u, n), ("v", plan.v, n)];
    for (name, from, elements) in keep {
        let to = program.resident(name, elements)?;
        let dense = View::dense(0, elements);
        program.push(copy::command([1, elements], 0, elements, (from, dense), (to, dense)))?;
    }
    let mut session = Session::new(device, program.finish()?)?;
    for (name, data) in [("x0", &x0), ("x1", &x1)] {
        let id = session.plan().buffer(name)?;
        session.write(id, data)?;
    }
    session.run(&[0])?;
    let mut read = |name: &str, elements: usize| -> Result<Vec<f32>> {
        let id = session.plan().buffer(name)?;
        let mut out = vec![0.0; elements];
        session.read(id, &mut out)?;
        Ok(out)
    };
    let (cost, u, v) = (read("cost", n * n)?, read("u", n)?, read("v", n)?);
    let entry = |e: usize| (u[e / n] + v[e % n] - cost[e] / reg).exp();
    score.close(file, "out.plan", &(0..n * n).map(entry).collect::<Vec<f32>>())
}
