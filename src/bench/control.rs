//! The control loop, measured: how long `act` takes at a real control rate, and how long a chunk.

use super::{BenchError, Budget, OBS_DIM, Times, Workload, demonstrations, run_config};
use crate::control::{Actor, ControlSpec, Controller, Counts, Hold, Mode};
use crate::device::Device;
use crate::flow::Solver;
use crate::kernel::philox;
use crate::policy::{ChunkSource, NoiseKey, PolicySpec, Previous, SamplerOptions};
use crate::train::Trainer;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Control steps per second: the fastest of usual arms.
pub const RATE_HZ: f64 = 100.0;
/// Steps of warming up.
const WARM_UP: usize = 50;

/// One way of controlling, measured. A chunk is asked for at every step, the most that a loop can ask for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlRow {
    /// `in the loop` or `own thread`.
    pub inference: &'static str,
    /// Control steps per second.
    pub rate_hz: f64,
    /// Control steps measured.
    pub ticks: usize,
    /// Median time of act, milliseconds.
    pub act_p50_ms: f64,
    /// The 99th percentile, milliseconds.
    pub act_p99_ms: f64,
    /// The longest, milliseconds.
    pub act_max_ms: f64,
    /// Median time of a chunk, observation to actions, milliseconds.
    pub chunk_p50_ms: f64,
    /// The 99th percentile, milliseconds.
    pub chunk_p99_ms: f64,
    /// The longest, milliseconds.
    pub chunk_max_ms: f64,
    /// Steps without an action.
    pub held: u64,
    /// The most steps that a chunk was late.
    pub longest_delay: usize,
}

/// A source that notes how long each chunk takes, milliseconds.
struct Timed<S> {
    source: S,
    ms: Arc<Mutex<Vec<f64>>>,
}

impl<S: ChunkSource> ChunkSource for Timed<S> {
    fn spec(&self) -> &PolicySpec {
        self.source.spec()
    }

    fn robots(&self) -> usize {
        self.source.robots()
    }

    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> crate::policy::Result<()> {
        let begun = Instant::now();
        let result = self.source.sample(obs, noise, previous, chunks);
        let ms = 1e3 * begun.elapsed().as_secs_f64();
        self.ms.lock().unwrap_or_else(PoisonError::into_inner).push(ms);
        result
    }
}

/// Measures the control loop of one robot at [`RATE_HZ`], in real time: inference in the loop, then on a thread of its own.
/// `go_on` hears how far it is (0 to 1) and may stop it.
pub fn control(
    device: &Device,
    workload: Workload,
    solver: Solver,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Vec<ControlRow>, BenchError> {
    let config = run_config(workload, 1, 1);
    let policy = Trainer::new(device, &demonstrations(4, 64, 1)?, &config)?.policy()?;
    let hold = Hold::Fixed { action: vec![0.0; policy.spec.action_dim] };
    let spec = ControlSpec::new(Mode::Receding, 1, hold);
    let ticks = ((budget.seconds * RATE_HZ) as usize).max(budget.least);
    let options = SamplerOptions { solver, ..SamplerOptions::default() };
    let source = || -> Result<_, BenchError> {
        let ms = Arc::new(Mutex::new(Vec::new()));
        Ok((Timed { source: policy.sampler(device, 1, 1, &options)?, ms: ms.clone() }, ms))
    };

    let (timed, ms) = source()?;
    let mut controller = Controller::new(timed, &spec)?;
    let act = paced(ticks, |obs, now| Ok(controller.act(obs, now).map(drop)?), &mut |f| go_on(0.5 * f))?;
    let mut rows = vec![row("in the loop", act, &ms, controller.counts())];

    let (timed, ms) = source()?;
    let mut actor = Actor::start(timed, &spec)?;
    let act = paced(ticks, |obs, now| Ok(actor.act(obs, now).map(drop)?), &mut |f| go_on(0.5 + 0.5 * f))?;
    if let Some(fault) = actor.take_fault() {
        return Err(fault.into());
    }
    rows.push(row("own thread", act, &ms, actor.stop()));
    Ok(rows)
}

/// Times of `act`, called at [`RATE_HZ`] with observations that change.
fn paced(
    ticks: usize,
    mut act: impl FnMut(&[f32], Duration) -> Result<(), BenchError>,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Times, BenchError> {
    let period = Duration::from_secs_f64(1.0 / RATE_HZ);
    let mut obs = [0.0; OBS_DIM];
    let mut ms = Vec::with_capacity(ticks);
    let begun = Instant::now();
    for tick in 0..WARM_UP + ticks {
        philox::fill_normal(1, 0, tick as u64, 0, &mut obs);
        let due = period * tick as u32;
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        let from = Instant::now();
        act(&obs, due)?;
        if tick >= WARM_UP {
            ms.push(1e3 * from.elapsed().as_secs_f64());
        }
        if !go_on(tick as f64 / (WARM_UP + ticks) as f64) {
            return Err(BenchError::Stopped);
        }
    }
    Ok(Times::new(ms))
}

fn row(inference: &'static str, act: Times, chunk_ms: &Mutex<Vec<f64>>, counts: Counts) -> ControlRow {
    let chunks = chunk_ms.lock().unwrap_or_else(PoisonError::into_inner);
    // The first is the warm-up: it compiles.
    let chunk = Times::new(chunks.iter().skip(1).copied().collect());
    ControlRow {
        inference,
        rate_hz: RATE_HZ,
        ticks: act.runs(),
        act_p50_ms: act.percentile(0.5),
        act_p99_ms: act.percentile(0.99),
        act_max_ms: act.percentile(1.0),
        chunk_p50_ms: chunk.percentile(0.5),
        chunk_p99_ms: chunk.percentile(0.99),
        chunk_max_ms: chunk.percentile(1.0),
        held: counts.held,
        longest_delay: counts.longest_delay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    #[test]
    fn both_ways_are_measured() {
        let device = Device::Cpu(Cpu::with_threads(1).unwrap());
        let budget = Budget { seconds: 0.0, least: 5 };
        let rows = control(&device, Workload::Mlp256, Solver::euler(1), budget, &mut |_| true).unwrap();
        assert_eq!(rows.iter().map(|r| r.inference).collect::<Vec<_>>(), ["in the loop", "own thread"]);
        for r in &rows {
            assert_eq!(r.ticks, 5);
            assert!(r.act_p50_ms <= r.act_p99_ms && r.act_p99_ms <= r.act_max_ms && r.chunk_p50_ms > 0.0);
        }
        assert_eq!((rows[0].held, rows[0].longest_delay), (0, 0));
    }
}
