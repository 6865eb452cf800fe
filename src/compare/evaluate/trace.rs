//! The flow over time: straightness, log-likelihood, paths of samples, and the velocity field of a plane task.

use super::sampling::Bench;
use crate::compare::Result;
use crate::compare::measures::{likelihood, straightness};
use crate::compare::record::Training;
use crate::flow::Solver;
use crate::policy::SamplerOptions;
use serde::{Deserialize, Serialize};

/// Euler steps of the trajectories that straightness is taken of, and how many.
const STRAIGHT: [usize; 2] = [50, 512];
/// Euler steps of the trajectories that are drawn, and how many.
const DRAWN: [usize; 2] = [20, 128];
/// How many where each is a line.
const LINES: usize = 32;
/// Times at which the velocity field is drawn, and arrows along each side.
const FIELD_TIMES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 0.95];
const ARROWS: usize = 15;
/// Step whose difference quotient is the velocity.
const STEP: f64 = 0.02;

/// Samples on their way from noise to action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The held-out pair whose observation they are for; null: each for an observation of its own, or for none.
    pub pair: Option<usize>,
    /// The solver's times.
    pub times: Vec<f32>,
    /// Samples.
    pub samples: usize,
    /// Points of a sample's line.
    pub length: usize,
    /// [times, samples, length].
    pub states: Vec<[f32; 2]>,
    /// The velocity field, for points of the plane without observations.
    pub fields: Vec<Field>,
}

/// The velocity at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The time.
    pub time: f32,
    /// Places on a grid.
    pub places: Vec<[f32; 2]>,
    /// The velocity at each, data units per unit of time.
    pub velocities: Vec<[f32; 2]>,
}

fn options(steps: usize) -> SamplerOptions {
    SamplerOptions { solver: Solver::euler(steps), trajectory: true, ..SamplerOptions::default() }
}

/// Straightness and log-likelihood, or why they are absent.
pub(super) fn fill(bench: &Bench<'_>, training: &mut Training) -> Result<()> {
    if let Err(e) = bench.policy.spec.needs_flow("it") {
        let reason = e.to_string();
        for measure in ["straightness", "log_likelihood"] {
            training.absent.insert(measure.into(), reason.clone());
        }
        return Ok(());
    }
    let (task, [steps, most]) = (bench.task, STRAIGHT);
    let rows = most.min(task.held_out.count);
    let trajectories = match task.unconditional {
        true => bench.with(&options(steps), task.held_out.observation(0).to_vec(), rows)?.trajectory(),
        false => {
            bench.with(&options(steps), task.held_out.obs[..rows * task.request()].to_vec(), 1)?.trajectory()
        }
    };
    let not_finite = |training: &mut Training, measure: &str, e: String| {
        training.absent.insert(measure.into(), e);
    };
    match trajectories {
        Err(e) if super::is_not_finite(&e) => not_finite(training, "straightness", e.to_string()),
        found => {
            training.straightness = straightness(&task.scaled(&found?), steps + 1, task.chunk());
        }
    }
    match likelihood::mean_log_likelihood(bench.device, bench.policy, task) {
        Err(e) if super::is_not_finite(&e) => not_finite(training, "log_likelihood", e.to_string()),
        found => {
            let mean = found?.0;
            match mean.is_finite() {
                true => training.log_likelihood = Some(mean),
                false => not_finite(training, "log_likelihood", format!("it is {mean}")),
            }
        }
    }
    Ok(())
}

/// What is drawn of a flow; `None` where there is none.
pub(super) fn trace(bench: &Bench<'_>) -> Result<Option<Trace>> {
    let task = bench.task;
    if bench.policy.spec.needs_flow("it").is_err() {
        return Ok(None);
    }
    let [steps, samples] = DRAWN;
    let length = bench.line(0, &task.held_out.chunks[..task.chunk()]).len();
    let samples = if length == 1 { samples } else { LINES }.min(task.held_out.count);
    // Points each have an observation of their own; lines all have the first.
    let (pair, obs, each) = match (task.unconditional, length) {
        (true, _) => (None, task.held_out.observation(0), samples),
        (false, 1) => (None, &task.held_out.obs[..samples * task.request()], 1),
        (false, _) => (Some(0), task.held_out.observation(0), samples),
    };
    let rows = bench.with(&options(steps), obs.to_vec(), each)?.trajectory()?;
    let (times, dim) = (steps + 1, task.chunk());
    let mut states = Vec::with_capacity(times * samples * length);
    for t in 0..times {
        for s in 0..samples {
            states.extend(bench.line(pair.unwrap_or(s), &rows[(s * times + t) * dim..][..dim]));
        }
    }
    Ok(Some(Trace {
        pair,
        times: (0..times).map(|t| t as f32 / steps as f32).collect(),
        samples,
        length,
        states,
        fields: if task.unconditional && dim == 2 { fields(bench)? } else { Vec::new() },
    }))
}

/// The velocity field on a grid around the data, from short Euler steps.
fn fields(bench: &Bench<'_>) -> Result<Vec<Field>> {
    let task = bench.task;
    let points = task.held_out.chunks.as_chunks::<2>().0;
    let side = |axis: usize| {
        let (low, high) = points
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), p| (low.min(p[axis]), high.max(p[axis])));
        let room = 0.1 * (high - low);
        move |i: usize| low - room + (high - low + 2.0 * room) * i as f32 / (ARROWS - 1) as f32
    };
    let (x, y) = (side(0), side(1));
    let places: Vec<[f32; 2]> = (0..ARROWS * ARROWS).map(|i| [x(i % ARROWS), y(i / ARROWS)]).collect();
    let mut start: Vec<f32> = places.as_flattened().to_vec();
    bench.policy.spec.action_normalizer.normalize(&mut start).map_err(crate::policy::PolicyError::from)?;
    let mut fields = Vec::new();
    for time in FIELD_TIMES {
        let options = SamplerOptions {
            solver: Solver::euler(1),
            times: Some(vec![time, time + STEP]),
            ..SamplerOptions::default()
        };
        let obs = task.held_out.observation(0).to_vec();
        let end = bench.with(&options, obs, places.len())?.from(&start)?;
        let velocity = |(to, from): (&[f32; 2], &[f32; 2])| {
            [0, 1].map(|i| ((f64::from(to[i]) - f64::from(from[i])) / STEP * 1e3).round() as f32 / 1e3)
        };
        let velocities = end.as_chunks::<2>().0.iter().zip(&places).map(velocity).collect();
        fields.push(Field { time: time as f32, places: places.clone(), velocities });
    }
    Ok(fields)
}
