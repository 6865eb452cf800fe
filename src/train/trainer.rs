//! The trainer: a training plan resident on a device, replayed many steps at a time.

use super::config::RunConfig;
use super::pairing::{Batch, Pairing, Source};
use super::program::{self, DataSize, RING, names};
use super::start::Start;
use super::{Result, TrainError};
use crate::data::{ColumnFinding, Episodes, Windows};
use crate::device::{CounterSnapshot, Device};
use crate::flow::coupling::{self, Coupling};
use crate::graph::{Fusion, LAYERS, Plan, Profile, Session};
use crate::kernel::state::{State, WORDS};
use crate::kernel::{BufferId, Target};
use crate::nn::ParamStore;
use crate::policy::pairs::Pairs;
use crate::policy::{NoiseLaw, Normalizer, Objective, Policy, PolicySpec, Provenance, TimeConvention};
use std::sync::Arc;

/// Windows that a validation looks at.
const VALIDATION_WINDOWS: usize = 1024;
/// Stream offset of the validation's seed, so that its noise is never the training's.
const VALIDATION_SEED: u64 = 0x5641_4c49;

/// From this |normalised value| on an action's column is named when the loss is absurd.
const FAR: f32 = 15.0;

/// Where a run stands after some steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps completed.
    pub step: u64,
    /// Mean loss over the steps just done.
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f32,
    /// Gradient norm of the last step, before clipping.
    pub grad_norm: f32,
}

/// A training run.
pub struct Trainer {
    config: RunConfig,
    spec: PolicySpec,
    layout: ParamStore,
    session: Session,
    buffers: Buffers,
    step: u64,
    pending: Pending,
    validation: Option<Validation>,
    pairing: Option<Pairing>,
    findings: Vec<ColumnFinding>,
    /// Per dimension of the actions the largest |normalised value|.
    largest: Vec<f32>,
}

/// Losses since the last line of metrics, summed step by step so that the mean does not depend on how steps were grouped,
/// nor on whether the run was stopped between two lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Pending {
    sum: f64,
    steps: u64,
}

struct Buffers {
    params: BufferId,
    first: BufferId,
    second: BufferId,
    ema: BufferId,
    state: BufferId,
    ring: BufferId,
}

struct Validation {
    session: Session,
    params: BufferId,
    state: BufferId,
    loss: BufferId,
}

impl Trainer {
    /// Prepares a run: split, statistics of the training episodes, initial weights, plans, data on the device.
    pub fn new(device: &Device, episodes: &Episodes, config: &RunConfig) -> Result<Trainer> {
        Trainer::with_fusion(device, episodes, config, Fusion::Auto)
    }

    /// As [`Trainer::new`], with a word on how a step is scheduled on the device: layer by layer, or the MLP forward and backward in
    /// one dispatch (`Rows` and `Latency` mean the same here), where network and objective allow it.
    pub fn with_fusion(
        device: &Device,
        episodes: &Episodes,
        config: &RunConfig,
        fusion: Fusion,
    ) -> Result<Trainer> {
        Trainer::start(device, episodes, config, &Start { fusion, ..Start::default() })
    }

    /// As [`Trainer::new`], from a policy or as a run that was stopped.
    pub fn start(device: &Device, episodes: &Episodes, config: &RunConfig, start: &Start) -> Result<Trainer> {
        config.check()?;
        let split = start.split(episodes, config)?;
        let relative = config.relative(episodes)?;
        // A run from a teacher's pairs means by its numbers what the teacher does.
        let teacher = config.reflow.as_ref().map(|reflow| reflow.load()).transpose()?;
        let angles = start.angles(config.angles(episodes)?, teacher.as_ref());
        let raw = config.raw_columns(episodes)?;
        let unwrapped = angles.as_ref().map(|a| a.unwrapped(episodes, relative.as_ref())).transpose()?;
        let episodes = unwrapped.as_ref().unwrap_or(episodes);
        let windows = Windows::new(episodes, &split.train, &config.windows())?.with_padding(config.padding);
        let obs = Normalizer::fit_obs(config.obs_normalizer, episodes, &split.train)?;
        let obs = obs.without(angles.as_ref().map_or(&[], |a| &a.obs)).clipped(config.obs_clip);
        let action = Normalizer::fit_actions(
            config.action_normalizer,
            config.action_scope,
            &windows,
            relative.as_ref(),
        )?;
        let action = action.except(&raw, episodes.action_dim());
        let findings = [obs.findings, action.findings].concat();
        let of = |d: usize| action.largest.iter().skip(d).step_by(episodes.action_dim()).copied();
        let largest = (0..episodes.action_dim()).map(|d| of(d).fold(0.0, f32::max)).collect();
        let mut spec = PolicySpec {
            objective: config.objective.clone(),
            network: config.network.clone(),
            encoder: config.encoder.clone(),
            path: config.path,
            time: match config.objective {
                Objective::Denoising(_) => TimeConvention::ActionToNoise,
                _ => TimeConvention::NoiseToAction,
            },
            noise: match config.objective.method().starts_from_noise() {
                true => NoiseLaw::StandardNormal,
                false => NoiseLaw::Zero,
            },
            history: config.history,
            obs_dim: episodes.obs_dim(),
            obs_inputs: episodes.obs_inputs().to_vec(),
            horizon: config.horizon,
            action_dim: episodes.action_dim(),
            action_offset: i32::try_from(config.action_offset).unwrap_or(i32::MAX),
            prefix: config.prefix,
            obs_normalizer: obs.normalizer,
            action_normalizer: action.normalizer,
            relative_to: relative,
            angles,
            obs_names: episodes.obs_names().map(<[String]>::to_vec),
            action_names: episodes.action_names().map(<[String]>::to_vec),
            rate_hz: episodes.fps(),
            provenance: Provenance {
                steps: 0,
                batch_size: config.batch_size,
                seed: config.seed,
                split_seed: config.split_seed,
                validation_episodes: split.validation.clone(),
            },
        };
        start.fits(&spec)?;
        if let (Some(reflow), Some(teacher)) = (&config.reflow, &teacher) {
            reflow.fits(teacher, &spec)?;
            let of = &teacher.spec;
            (spec.obs_normalizer, spec.action_normalizer) =
                (of.obs_normalizer.clone(), of.action_normalizer.clone());
        }
        if let Some((obs, action)) = &start.normalizers {
            (spec.obs_normalizer, spec.action_normalizer) = (obs.clone(), action.clone());
        }
        spec.check()?;
        spec.solver(crate::flow::Solver::euler(1))?;
        let mut layout = ParamStore::init(&spec.params()?, config.seed);
        start.weights(&mut layout);
        if let Some(teacher) = &teacher {
            layout.values.copy_from_slice(&teacher.ema.values);
        }
        let size = DataSize::of(&windows, config);
        let target = Target::of(device);
        let plan = Arc::new(program::training(&spec, config, &layout.layout, size, target, start.fusion)?);
        let mut session = Session::new(device, plan.clone())?;
        let id = |name: &str| plan.buffer(name);
        let buffers = Buffers {
            params: id(names::PARAMS)?,
            first: id(names::FIRST)?,
            second: id(names::SECOND)?,
            ema: id(names::EMA)?,
            state: id(names::STATE)?,
            ring: id(names::RING)?,
        };
        session.write(id(names::OBS)?, &spec.seen_rows(episodes.obs()))?;
        session.write(id(names::ACTION)?, episodes.action())?;
        session.write_u32(id(names::TABLE)?, windows.table().as_flattened())?;
        let pairing = match config.coupling {
            Coupling::ExactOt { condition_weight } => {
                let shape = program::window_shape(&spec, config.batch_size);
                let batch = Batch::Drawn(windows.count() as u32);
                let data = (
                    windows.table(),
                    spec.seen_affine(),
                    [&*spec.seen_rows(episodes.obs()), episodes.action()],
                );
                let source = Source::new(shape, condition_weight, (config.seed, batch), data);
                Some(Pairing::new(source, id(coupling::PAIRS)?, device))
            }
            _ => None,
        };
        if let (Some(reflow), Some(teacher)) = (&config.reflow, &teacher) {
            let pairs = reflow.pairs(device, teacher, &windows, (config.seed, false))?;
            session.write(id(names::PAIR_NOISE)?, &pairs.noise)?;
            session.write(id(names::PAIR_END)?, &pairs.end)?;
        }
        session.write(buffers.params, &layout.values)?;
        session.write(buffers.ema, &layout.values)?;
        session.write(buffers.state, &State::new(config.seed, 0).words())?;
        let validation = match split.validation.is_empty() {
            true => None,
            false => {
                let mut validation =
                    Validation::new(device, episodes, &split.validation, config, &spec, &layout)?;
                if let (Some(reflow), Some(teacher)) = (&config.reflow, &teacher) {
                    let windows = Windows::new(episodes, &split.validation, &config.windows())?;
                    let pairs = reflow.pairs(device, teacher, &windows, (config.seed, true))?;
                    validation.give_pairs(&pairs)?;
                }
                Some(validation)
            }
        };
        Ok(Trainer {
            config: config.clone(),
            spec,
            layout,
            session,
            buffers,
            step: 0,
            pending: Pending::default(),
            validation,
            pairing,
            findings,
            largest,
        })
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// What the policy is.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// Columns of the demonstrations that the policy does not look at, or that were fitted otherwise than asked.
    pub fn findings(&self) -> &[ColumnFinding] {
        &self.findings
    }

    /// What may make a loss absurd, as a line: the actions' columns with the largest normalised values, if they are large.
    pub fn suspects(&self) -> String {
        let mut far: Vec<usize> = (0..self.largest.len()).filter(|d| self.largest[*d] > FAR).collect();
        far.sort_by(|a, b| self.largest[*b].total_cmp(&self.largest[*a]));
        let names = self.spec.action_names.as_ref();
        let name = |d: &usize| {
            let name =
                names.and_then(|names| names.get(*d)).map_or(String::new(), |name| format!(" '{name}'"));
            format!("action {d}{name} reaches {:.3e} normalised", self.largest[*d])
        };
        match far.is_empty() {
            true => "a lower learning rate may help".into(),
            false => {
                far.iter().take(3).map(name).collect::<Vec<_>>().join(", ")
                    + "; another action_normalizer may help"
            }
        }
    }

    /// Steps completed.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.layout.layout.count()
    }

    /// Counts of the device so far.
    pub fn counters(&self) -> CounterSnapshot {
        self.session.counters()
    }

    /// The plan of a training step: one phase.
    pub fn plan(&self) -> &Plan {
        self.session.plan()
    }

    /// How a step runs: `layers`, or the name of the kernel's variant that runs the MLP in one dispatch.
    pub fn way(&self) -> &'static str {
        self.plan().schedule.as_ref().map_or(LAYERS, |s| s.taken)
    }

    /// Times the commands of a step one by one, over the data of the last one: for measurements. Weights and moments move as if
    /// the optimiser had run more often than it should, so the trainer is of no further use for training.
    pub fn profile(&mut self, replays: usize) -> Result<Profile> {
        self.session.split_kernels(true);
        Ok(self.session.profile(&[0], replays)?)
    }

    /// Dispatches of one step.
    pub fn dispatches(&self) -> usize {
        self.session.plan().dispatches(0)
    }

    /// The most steps that one [`Trainer::advance`] takes: losses come back through a ring of this many.
    pub const MOST_STEPS: u64 = RING as u64;

    /// Takes `steps` optimiser steps (at most 1,024), in as few submits as the device allows.
    ///
    /// # Errors
    /// [`TrainError::NonFinite`] if the loss or the gradient of a step was; the trainer is then of no further use.
    pub fn advance(&mut self, steps: u64) -> Result<Progress> {
        let steps = steps.clamp(1, RING as u64);
        if let Some(pairing) = &mut self.pairing {
            pairing.write(&mut self.session, self.step, steps)?;
        }
        let mut ring = [0.0f32; 4 * RING];
        let mut words = [0.0f32; WORDS];
        let mut reads = [(self.buffers.ring, &mut ring[..]), (self.buffers.state, &mut words[..])];
        self.session.repeat_reading(&[0], steps as usize, &mut reads)?;
        let state = State::from_words(&words);
        let (mut sum, mut last) = (0.0f64, [0.0f32; 4]);
        for n in self.step..self.step + steps {
            let row = &ring[4 * (n as usize % RING)..][..4];
            last.copy_from_slice(row);
            if !row[0].is_finite() || !row[2].is_finite() {
                return Err(TrainError::NonFinite { step: n, loss: row[0], grad_norm: row[2] });
            }
            sum += f64::from(row[0]);
            self.pending.sum += f64::from(row[0]);
            self.pending.steps += 1;
        }
        if state.non_finite > 0 {
            return Err(TrainError::NonFinite {
                step: self.step + steps,
                loss: state.loss,
                grad_norm: state.norm,
            });
        }
        self.step += steps;
        Ok(Progress { step: self.step, loss: sum / steps as f64, lr: last[1], grad_norm: last[2] })
    }

    /// Mean loss of the steps since this was last called (over a stop and a resume, too); `None` if there were none.
    pub fn take_mean_loss(&mut self) -> Option<f64> {
        let Pending { sum, steps } = std::mem::take(&mut self.pending);
        (steps > 0).then(|| sum / steps as f64)
    }

    pub(super) fn pending(&self) -> Pending {
        self.pending
    }

    /// Loss of the moving average on held-out windows with fixed times and noise; `None` without a validation split.
    pub fn validate(&mut self) -> Result<Option<f64>> {
        let Some(v) = &mut self.validation else { return Ok(None) };
        let mut ema = vec![0.0; self.layout.values.len()];
        self.session.read(self.buffers.ema, &mut ema)?;
        v.session.write(v.params, &ema)?;
        v.session.write(v.state, &State::new(self.config.seed ^ VALIDATION_SEED, 0).words())?;
        v.session.run(&[0])?;
        let mut loss = [0.0f32; 1];
        v.session.read(v.loss, &mut loss)?;
        let loss = f64::from(loss[0]);
        match loss.is_finite() {
            true => Ok(Some(loss)),
            false => Err(TrainError::Validation { step: self.step, loss }),
        }
    }

    /// The policy as it stands.
    pub fn policy(&mut self) -> Result<Policy> {
        let mut weights = self.layout.clone();
        let mut ema = self.layout.clone();
        self.session.read(self.buffers.params, &mut weights.values)?;
        self.session.read(self.buffers.ema, &mut ema.values)?;
        let mut spec = self.spec.clone();
        spec.provenance.steps = self.step;
        Ok(Policy { spec, weights, ema })
    }

    /// The optimiser's moments.
    pub(super) fn moments(&mut self) -> Result<[ParamStore; 2]> {
        let mut out = [self.layout.clone(), self.layout.clone()];
        self.session.read(self.buffers.first, &mut out[0].values)?;
        self.session.read(self.buffers.second, &mut out[1].values)?;
        Ok(out)
    }

    /// Puts the run where another stood.
    pub(super) fn restore(
        &mut self,
        step: u64,
        pending: Pending,
        policy: &Policy,
        moments: &[ParamStore; 2],
    ) -> Result<()> {
        self.session.write(self.buffers.params, &policy.weights.values)?;
        self.session.write(self.buffers.ema, &policy.ema.values)?;
        self.session.write(self.buffers.first, &moments[0].values)?;
        self.session.write(self.buffers.second, &moments[1].values)?;
        self.session.write(self.buffers.state, &State::new(self.config.seed, step).words())?;
        (self.step, self.pending) = (step, pending);
        Ok(())
    }
}

impl Validation {
    fn give_pairs(&mut self, pairs: &Pairs) -> Result<()> {
        let plan = self.session.plan();
        let (noise, end) = (plan.buffer(names::PAIR_NOISE)?, plan.buffer(names::PAIR_END)?);
        self.session.write(noise, &pairs.noise)?;
        Ok(self.session.write(end, &pairs.end)?)
    }

    fn new(
        device: &Device,
        episodes: &Episodes,
        ids: &[usize],
        config: &RunConfig,
        spec: &PolicySpec,
        layout: &ParamStore,
    ) -> Result<Validation> {
        let windows = Windows::new(episodes, ids, &config.windows())?.with_padding(config.padding);
        // Where there are few windows, some come twice: batches are whole multiples of what the objective divides them by.
        let batch = windows.count().min(VALIDATION_WINDOWS);
        let batch = batch.next_multiple_of(spec.objective.method().batch_multiple());
        let size = DataSize::of(&windows, config);
        let plan =
            Arc::new(program::validation(spec, config, &layout.layout, batch, size, Target::of(device))?);
        let mut session = Session::new(device, plan.clone())?;
        let id = |name: &str| plan.buffer(name);
        session.write(id(names::OBS)?, &spec.seen_rows(episodes.obs()))?;
        session.write(id(names::ACTION)?, episodes.action())?;
        session.write_u32(id(names::TABLE)?, windows.table().as_flattened())?;
        let index: Vec<u32> = (0..batch).map(|i| (i * windows.count() / batch) as u32).collect();
        session.write_u32(id(names::INDEX)?, &index)?;
        if let Coupling::ExactOt { condition_weight } = config.coupling {
            let draws = (config.seed ^ VALIDATION_SEED, Batch::Fixed(index));
            let data =
                (windows.table(), spec.seen_affine(), [&*spec.seen_rows(episodes.obs()), episodes.action()]);
            let source = Source::new(program::window_shape(spec, batch), condition_weight, draws, data);
            session.write_u32(id(coupling::PAIRS)?, &source.pairs(0)?)?;
        }
        Ok(Validation {
            params: id(names::PARAMS)?,
            state: id(names::STATE)?,
            loss: id(names::LOSS)?,
            session,
        })
    }
}
