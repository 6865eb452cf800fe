//! What the self-test tries besides single kernels: random numbers, whole sampling passes, repetition.

use super::SelfTestError;
use super::cases::philox_raw::KNOWN;
use super::report::Check;
use crate::bench::{self, OBS_DIM, STATE_DIM, Workload};
use crate::device::{Cpu, Device};
use crate::flow::integrator::{NOISE_STREAM, Start};
use crate::flow::{Batch, FlowError, IntegrateOptions, Integrator, Solver};
use crate::graph::{GraphError, Program, Session};
use crate::kernel::Target;
use crate::kernel::draw::{self, Law};
use crate::kernel::philox;
use crate::kernel::state::{State, WORDS};
use crate::train::{TrainError, Trainer};

/// How far the normals of two devices may be apart.
const NOISE_TOLERANCE: f32 = 2e-6;
/// How far a sampling pass may be from the CPU executor's.
const SAMPLE_TOLERANCE: f64 = 1e-5;
/// How far the mean loss of a short training may be from the CPU executor's, relative.
const LOSS_TOLERANCE: f64 = 1e-4;

/// What a check comes to: whether it held, and the numbers.
type Verdict = Result<(bool, String), TrainError>;

/// A check: tries something on a device.
type Try = fn(&Device) -> Verdict;

/// Every check: to add one, add its line.
static CHECKS: &[(&str, Try)] = &[
    ("philox known answers", known_answers),
    ("noise equals the host's", noise),
    ("sampling twice, bit for bit", sampling_twice),
    ("adaptive sampling twice, bit for bit", adaptive_twice),
    ("sampling agrees with the CPU", sampling_agrees),
    ("training twice, bit for bit", training_twice),
    ("training agrees with the CPU", training_agrees),
    ("a second pass creates nothing", steady),
];

/// Runs all checks. An error in one is its failure; only a lost device ends them.
pub(super) fn run(device: &Device, progress: &mut super::Progress<'_>) -> Result<Vec<Check>, SelfTestError> {
    let mut out = Vec::new();
    for (n, (name, check)) in CHECKS.iter().enumerate() {
        progress.at(name, n, CHECKS.len())?;
        let (passed, detail) = check(device).unwrap_or_else(|error| (false, error.to_string()));
        if let Device::Gpu(gpu) = device {
            gpu.check()?;
        }
        out.push(Check { name, passed, detail });
    }
    Ok(out)
}

/// The host's integers; those of the device are the kernel `philox_raw`.
fn known_answers(_: &Device) -> Verdict {
    let good = KNOWN.iter().filter(|(counter, key, answer)| philox::philox4x32(*counter, *key) == *answer);
    let good = good.count();
    Ok((good == KNOWN.len(), format!("{good} of {}", KNOWN.len())))
}

/// Normals drawn on the device against the host's, across the 2^34 elements where the block counter carries.
fn noise(device: &Device) -> Verdict {
    const N: usize = 100_003;
    let (seed, step, first) = (0x0123_4567_89ab_cdef, 42, (1u64 << 34) - 1000);
    let mut program = Program::new(Target::of(device));
    let state = program.resident("state", WORDS)?;
    let out = program.resident("noise", N)?;
    let empty = program.empty();
    program.push(draw::command(Law::Normal, N, first, NOISE_STREAM, state, empty, (out, 0)))?;
    let plan = program.finish()?;
    let (state, out) = (plan.buffer("state")?, plan.buffer("noise")?);
    let mut session = Session::new(device, plan)?;
    session.write(state, &State::new(seed, step).words())?;
    session.run(&[0])?;
    let (mut got, mut want) = (vec![f32::NAN; N], vec![0.0; N]);
    session.read(out, &mut got)?;
    philox::fill_normal(seed, NOISE_STREAM, step, first, &mut want);
    let apart = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, nan_max);
    Ok((apart <= NOISE_TOLERANCE, format!("{} apart at most, of {N} normals", small(apart.into()))))
}

/// A small batch of the benchmark's network, ready to run.
struct Pass {
    integrator: Integrator,
    observations: Vec<f32>,
}

/// Requests and samples of each: rows that fill no tile.
const BATCH: Batch = Batch { requests: 13, samples: 5 };

impl Pass {
    fn new(device: &Device, solver: Solver) -> Result<Pass, FlowError> {
        let store = Workload::Mlp256.parameters(7)?;
        let options = IntegrateOptions::default();
        let mut integrator =
            Integrator::new(device, &Workload::Mlp256, &store.layout, solver, BATCH, &options)?;
        integrator.set_params(&store.values)?;
        let mut observations = vec![0.0; BATCH.requests * OBS_DIM];
        philox::fill_normal(7, 0, 0, 0, &mut observations);
        Ok(Pass { integrator, observations })
    }

    fn run(&mut self, seed: u64) -> Result<Vec<f32>, FlowError> {
        let mut out = vec![f32::NAN; BATCH.rows() * STATE_DIM];
        self.integrator.run(Start::Noise { seed, request: 3 }, &[&self.observations], &mut out, None)?;
        Ok(out)
    }
}

/// The same seed in the same session, with another seed between, and in a session of its own.
fn twice(device: &Device, solver: Solver) -> Verdict {
    let mut pass = Pass::new(device, solver)?;
    let first = pass.run(1)?;
    let other = pass.run(2)?;
    let again = pass.run(1)?;
    let anew = Pass::new(device, solver)?.run(1)?;
    if !first.iter().all(|v| v.is_finite()) {
        return Ok((false, "the samples are not finite".into()));
    }
    if first == other {
        return Ok((false, "another seed gave the same samples".into()));
    }
    let differ = |a: &[f32]| a.iter().zip(&first).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let count = first.len();
    Ok(match (differ(&again), differ(&anew)) {
        (0, 0) => (true, format!("{count} values, {solver}")),
        (here, there) => {
            let what = format!("{here} of {count} values differ in the same session, {there} in a new one");
            (false, what)
        }
    })
}

fn sampling_twice(device: &Device) -> Verdict {
    twice(device, Solver::euler(10))
}

fn adaptive_twice(device: &Device) -> Verdict {
    twice(device, "dopri5:1e-4:1e-5".parse()?)
}

/// The same seed on the CPU executor with one thread.
fn sampling_agrees(device: &Device) -> Verdict {
    let want = Pass::new(&one_thread()?, Solver::euler(10))?.run(1)?;
    let got = Pass::new(device, Solver::euler(10))?.run(1)?;
    let square = |f: &dyn Fn(usize) -> f32| (0..want.len()).map(|i| f64::from(f(i)).powi(2)).sum::<f64>();
    let error = (square(&|i| got[i] - want[i]) / square(&|i| want[i])).sqrt();
    Ok((error <= SAMPLE_TOLERANCE, format!("relative error {}", small(error))))
}

/// Steps of the training checks: the moments and the moving average have left their start.
const TRAIN_STEPS: u64 = 12;

/// Mean loss and final weights of a short run with a batch that fills no tile.
fn trained(device: &Device) -> Result<(f64, Vec<f32>), TrainError> {
    let episodes = bench::demonstrations(3, 40, 5)?;
    let mut trainer = Trainer::new(device, &episodes, &bench::run_config(Workload::Mlp256, 33, 5))?;
    let loss = trainer.advance(TRAIN_STEPS)?.loss;
    let policy = trainer.policy()?;
    Ok((loss, [policy.weights.values, policy.ema.values].concat()))
}

fn training_twice(device: &Device) -> Verdict {
    let ((_, first), (_, again)) = (trained(device)?, trained(device)?);
    let differ = first.iter().zip(&again).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    let count = first.len();
    Ok(match differ {
        0 => (true, format!("{count} weights after {TRAIN_STEPS} steps")),
        n => (false, format!("{n} of {count} weights differ after {TRAIN_STEPS} steps")),
    })
}

/// By the mean loss: AdamW's first steps follow the sign of gradients however small, so weights part sooner.
fn training_agrees(device: &Device) -> Verdict {
    let (want, _) = trained(&one_thread()?)?;
    let (got, _) = trained(device)?;
    let error = (got - want).abs() / want.abs();
    Ok((error <= LOSS_TOLERANCE, format!("mean loss {got:.4}, relative error {}", small(error))))
}

fn one_thread() -> Result<Device, GraphError> {
    Ok(Device::Cpu(Cpu::with_threads(1)?))
}

/// Buffers, pipelines and bind groups made by a pass after the first: none.
fn steady(device: &Device) -> Verdict {
    let mut pass = Pass::new(device, Solver::euler(10))?;
    pass.run(1)?;
    let before = pass.integrator.counters();
    pass.run(2)?;
    let made = pass.integrator.counters().since(&before);
    let count = made.buffers_created + made.pipelines_created + made.bind_groups_created;
    let detail = format!("{} dispatches, submits: {}", made.dispatches, made.submits);
    let detail = match device {
        Device::Cpu(_) => "the CPU has nothing to create".into(),
        Device::Gpu(_) if count == 0 => detail,
        Device::Gpu(_) => format!(
            "{detail} made {} buffers, {} pipelines and {} bind groups",
            made.buffers_created, made.pipelines_created, made.bind_groups_created
        ),
    };
    Ok((count == 0, detail))
}

/// An error in few digits.
fn small(error: f64) -> String {
    if error == 0.0 { "0".into() } else { format!("{error:.1e}") }
}

fn nan_max(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}
