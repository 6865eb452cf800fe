//! Training, measured.

use super::{ACTION_DIM, BenchError, Budget, HORIZON, OBS_DIM, Row, Setting, TrainStep, Workload, row};
use crate::data::{EpisodeArrays, Episodes};
use crate::device::Device;
use crate::graph::Fusion;
use crate::kernel::philox;
use crate::nn::EncoderSpec;
use crate::policy::Scope;
use crate::train::{EmaSpec, OptimizerSpec, RunConfig, TrainError, Trainer};
use std::time::Instant;

/// Windows per step of the row that `advect bench --train` adds.
pub const TRAIN_BATCH: usize = 256;
/// Most steps between two looks at the device, as a run has them between two lines of metrics; times are of one step.
const STEPS: f64 = 10.0;
/// About how long a look takes at most, where a step is shorter, seconds: a look costs a hundredth of a millisecond.
const LOOK: f64 = 0.1;
/// Demonstrations in all: 65,536 steps of random numbers, as the PyTorch peer has.
const EPISODES: usize = 256;
/// Steps in each.
const EPISODE_LEN: usize = 256;

/// Random demonstrations with the shapes of the workloads.
pub fn demonstrations(episodes: usize, length: usize, seed: u64) -> Result<Episodes, TrainError> {
    let rows = episodes * length;
    let (mut obs, mut action) = (vec![0.0; rows * OBS_DIM], vec![0.0; rows * ACTION_DIM]);
    philox::fill_normal(seed, 0, 0, 0, &mut obs);
    philox::fill_normal(seed, 1, 0, 0, &mut action);
    Ok(Episodes::from_arrays(EpisodeArrays {
        obs,
        action,
        lengths: vec![length; episodes],
        success: None,
        obs_dim: OBS_DIM,
        obs_inputs: vec![],
        action_dim: ACTION_DIM,
        fps: None,
        obs_names: None,
        action_names: None,
    })?)
}

/// How a workload is trained: flow matching, AdamW, clipping and a moving average, all of it in every step.
pub fn run_config(workload: Workload, batch_size: usize, seed: u64) -> RunConfig {
    RunConfig {
        steps: 1_000_000,
        batch_size,
        seed,
        validation_fraction: 0.0,
        history: workload.history(),
        horizon: HORIZON,
        action_scope: Scope::PerDim,
        encoder: EncoderSpec::Identity,
        network: workload.network(),
        optimizer: OptimizerSpec { ema: EmaSpec::Constant { decay: 0.999 }, ..OptimizerSpec::default() },
        ..RunConfig::default()
    }
}

/// A trainer of a workload on random demonstrations.
pub(super) fn trainer(
    device: &Device,
    workload: Workload,
    batch: usize,
    fusion: Fusion,
) -> Result<Trainer, BenchError> {
    let episodes = demonstrations(EPISODES, EPISODE_LEN, 1)?;
    Ok(Trainer::with_fusion(device, &episodes, &run_config(workload, batch, 1), fusion)?)
}

/// How many steps to take between two looks, from the second step's time; the first allocates.
pub(super) fn steps_of_a_look(trainer: &mut Trainer) -> Result<u64, TrainError> {
    trainer.advance(1)?;
    let begun = Instant::now();
    trainer.advance(1)?;
    Ok((LOOK / begun.elapsed().as_secs_f64()).clamp(1.0, STEPS) as u64)
}

/// Measures training steps: batch indices, times and noise, forward, backward, clipping, AdamW and the moving average.
/// Of the setting, workload and fusion count. `go_on` hears how far it is (0 to 1) and may stop it.
pub fn train(
    device: &Device,
    setting: &Setting,
    batch: usize,
    budget: Budget,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Row, BenchError> {
    let Setting { workload, fusion, .. } = *setting;
    let mut trainer = trainer(device, workload, batch, fusion)?;
    let steps = steps_of_a_look(&mut trainer)?;
    let times = budget.measure(|| Ok(trainer.advance(steps).map(drop)?), go_on)?;
    let before = trainer.counters();
    trainer.advance(steps)?;
    let mut counts = trainer.counters().since(&before);
    counts.dispatches = counts.dispatches.div_ceil(steps);
    counts.submits = counts.submits.div_ceil(steps);
    let times = times.of_each(steps as f64);
    let operations = workload.training_operations(batch)?;
    let step = Some(TrainStep { calls: trainer.dispatches(), way: trainer.way() });
    Ok(Row { step, ..row("train", batch, &times, Some(batch as f64), Some(operations), &counts) })
}
