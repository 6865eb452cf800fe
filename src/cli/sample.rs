//! `advect sample`: action chunks for observations.

use super::Run;
use super::common::{Context, Interrupt, number_in, print, print_json};
use super::errors::{Interrupted, Usage};
use super::files::Files;
use super::output::{bytes, count, grouped, short};
use super::weights::WeightsArg;
use advect::data::{Array, Aside, NpyWriter, read_npy_f32};
use advect::device::{Device, DeviceChoice, memory};
use advect::flow::Solver;
use advect::flow::log_prob::Divergence;
use advect::graph::Precision;
use advect::policy::{
    LogProbOptions, Noise, Policy, PolicySpec, RowOutcome, RowStatus, SamplerOptions, Weights,
};
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

/// Sample action chunks from a policy
///
/// For each observation of obs.npy [M, history, obs_dim] (or [M, obs_dim], which then stands for every step of the history)
/// N chunks, in the units of the demonstrations: actions [M, N, horizon, action_dim]. The same seed is the same noise on
/// every device.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect sample policy.safetensors --obs obs.npy --batch 64 --out actions.npy
  advect sample policy.safetensors --obs obs.npy --batch 1000 --solver rk4:4 --seed 7 --device gpu --out actions.npy
  advect sample policy.safetensors --obs obs.npy --solver midpoint:10 --trajectory flow.npy --log-prob lp.npy --out actions.npy

Files, all f32:
  --out         [M, N, horizon, action_dim]
  --noise       [M, N, horizon, action_dim], in model space; where a sampler draws noise at its steps (ddpm, sde, vq_bet)
                [M, N, values], the start followed by the noise of every step
  --trajectory  [M, N, steps + 1, horizon, action_dim]
  --log-prob    [M, N], natural logarithm")]
pub struct Sample {
    /// The checkpoint
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The observations
    #[arg(long, value_name = "FILE.npy")]
    obs: PathBuf,
    /// Chunks for each observation
    #[arg(long, value_name = "N", default_value = "1", value_parser = batch)]
    batch: usize,
    /// euler:N, midpoint:N, heun:N, rk4:N, rk4_38:N, bosh3:RTOL[:ATOL], dopri5:RTOL[:ATOL] or tsit5:RTOL[:ATOL]
    #[arg(long, default_value = "euler:10")]
    solver: Solver,
    /// How weights are stored: f32, or f16 where a product is bound by reading them (`advect bench --precision f16` says how far
    /// that is off)
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Times of the solver's steps, from 0 (noise) to 1 (action), in place of N equal steps
    #[arg(long, value_name = "T,..", value_delimiter = ',')]
    times: Option<Vec<f64>>,
    /// Most steps that an adaptive solver may try; a chunk that needs more is NaN and is named
    #[arg(long, value_name = "N", value_parser = steps)]
    max_steps: Option<usize>,
    /// Seed of the noise
    #[arg(long, value_name = "S", default_value = "0")]
    seed: u64,
    /// Where the chunks go
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// The moving average of the weights, or the weights themselves
    #[arg(long, value_enum, default_value = "ema")]
    weights: WeightsArg,
    /// Noise to start from, in place of --seed
    #[arg(long, value_name = "FILE.npy")]
    noise: Option<PathBuf>,
    /// Where all states from noise to action go
    #[arg(long, value_name = "FILE.npy")]
    trajectory: Option<PathBuf>,
    /// Where the chunks' log-densities go, by the same solver in equal steps
    #[arg(long, value_name = "FILE.npy")]
    log_prob: Option<PathBuf>,
    /// How the divergence is had: exact, or hutchinson[:PROBES]
    #[arg(long, value_name = "HOW", default_value = "exact", requires = "log_prob")]
    log_prob_divergence: DivergenceArg,
    /// Log-densities of normalised chunks, not per physical unit
    #[arg(long, requires = "log_prob")]
    model_space_log_prob: bool,
    /// Print JSON: {shape, seed, solver, evaluations, adaptive, failed, device, ms, chunks_per_s, ...}
    #[arg(long)]
    json: bool,
}

fn batch(text: &str) -> Result<usize, String> {
    number_in(text, 1, usize::MAX)
}

fn steps(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 30)
}

#[derive(Clone, Copy, Debug)]
enum DivergenceArg {
    Exact,
    Hutchinson(usize),
}

impl FromStr for DivergenceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "exact" => Ok(DivergenceArg::Exact),
            None if text == "hutchinson" => Ok(DivergenceArg::Hutchinson(1)),
            Some(("hutchinson", probes)) => Ok(DivergenceArg::Hutchinson(number_in(probes, 1, 1 << 20)?)),
            _ => Err("needed exact or hutchinson[:PROBES]".into()),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    policy: &'a Path,
    device: String,
    solver: String,
    /// Of the network for one chunk; null: the solver chooses its steps.
    evaluations: Option<usize>,
    /// Of a solver that chooses its steps.
    adaptive: Option<Adaptive>,
    /// Chunks that are NaN, and why.
    failed: Vec<Failed>,
    times: Option<&'a [f64]>,
    weights: &'static str,
    /// null: the noise was given.
    seed: Option<u64>,
    shape: [usize; 4],
    out: &'a Path,
    trajectory_shape: Option<[usize; 5]>,
    log_prob_shape: Option<[usize; 2]>,
    /// From observations to chunks on the host, compilation not counted.
    ms: f64,
    chunks_per_s: f64,
    log_prob_ms: Option<f64>,
}

/// What the steps of an adaptive solver were, over all chunks.
#[derive(Serialize)]
struct Adaptive {
    max_steps: usize,
    /// Accepted steps of a chunk.
    least_steps: u32,
    mean_steps: f64,
    most_steps: u32,
    /// Steps taken back, of all chunks together.
    rejected: u64,
    /// Evaluations of the network for the chunk that took the most.
    most_evaluations: usize,
}

/// A chunk without a result.
#[derive(Serialize)]
struct Failed {
    observation: usize,
    sample: usize,
    status: RowStatus,
    steps: u32,
    rejected: u32,
}

fn adaptive(solver: Solver, max_steps: usize, outcomes: &[RowOutcome]) -> Option<Adaptive> {
    let tried = outcomes.iter().map(|o| o.steps as usize + o.rejected as usize).max()?;
    let most_evaluations = solver.evaluations_of(tried)?;
    let steps = || outcomes.iter().map(|outcome| outcome.steps);
    Some(Adaptive {
        max_steps,
        least_steps: steps().min()?,
        mean_steps: steps().map(f64::from).sum::<f64>() / outcomes.len() as f64,
        most_steps: steps().max()?,
        rejected: outcomes.iter().map(|outcome| u64::from(outcome.rejected)).sum(),
        most_evaluations,
    })
}

fn failed(outcomes: &[RowOutcome], samples: usize) -> Vec<Failed> {
    let bad = outcomes.iter().enumerate().filter(|(_, outcome)| !outcome.status.is_done());
    bad.map(|(row, outcome)| Failed {
        observation: row / samples,
        sample: row % samples,
        status: outcome.status,
        steps: outcome.steps,
        rejected: outcome.rejected,
    })
    .collect()
}

impl Run for Sample {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        self.check()?;
        let policy = Policy::load(&self.policy)?;
        let spec = &policy.spec;
        let obs = read_npy_f32(&self.obs)?;
        let m = obs.shape.first().copied().unwrap_or(0);
        let obs = history(&self.obs, obs, spec)?;
        let shape = [m, self.batch, spec.horizon, spec.action_dim];
        // As many as the objective takes: mip two, whatever is asked for.
        let steps = self.steps(spec.solver(self.solver)?);
        self.afford(shape, steps)?;
        let noise = match &self.noise {
            Some(path) => Some(noise(path)?),
            None => None,
        };
        self.outputs().try_for_each(|path| match path.is_dir() {
            true => bail!("cannot write {}: it is a folder", path.display()),
            false => {
                drop(Aside::create(path)?);
                Ok(())
            }
        })?;

        let all = *cx.device_choice() == DeviceChoice::All;
        let devices = cx.open_all(self.precision)?;
        let [device, ..] = &devices[..] else { bail!("no device was opened") };
        let weights = Weights::from(self.weights);
        let max_steps = self.max_steps.unwrap_or(SamplerOptions::default().max_steps);
        let options = SamplerOptions {
            max_steps,
            solver: self.solver,
            times: self.times.clone(),
            trajectory: self.trajectory.is_some(),
            weights,
            precision: self.precision,
            ..SamplerOptions::default()
        };
        let batch = || format!("--batch {}", self.batch);
        let start = match &noise {
            Some(noise) => Noise::Given(&noise.data),
            None => Noise::Seed { seed: self.seed, request: 0 },
        };
        let mut actions = Vec::new();
        let count = shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        match count.filter(|count| actions.try_reserve_exact(*count).is_ok()) {
            Some(count) => actions.resize(count, 0.0f32),
            None => bail!("no memory holds {shape:?} actions [observations, samples, horizon, action_dim]"),
        }
        let clock;
        let (trajectory, solver, evaluations, outcomes) = if all {
            let mut fleet = policy.fleet(&devices, m, self.batch, None, &options).with_context(batch)?;
            self.check_noise(noise.as_ref(), shape, fleet.noise_values(), fleet.solver())?;
            clock = Instant::now();
            let outcomes = fleet.sample_each(&obs, start, &mut actions)?.to_vec();
            (None, fleet.solver(), fleet.evaluations(), outcomes)
        } else {
            let mut sampler = policy.sampler(device, m, self.batch, &options).with_context(batch)?;
            self.check_noise(noise.as_ref(), shape, sampler.noise_values(), sampler.solver())?;
            clock = Instant::now();
            let trajectory = match self.trajectory {
                Some(_) => Some(sampler.sample_trajectory(&obs, start, &mut actions)?),
                None => {
                    sampler.sample_each(&obs, start, &mut actions)?;
                    None
                }
            };
            (trajectory, sampler.solver(), sampler.evaluations(), sampler.outcomes().to_vec())
        };
        let failed = failed(&outcomes, self.batch);
        if let Some(first) = failed.first().filter(|_| failed.len() == outcomes.len()) {
            let limit = match first.status {
                RowStatus::OutOfSteps => format!(" after --max-steps {max_steps}"),
                _ => String::new(),
            };
            bail!("{solver}: no chunk has a result; the first: {}{limit}", first.status);
        }
        let seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let log_prob = match self.log_prob {
            Some(_) => Some(self.densities(&policy, device, &obs, &actions, weights, &outcomes)?),
            None => None,
        };
        let log_prob_ms = log_prob.as_ref().map(|_| 1e3 * clock.elapsed().as_secs_f64());

        let trajectory_shape =
            trajectory.as_ref().map(|_| [m, self.batch, steps + 1, spec.horizon, spec.action_dim]);
        let log_prob_shape = log_prob.as_ref().map(|_| [m, self.batch]);
        let mut files: Vec<(&Path, Vec<usize>, &[f32])> = vec![(&self.out, shape.to_vec(), &actions)];
        if let (Some(path), Some(shape), Some(data)) = (&self.trajectory, trajectory_shape, &trajectory) {
            files.push((path, shape.to_vec(), data));
        }
        if let (Some(path), Some(shape), Some(data)) = (&self.log_prob, log_prob_shape, &log_prob) {
            files.push((path, shape.to_vec(), data));
        }
        write_all(&files)?;

        let report = Report {
            policy: &self.policy,
            device: devices.iter().map(Device::describe).collect::<Vec<_>>().join(" + "),
            solver: solver.to_string(),
            evaluations,
            adaptive: adaptive(solver, max_steps, &outcomes),
            failed,
            times: self.times.as_deref(),
            weights: if weights == Weights::Ema { "ema" } else { "raw" },
            seed: noise.is_none().then_some(self.seed),
            shape,
            out: &self.out,
            trajectory_shape,
            log_prob_shape,
            ms: 1e3 * seconds,
            chunks_per_s: (m * self.batch) as f64 / seconds.max(1e-9),
            log_prob_ms,
        };
        if let Some(Failed { observation, sample, status, .. }) = report.failed.first() {
            tracing::warn!(
                "{} of {} chunks have no result and are NaN; the first, sample {sample} of observation {observation}: {status}",
                report.failed.len(),
                outcomes.len()
            );
        }
        if self.json { print_json(&report) } else { print(&render(&report, &files)) }
    }
}

impl Sample {
    /// What can be said before any file is read.
    fn check(&self) -> anyhow::Result<()> {
        if let Some(times) = &self.times {
            let rising = times.windows(2).all(|w| w[0] < w[1]);
            if times.first() != Some(&0.0) || times.last() != Some(&1.0) || !rising {
                let found = times.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
                return Err(Usage(format!("--times: found {found}, needed rising times from 0 to 1")).into());
            }
        }
        let adaptive = matches!(self.solver, Solver::Adaptive { .. });
        for (given, option) in
            [(self.trajectory.is_some(), "--trajectory"), (self.times.is_some(), "--times")]
        {
            if adaptive && given {
                let needed = "needed a solver with fixed steps, as euler:10";
                return Err(
                    Usage(format!("{option}: {} chooses its own steps, {needed}", self.solver)).into()
                );
            }
        }
        if self.max_steps.is_some() && !adaptive {
            let needed = "needed a solver that chooses them, as dopri5:1e-4";
            return Err(Usage(format!("--max-steps: {} has its steps, {needed}", self.solver)).into());
        }
        let mut files = Files::default().reads("POLICY", &self.policy).reads("--obs", &self.obs);
        if let Some(noise) = &self.noise {
            files = files.reads("--noise", noise);
        }
        files = files.writes("--out", &self.out);
        for (option, path) in [("--trajectory", &self.trajectory), ("--log-prob", &self.log_prob)] {
            if let Some(path) = path {
                files = files.writes(option, path);
            }
        }
        files.check()
    }

    fn outputs(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.out), self.trajectory.as_ref(), self.log_prob.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    fn steps(&self, solver: Solver) -> usize {
        match (&self.times, solver) {
            (Some(times), _) => times.len() - 1,
            (None, Solver::Fixed { steps, .. } | Solver::Discrete { steps, .. }) => steps,
            (None, Solver::Adaptive { .. }) => 0,
        }
    }

    /// Whether this machine's memory holds the result.
    fn afford(&self, shape: [usize; 4], steps: usize) -> anyhow::Result<()> {
        let chunks = shape.iter().map(|n| *n as u128).product::<u128>();
        let states = if self.trajectory.is_some() { 2 * (steps as u128 + 1) } else { 0 };
        let noise = u128::from(self.noise.is_some());
        let needed = 4 * chunks * (1 + states + noise);
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        if let Some(have) = memory::available().filter(|have| needed > *have) {
            let what =
                format!("{} of {}", grouped_product(shape[0], self.batch), count(shape[0], "observation"));
            bail!(
                "out of memory: --batch {}: {what} need {}, this machine has {} free",
                self.batch,
                bytes(needed),
                bytes(have)
            );
        }
        if needed >= isize::MAX as u64 {
            bail!("out of memory: --batch {}: the chunks need {}", self.batch, bytes(needed));
        }
        Ok(())
    }

    fn densities(
        &self,
        policy: &Policy,
        device: &Device,
        obs: &[f32],
        actions: &[f32],
        weights: Weights,
        outcomes: &[RowOutcome],
    ) -> anyhow::Result<Vec<f32>> {
        let divergence = match self.log_prob_divergence {
            DivergenceArg::Exact => Divergence::Exact,
            DivergenceArg::Hutchinson(probes) => Divergence::Hutchinson { probes, seed: self.seed },
        };
        let physical = !self.model_space_log_prob;
        let options = LogProbOptions { solver: self.solver, divergence, physical, weights };
        // A chunk without a result has no density: another stands in its place, whose density is not told.
        let chunk = actions.len() / outcomes.len().max(1);
        let done = outcomes.iter().position(|outcome| outcome.status.is_done()).unwrap_or(0);
        let mut chunks = actions.to_vec();
        let failed = || outcomes.iter().enumerate().filter(|(_, outcome)| !outcome.status.is_done());
        for (row, _) in failed() {
            chunks[row * chunk..][..chunk].copy_from_slice(&actions[done * chunk..][..chunk]);
        }
        let mut values = policy.log_prob(device, obs, &chunks, &options).context("log-density")?;
        failed().for_each(|(row, _)| values[row] = f64::NAN);
        Ok(values.into_iter().map(|v| v as f32).collect())
    }

    /// Whether the noise is what the sampler starts from.
    fn check_noise(
        &self,
        noise: Option<&Array>,
        [m, n, horizon, dim]: [usize; 4],
        values: usize,
        solver: Solver,
    ) -> anyhow::Result<()> {
        let (Some(noise), Some(path)) = (noise, &self.noise) else { return Ok(()) };
        if values == 0 {
            return Err(Usage("--noise: the policy's chunks start from no noise".into()).into());
        }
        let found = &noise.shape;
        let whole = vec![m, n, values];
        match values == horizon * dim {
            true if *found == [m, n, horizon, dim] => Ok(()),
            true => {
                bail!("{}: wrong shape: found {found:?}, needed {:?}", path.display(), [m, n, horizon, dim])
            }
            false if *found == whole => Ok(()),
            false => bail!(
                "{}: wrong shape: found {found:?}, needed {whole:?}: {solver} takes for each chunk {values} values, its start followed by the noise of every step",
                path.display()
            ),
        }
    }
}

fn grouped_product(m: usize, n: usize) -> String {
    let chunks = i64::try_from(m as u128 * n as u128).unwrap_or(i64::MAX);
    format!("{} chunks", grouped(chunks))
}

/// Observations as the policy takes them, [M, history, obs_dim].
fn history(path: &Path, obs: Array, spec: &PolicySpec) -> anyhow::Result<Vec<f32>> {
    finite(path, &obs)?;
    let (history, dim) = (spec.history, spec.obs_dim);
    match obs.shape[..] {
        [m, h, d] if m > 0 && h == history && d == dim => Ok(obs.data),
        [m, d] if m > 0 && d == dim => Ok(obs
            .data
            .chunks_exact(dim)
            .flat_map(|row| std::iter::repeat_n(row, history))
            .flatten()
            .copied()
            .collect()),
        _ => bail!(
            "{}: wrong shape: found {:?}, needed [M, {history}, {dim}] or [M, {dim}] with M at least 1",
            path.display(),
            obs.shape
        ),
    }
}

fn noise(path: &Path) -> anyhow::Result<Array> {
    let noise = read_npy_f32(path)?;
    finite(path, &noise)?;
    Ok(noise)
}

fn finite(path: &Path, array: &Array) -> anyhow::Result<()> {
    let Some(at) = array.data.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let mut rest = at;
    let mut index: Vec<usize> = Vec::new();
    for extent in array.shape.iter().rev() {
        index.insert(0, rest % extent);
        rest /= extent;
    }
    bail!("{}: found {} at {index:?}, needed finite numbers", path.display(), array.data[at])
}

/// Writes all files aside; only when each is whole do they take their names.
fn write_all(files: &[(&Path, Vec<usize>, &[f32])]) -> anyhow::Result<()> {
    let interrupt = Interrupt::catch()?;
    let mut writers = Vec::new();
    for (path, shape, data) in files {
        let mut writer = NpyWriter::create(path, shape)?;
        writer.write(data)?;
        writer.settle()?;
        writers.push(writer);
        if interrupt.pressed() {
            return Err(Interrupted.into());
        }
    }
    for writer in writers {
        writer.finish()?;
    }
    Ok(())
}

fn render(r: &Report<'_>, files: &[(&Path, Vec<usize>, &[f32])]) -> String {
    let [m, n, ..] = r.shape;
    let mut out = format!(
        "{} for {} in {} ms by {}: {} chunks/s\n",
        count(m * n, "chunk"),
        count(m, "observation"),
        short(r.ms),
        r.times.map_or(r.solver.clone(), |t| format!("{} on {} times", r.solver, t.len())),
        short(r.chunks_per_s),
    );
    if let Some(a) = &r.adaptive {
        out += &format!(
            "{} to {} steps a chunk, {} taken back in all, at most {} evaluations\n",
            a.least_steps, a.most_steps, a.rejected, a.most_evaluations
        );
    }
    if let Some(ms) = r.log_prob_ms {
        out += &format!("log-densities in {} ms\n", short(ms));
    }
    for (path, shape, _) in files {
        out += &format!("wrote {} {shape:?}\n", path.display());
    }
    out
}
