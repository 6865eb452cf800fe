//! One trained policy: its rows, what is measured once, and what is drawn of it.

mod sampling;
mod trace;

use super::measures::{closed_loop, modes, sliced_wasserstein, timing};
use super::method::Method;
use super::record::{Reference, Row, Status, Training};
use super::summary::Spread;
use super::tasks::lasa::Reproduction;
use super::{CompareError, Pairs, Result, Task};
use crate::data::{DataError, energy_distance};
use crate::device::Device;
use crate::flow::FlowError;
use crate::policy::{Policy, PolicyError};
use sampling::Bench;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use trace::{Field, Trace};

/// Observations for which the modes of many samples are counted, and samples for each.
const PROBES: [usize; 2] = [32, 256];
/// Draws of the noise that distances and validity are averaged over.
const NOISE_DRAWS: u64 = 4;
/// Observations of the pictures of paths, and samples for each.
const SHOWN: [usize; 2] = [3, 32];
/// Samples of a picture of points.
const DOTS: usize = 1000;
/// Shapes whose reproductions are drawn.
const SHAPES: usize = 6;
/// Evaluations that pictures are made with, where the method can.
const PICTURED: usize = 10;

/// What report.html draws of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// Evaluations that the samples were made with.
    pub nfe: usize,
    /// Samples over the data: one panel of points, or one of lines for each of a few observations.
    pub panels: Vec<Panel>,
    /// The flow over time, where there is one.
    pub trace: Option<Trace>,
}

/// Samples as lines in the plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// The held-out pair whose observation they were made for; null: each for an observation of its own, or for none.
    pub pair: Option<usize>,
    /// Points of a line.
    pub length: usize,
    /// [lines, length].
    pub points: Vec<[f32; 2]>,
}

/// What an evaluation gives.
pub struct Evaluated {
    /// A row for each number of evaluations, without the training's time.
    pub rows: Vec<Row>,
    /// For the report.
    pub pictures: Pictures,
}

/// Measures a policy at every number of evaluations that its method has, and fills in what `training` lacks. `None` if `stop` said
/// so.
pub fn evaluate(
    device: &Device,
    task: &Task,
    method: &Method,
    policy: &Policy,
    training: &mut Training,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Evaluated>> {
    let bench = Bench { device, task, method, policy, seed: training.seed };
    let mut rows = Vec::new();
    for (nfe, reason) in method.rows() {
        if stop() {
            return Ok(None);
        }
        let empty = |status, reason| Row::empty(method.id, training.seed, nfe, status, Some(reason));
        rows.push(match reason {
            Some(reason) => empty(Status::NotApplicable, reason.into()),
            None => match measure(&bench, nfe) {
                Err(e) if is_not_finite(&e) => empty(Status::Failed, e.to_string()),
                row => row?,
            },
        });
    }
    if stop() {
        return Ok(None);
    }
    trace::fill(&bench, training)?;
    let pictures = match draw(&bench, &rows) {
        Err(e) if is_not_finite(&e) => Pictures::default(),
        drawn => drawn?,
    };
    Ok(Some(Evaluated { rows, pictures }))
}

/// Whether the samples left the numbers: a property of the method, not a fault of the comparison.
fn is_not_finite(error: &CompareError) -> bool {
    matches!(error, CompareError::Policy(PolicyError::Flow(FlowError::NonFinite { .. })))
}

fn measure(bench: &Bench<'_>, nfe: usize) -> Result<Row> {
    let task = bench.task;
    let mut sampler = bench.of_held_out(nfe)?;
    let (chunks, pass) = timing::pass_s(|| sampler.sample())?;
    // One draw of the noise moves an energy distance by a tenth or more; the mean of a few is what methods are compared by.
    let mut draws = vec![distances(task, &chunks)?];
    for request in 1..NOISE_DRAWS {
        draws.push(distances(task, &sampler.draw(request)?)?);
    }
    drop(sampler);
    let mut one = bench.sampler(nfe, task.held_out.observation(0).to_vec(), 1)?;
    let latency = timing::latency_ms(|_| one.sample().map(drop))?;
    drop(one);

    let law = task.law.as_ref();
    let (obs, request) = (&task.held_out.obs, task.request());
    let modes = match (law.modes() > 1, task.unconditional) {
        (false, _) => None,
        (true, true) => modes::modes(law, &obs[..request], request, &chunks, task.held_out.count),
        (true, false) => {
            let probes = PROBES[0].min(task.held_out.count);
            let obs = obs[..probes * request].to_vec();
            let chunks = bench.sampler(nfe, obs.clone(), PROBES[1])?.sample()?;
            modes::modes(law, &obs, request, &chunks, PROBES[1])
        }
    };
    let over =
        |of: fn(&Reference) -> Option<f64>| Spread::of(&draws.iter().filter_map(of).collect::<Vec<_>>());
    let (energy, joint) = (over(|d| Some(d.energy_distance)), over(|d| d.energy_distance_joint));
    let mut shapes = match &task.reproduction {
        Some(closed) => closed_loop::judge(closed, &reproduce(bench, closed, nfe)?),
        None => Vec::new(),
    };
    let all = if shapes.is_empty() { None } else { Some(shapes.remove(0)) };
    Ok(Row {
        energy_distance: energy.map(|s| s.mean),
        energy_distance_sd: energy.and_then(|s| s.sd),
        energy_distance_joint: joint.map(|s| s.mean),
        energy_distance_joint_sd: joint.and_then(|s| s.sd),
        sliced_wasserstein: over(|d| Some(d.sliced_wasserstein)).map(|s| s.mean),
        mode_coverage: modes.map(|m| m.coverage),
        mode_balance: modes.map(|m| m.balance),
        mode_least: modes.map(|m| m.least),
        validity: over(|d| d.validity).map(|s| s.mean),
        end_error: all.as_ref().and_then(|r| r.end_error),
        dtw: all.as_ref().and_then(|r| r.dtw),
        diverged: all.map(|r| r.diverged),
        shapes,
        latency_ms: Some(latency),
        samples_per_s: Some(task.held_out.count as f64 / pass),
        ..Row::empty(bench.method.id, bench.seed, nfe, Status::Ok, None)
    })
}

/// The closed-loop paths of all starts.
fn reproduce(bench: &Bench<'_>, closed: &Reproduction, nfe: usize) -> Result<Vec<Vec<[f32; 2]>>> {
    let starts: usize = closed.shapes.iter().map(|s| s.starts.len()).sum();
    let mut sampler = bench.sampler(nfe, vec![0.0; starts * bench.task.request()], 1)?;
    closed_loop::reproduce(closed, bench.task.windows.horizon, |obs, call| sampler.ask(obs, call))
}

/// Distances of chunks, one for each held-out observation, to the held-out chunks.
fn distances(task: &Task, chunks: &[f32]) -> std::result::Result<Reference, DataError> {
    let (dim, request) = (task.chunk(), task.request());
    let (found, truth) = (task.scaled(chunks), task.scaled(&task.held_out.chunks));
    let joint = match task.unconditional {
        true => None,
        false => {
            let (found, columns) = beside(task, &found, &task.held_out.obs);
            let (truth, _) = beside(task, &truth, &task.held_out.obs);
            debug_assert_eq!(columns, dim + request);
            Some(energy_distance(&found, &truth, columns)?)
        }
    };
    Ok(Reference {
        energy_distance: energy_distance(&found, &truth, dim)?,
        energy_distance_joint: joint,
        sliced_wasserstein: sliced_wasserstein(&found, &truth, dim)?,
        validity: modes::validity(task.law.as_ref(), &task.held_out.obs, request, chunks, 1),
    })
}

/// Scaled chunks with the observations that they were made for, these divided by their deviations over the held-out pairs.
fn beside(task: &Task, chunks: &[f32], obs: &[f32]) -> (Vec<f32>, usize) {
    let (dim, request) = (task.chunk(), task.request());
    let deviations = Task::deviations(&task.held_out.obs, request);
    let mut out = Vec::with_capacity(chunks.len() + obs.len());
    for (chunk, obs) in chunks.chunks_exact(dim).zip(obs.chunks_exact(request)) {
        out.extend_from_slice(chunk);
        out.extend(obs.iter().zip(&deviations).map(|(o, d)| o / d));
    }
    (out, dim + request)
}

/// What other draws of the law score.
///
/// # Errors
/// [`CompareError::Data`] if the task's pairs do not fit each other.
pub fn reference(task: &Task) -> Result<Reference> {
    let Pairs { obs, chunks, .. } = &task.other;
    let alone = distances(task, chunks)?;
    let validity = modes::validity(task.law.as_ref(), obs, task.request(), chunks, 1);
    let energy_distance_joint = match task.unconditional {
        true => None,
        false => {
            let (found, columns) = beside(task, &task.scaled(chunks), obs);
            let (truth, _) = beside(task, &task.scaled(&task.held_out.chunks), &task.held_out.obs);
            Some(energy_distance(&found, &truth, columns)?)
        }
    };
    Ok(Reference { validity, energy_distance_joint, ..alone })
}

/// The measures that a task does not have, each with the reason.
pub fn absent(task: &Task) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut note = |names: &[&str], why: &str| {
        names.iter().for_each(|n| drop(out.insert((*n).to_owned(), why.to_owned())));
    };
    let law = task.law.as_ref();
    if law.modes() < 2 {
        note(&["mode_coverage", "mode_balance", "mode_least"], "the modes of this task are not known");
    }
    if law.valid(task.held_out.observation(0), &task.held_out.chunks[..task.chunk()]).is_none() {
        note(&["validity"], "the support of this task is not known");
    }
    if task.reproduction.is_none() {
        note(&["end_error", "dtw", "diverged"], "the task has no closed loop");
    }
    if task.unconditional {
        note(&["energy_distance_joint"], "the task has no observations");
    }
    out
}

fn draw(bench: &Bench<'_>, rows: &[Row]) -> Result<Pictures> {
    let ok = || rows.iter().filter(|r| r.status == Status::Ok).map(|r| r.nfe);
    let Some(nfe) = ok().find(|n| *n >= PICTURED).or(ok().next_back()) else {
        return Ok(Pictures::default());
    };
    let task = bench.task;
    let length = bench.line(0, &task.held_out.chunks[..task.chunk()]).len();
    let mut panels = Vec::new();
    if let Some(closed) = &task.reproduction {
        panels = reproductions(task, closed, &reproduce(bench, closed, nfe)?);
    } else if length == 1 {
        let chunks = bench.of_held_out(nfe)?.sample()?;
        let dots = chunks.chunks_exact(task.chunk()).take(DOTS).enumerate();
        let points = dots.flat_map(|(i, c)| bench.line(i, c)).collect();
        panels.push(Panel { pair: None, length, points });
    } else {
        let [shown, samples] = SHOWN;
        for pair in (0..shown).map(|i| i * task.held_out.count / shown) {
            let obs = task.held_out.observation(pair).to_vec();
            let chunks = bench.sampler(nfe, obs, samples)?.sample()?;
            let points = chunks.chunks_exact(task.chunk()).flat_map(|c| bench.line(pair, c)).collect();
            panels.push(Panel { pair: Some(pair), length, points });
        }
    }
    Ok(Pictures { nfe, panels, trace: trace::trace(bench)? })
}

/// A panel for each of a few shapes.
fn reproductions(task: &Task, closed: &Reproduction, paths: &[Vec<[f32; 2]>]) -> Vec<Panel> {
    let (mut panels, mut first) = (Vec::new(), 0);
    let drawn: Vec<usize> = (0..SHAPES.min(closed.shapes.len()))
        .map(|i| i * closed.shapes.len() / SHAPES.min(closed.shapes.len()))
        .collect();
    let columns = task.train.obs_dim();
    for (i, shape) in closed.shapes.iter().enumerate() {
        let own = &paths[first..first + shape.starts.len()];
        first += shape.starts.len();
        let of_shape = |pair: &usize| task.held_out.observation(*pair)[columns + 2..] == shape.code;
        if let (true, Some(pair)) = (drawn.contains(&i), (0..task.held_out.count).find(of_shape)) {
            let points = own.iter().flatten().map(|p| p.map(sampling::four_digits)).collect();
            panels.push(Panel { pair: Some(pair), length: closed.steps + 1, points });
        }
    }
    panels
}
