//! The optimiser's kernels: AdamW, clipping, the learning rate's schedule, the moving average's decay.

use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::{Program, Session};
use crate::kernel::adamw::{self, AdamWParams};
use crate::kernel::state::{State, WORDS};
use crate::kernel::tick::{self, Ema, Schedule, TickParams};
use crate::kernel::{BufferId, Target, sumsq};

const TICK: TickParams = TickParams {
    base_lr: 1.0,
    schedule: Schedule::Constant { warmup: 0 },
    max_norm: f32::INFINITY,
    beta1: 0.9,
    beta2: 0.999,
    ema: Ema::Constant(0.0),
    ring_rows: 0,
};

/// An optimiser step of `n` weights, resident: sums of squares, tick, AdamW.
struct Optimiser {
    session: Session,
    weights: BufferId,
    grads: BufferId,
    first: BufferId,
    state: BufferId,
}

impl Optimiser {
    fn new(device: &Device, n: usize, constants: &AdamWParams, tick: &TickParams) -> Result<Optimiser> {
        let mut program = Program::new(Target::of(device));
        let names = ["weights", "grads", "first", "second", "average"];
        let mut ids = Vec::new();
        for name in names {
            ids.push(program.resident(name, n)?);
        }
        let state = program.resident("state", WORDS)?;
        let partials = sumsq::partials(n);
        let partial = program.temporary(partials)?;
        let loss = program.resident("loss", 1)?;
        let ring = program.resident("ring", 4)?;
        program.push(sumsq::command((n, partials), (ids[1], 0), (partial, 0)))?;
        program.push(tick::command(tick, partial, partials, loss, state, ring))?;
        program.push(adamw::command(constants, (0, n), [ids[0], ids[1], ids[2], ids[3], ids[4]], state))?;
        let session = Session::new(device, program.finish()?)?;
        let plan = session.plan().clone();
        let at = |name: &str| plan.buffer(name);
        Ok(Optimiser {
            weights: at("weights")?,
            grads: at("grads")?,
            first: at("first")?,
            state: at("state")?,
            session,
        })
    }

    /// Sets the number of steps done.
    fn rewind(&mut self, step: u64) -> Result<()> {
        Ok(self.session.write(self.state, &State::new(1, step).words())?)
    }

    fn step(&mut self) -> Result<State> {
        self.session.run(&[0])?;
        let mut words = [0.0; WORDS];
        self.session.read(self.state, &mut words)?;
        Ok(State::from_words(&words))
    }

    fn read(&mut self, id: BufferId, n: usize) -> Result<Vec<f32>> {
        let mut out = vec![0.0; n];
        self.session.read(id, &mut out)?;
        Ok(out)
    }
}

fn constants(beta1: f64) -> AdamWParams {
    AdamWParams { beta1, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
}

pub(super) fn adamw(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let constants = AdamWParams {
        beta1: file.number("beta1")?,
        beta2: file.number("beta2")?,
        eps: file.number("eps")?,
        weight_decay: file.number("weight_decay")?,
    };
    let tick = TickParams {
        base_lr: file.number("lr")? as f32,
        beta1: constants.beta1,
        beta2: constants.beta2,
        ..TICK
    };
    let (p, grads) = (file.f32("in.p")?, file.f32("in.grads")?);
    let n = p.len();
    let mut optimiser = Optimiser::new(device, n, &constants, &tick)?;
    optimiser.rewind(0)?;
    optimiser.session.write(optimiser.weights, &p)?;
    let mut trajectory = Vec::new();
    for g in grads.chunks_exact(n) {
        optimiser.session.write(optimiser.grads, g)?;
        optimiser.step()?;
        trajectory.extend(optimiser.read(optimiser.weights, n)?);
    }
    score.close(file, "out.trajectory", &trajectory)
}

pub(super) fn clip(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let g = file.f32("in.g")?;
    let tick = TickParams { max_norm: file.number("max_norm")? as f32, beta1: 0.0, ..TICK };
    // Without momentum the first moment is the clipped gradient.
    let mut optimiser = Optimiser::new(device, g.len(), &constants(0.0), &tick)?;
    optimiser.rewind(0)?;
    optimiser.session.write(optimiser.grads, &g)?;
    let state = optimiser.step()?;
    score.close(file, "out.norm", &[state.norm])?;
    let clipped = optimiser.read(optimiser.first, g.len())?;
    score.close(file, "out.g", &clipped)
}

/// What `tick` leaves in the state at each of the file's steps.
fn at_steps(
    file: &GoldenFile,
    device: &Device,
    tick: &TickParams,
    of: fn(&State) -> f32,
) -> Result<Vec<f32>> {
    let mut optimiser = Optimiser::new(device, 1, &constants(0.9), tick)?;
    let mut out = Vec::new();
    for n in file.u32("in.step")? {
        optimiser.rewind(n.into())?;
        out.push(of(&optimiser.step()?));
    }
    Ok(out)
}

pub(super) fn schedule(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let (warmup, total) = (file.number("warmup")? as u32, file.number("total")? as u32);
    let tick = TickParams { schedule: Schedule::Cosine { warmup, total }, ..TICK };
    let got = at_steps(file, device, &tick, |s| s.lr)?;
    score.close(file, "out.factor", &got)
}

pub(super) fn ema(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("inv_gamma", 1.0)?;
    let ema = Ema::Power { power: file.number("power")? as f32, max: file.number("max")? as f32 };
    let got = at_steps(file, device, &TickParams { ema, ..TICK }, |s| s.ema_decay)?;
    score.close(file, "out.decay", &got)
}
