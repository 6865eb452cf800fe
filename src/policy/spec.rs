//! What a checkpoint means: everything that is needed to sample from its weights. No key has a default.

use super::{Angles, Normalizer, Objective, PolicyError, PrefixSpec, RelativeTo, Result};
use crate::data::ObsInput;
use crate::flow::{Field, Path, Recurrence, Solver, Step, TimeLaw};
use crate::graph::{Graph, Shape, Value};
use crate::kernel::window;
use crate::nn::{Builder, EncoderSpec, Inputs, NetworkSpec, ParamSpec};
use crate::objective::{Net, Query, Sampling, State, Steps, Task};
use serde::{Deserialize, Deserializer, Serialize};

/// Which way the time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeConvention {
    /// t = 0 is noise, t = 1 the action.
    NoiseToAction,
    /// t = 0 is the action, t = 1 noise: a denoising diffusion's step over its last step.
    ActionToNoise,
}

impl TimeConvention {
    /// Its name in files.
    pub fn name(&self) -> &'static str {
        match self {
            TimeConvention::NoiseToAction => "noise_to_action",
            TimeConvention::ActionToNoise => "action_to_noise",
        }
    }
}

/// What the flow starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseLaw {
    /// Independent standard normals.
    StandardNormal,
    /// Nothing but zeros: a regression has no noise.
    Zero,
}

impl NoiseLaw {
    /// Its name in files.
    pub fn name(&self) -> &'static str {
        match self {
            NoiseLaw::StandardNormal => "standard_normal",
            NoiseLaw::Zero => "zero",
        }
    }
}

/// How the weights were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Optimiser steps.
    pub steps: u64,
    /// Windows per step.
    pub batch_size: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Seed of the validation split.
    pub split_seed: u64,
    /// Episodes held out.
    pub validation_episodes: Vec<usize>,
}

/// Most values of an observation history or of a chunk.
pub(in crate::policy) const MOST: usize = 1 << 20;

/// Most parameters of a network: 2 GiB.
const MOST_PARAMETERS: usize = 1 << 29;

/// A policy without its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// What the weights were trained to do.
    pub objective: Objective,
    /// The velocity network.
    pub network: NetworkSpec,
    /// The observation encoder.
    pub encoder: EncoderSpec,
    /// The probability path that it was trained on.
    pub path: Path,
    /// Direction of time.
    pub time: TimeConvention,
    /// Noise at the start.
    pub noise: NoiseLaw,
    /// Observations in a request, the newest last.
    pub history: usize,
    /// Values of an observation.
    pub obs_dim: usize,
    /// The named inputs that an observation is put together from, in the order of its values; their dims sum to obs_dim.
    pub obs_inputs: Vec<ObsInput>,
    /// Actions in a chunk.
    pub horizon: usize,
    /// Values of an action.
    pub action_dim: usize,
    /// Steps from the newest observation to the chunk's first action. Negative where the chunk begins in the past, as
    /// LeRobot's does: at -k, row k is the action for the newest observation.
    pub action_offset: i32,
    /// How long a prefix of decided actions it was trained to continue; null: none, the whole chunk has one time.
    #[serde(deserialize_with = "required")]
    pub prefix: Option<PrefixSpec>,
    /// Of observations, per dimension.
    pub obs_normalizer: Normalizer,
    /// Of chunks, per dimension or per step and dimension, after they were made relative.
    pub action_normalizer: Normalizer,
    /// Observation dimension that each action dimension is relative to; null: absolute actions.
    #[serde(deserialize_with = "required")]
    pub relative_to: Option<RelativeTo>,
    /// Columns that are angles; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub angles: Option<Angles>,
    /// Names of the observation's values; null: unknown.
    #[serde(deserialize_with = "required")]
    pub obs_names: Option<Vec<String>>,
    /// Names of the action's values; null: unknown.
    #[serde(deserialize_with = "required")]
    pub action_names: Option<Vec<String>>,
    /// Steps per second of the demonstrations; null: unknown.
    #[serde(deserialize_with = "required")]
    pub rate_hz: Option<f64>,
    /// How the weights were made.
    pub provenance: Provenance,
}

/// An optional value whose key must be there all the same.
fn required<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> std::result::Result<Option<T>, D::Error> {
    Option::deserialize(d)
}

impl PolicySpec {
    /// Checks that every number is in its range and all parts fit each other: what [`Policy::load`](super::Policy::load),
    /// [`Policy::save`](super::Policy::save) and a run before its first step all ask.
    ///
    /// # Errors
    /// [`PolicyError`] naming the first fault.
    pub fn check(&self) -> Result<()> {
        let shape = |what, found: usize, needed: usize| match found == needed {
            true => Ok(()),
            false => Err(PolicyError::Shape { what, found: found.to_string(), needed: needed.to_string() }),
        };
        for (what, n) in [
            ("history", self.history),
            ("obs_dim", self.obs_dim),
            ("horizon", self.horizon),
            ("action_dim", self.action_dim),
        ] {
            if n == 0 || n > MOST {
                let needed = format!("1 to {MOST}");
                return Err(PolicyError::Shape { what, found: n.to_string(), needed });
            }
        }
        for (what, n) in [("history x obs_dim", self.seen()), ("horizon x action_dim", self.chunk())] {
            if n > MOST {
                return Err(PolicyError::Shape {
                    what,
                    found: n.to_string(),
                    needed: format!("at most {MOST}"),
                });
            }
        }
        ObsInput::check(&self.obs_inputs, self.obs_dim)?;
        let method = self.objective.method();
        method.check()?;
        let noise = match method.starts_from_noise() {
            true => NoiseLaw::StandardNormal,
            false => NoiseLaw::Zero,
        };
        let time = match self.objective {
            Objective::Denoising(_) => TimeConvention::ActionToNoise,
            _ => TimeConvention::NoiseToAction,
        };
        for (what, found, needed) in [
            ("the noise law", self.noise.name(), noise.name()),
            ("the direction of time", self.time.name(), time.name()),
        ] {
            if found != needed {
                let needed = format!("{needed} for {}", self.objective.name());
                return Err(PolicyError::Shape { what, found: found.into(), needed });
            }
        }
        if i64::from(self.action_offset) <= -(self.horizon as i64) {
            return Err(PolicyError::Shape {
                what: "action_offset",
                found: self.action_offset.to_string(),
                needed: format!("above {}: a chunk that reaches the present", -(self.horizon as i64)),
            });
        }
        self.network.check()?;
        self.encoder.check()?;
        self.obs_normalizer.check()?;
        self.action_normalizer.check()?;
        shape("the observation normaliser's offsets", self.obs_normalizer.offset.len(), self.obs_dim)?;
        shape(
            "the action normaliser's clip (actions are not clipped)",
            self.action_normalizer.clip.len(),
            0,
        )?;
        let n = self.action_normalizer.offset.len();
        if n != self.action_dim && n != self.chunk() {
            let needed = format!("{} or {}", self.action_dim, self.chunk());
            return Err(PolicyError::Shape {
                what: "the action normaliser's offsets",
                found: n.to_string(),
                needed,
            });
        }
        if let Some(r) = &self.relative_to {
            r.check(self.obs_dim, self.action_dim)?;
        }
        if let Some(angles) = &self.angles {
            angles.check(self)?;
        }
        let (offset, scale) = self.action_statistics();
        for column in method.raw_columns(self.action_dim)? {
            let rows =
                |v: &[f32], want: f32| v.iter().skip(column).step_by(self.action_dim).all(|v| *v == want);
            let relative = self.relative_to.as_ref().is_some_and(|r| r.0[column].is_some());
            if !rows(&offset, 0.0) || !rows(&scale, 1.0) || relative {
                return Err(PolicyError::Shape {
                    what: "an action's column on a manifold",
                    found: format!("column {column} normalised or relative"),
                    needed: "one that is neither".into(),
                });
            }
        }
        if let Some(names) = &self.obs_names {
            shape("obs_names", names.len(), self.obs_dim)?;
        }
        if let Some(names) = &self.action_names {
            shape("action_names", names.len(), self.action_dim)?;
        }
        if let Some(prefix) = &self.prefix {
            prefix.check(self)?;
        }
        if let Some(rate) = self.rate_hz.filter(|rate| !(1e-9..=1e9).contains(rate)) {
            let needed = "1e-9 to 1e9 steps per second".into();
            return Err(PolicyError::Shape { what: "rate_hz", found: rate.to_string(), needed });
        }
        self.path.check()?;
        Ok(())
    }

    /// Values of a chunk: horizon x action_dim.
    pub fn chunk(&self) -> usize {
        self.horizon.saturating_mul(self.action_dim)
    }

    /// Values of a request: history x obs_dim.
    pub fn request(&self) -> usize {
        self.history.saturating_mul(self.obs_dim)
    }

    /// Values of an observation as the network sees it: its own, and the sine and cosine of each angle.
    pub fn seen_dim(&self) -> usize {
        self.obs_dim + self.angles.as_ref().map_or(0, Angles::more)
    }

    /// Values of a request as the network sees them: history x seen_dim.
    pub fn seen(&self) -> usize {
        self.history.saturating_mul(self.seen_dim())
    }

    /// Raw observations [rows, obs_dim] with the sine and cosine of each angle, [rows, seen_dim].
    pub fn seen_rows<'a>(&self, obs: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        match &self.angles {
            Some(angles) => angles.beside(obs, self.obs_dim).into(),
            None => obs.into(),
        }
    }

    /// Makes the first actions of a chunk, whole rows in physical units, relative to the newest observation of a raw request
    /// [history, obs_dim], where the policy's are.
    ///
    /// # Errors
    /// [`NormError`](super::NormError) if the rows are not whole.
    pub fn relative(&self, rows: &mut [f32], request: &[f32]) -> Result<()> {
        if let (Some(relative), false) = (&self.relative_to, rows.is_empty()) {
            relative.subtract(rows, &request[request.len().saturating_sub(self.obs_dim)..])?;
        }
        if let Some(angles) = &self.angles {
            angles.unwrap(rows, self.action_dim);
        }
        Ok(())
    }

    /// Undoes [`PolicySpec::relative`].
    ///
    /// # Errors
    /// As [`PolicySpec::relative`].
    pub fn absolute(&self, rows: &mut [f32], request: &[f32]) -> Result<()> {
        if let (Some(relative), false) = (&self.relative_to, rows.is_empty()) {
            relative.add(rows, &request[request.len().saturating_sub(self.obs_dim)..])?;
        }
        self.wrap(rows);
        Ok(())
    }

    /// Puts the angles of actions, whole rows in physical units, into the turn that the demonstrations' were in.
    pub(super) fn wrap(&self, rows: &mut [f32]) {
        if let Some(angles) = &self.angles {
            angles.wrap(rows, self.action_dim);
        }
    }

    /// Action offsets and scales for every step of the chunk.
    pub fn action_statistics(&self) -> (Vec<f32>, Vec<f32>) {
        let n = &self.action_normalizer;
        let times = self.chunk() / n.offset.len().max(1);
        (n.offset.repeat(times), n.scale.repeat(times))
    }

    /// The normaliser as the kernel reads it that gathers windows of observations of [`PolicySpec::seen_dim`] values.
    pub fn seen_affine(&self) -> Vec<f32> {
        let more = self.seen_dim() - self.obs_dim;
        let with = |v: &[f32], x: f32| [v, &vec![x; more]].concat();
        let obs = &self.obs_normalizer;
        // Sines and cosines need no limit.
        let clip = if obs.clip.is_empty() { Vec::new() } else { with(&obs.clip, -1.0) };
        self.affine_of([&with(&obs.offset, 0.0), &with(&obs.scale, 1.0), &clip])
    }

    /// The normaliser as kernels read it.
    pub fn affine(&self) -> Vec<f32> {
        let obs = &self.obs_normalizer;
        self.affine_of([&obs.offset, &obs.scale, &obs.clip])
    }

    fn affine_of(&self, obs: [&[f32]; 3]) -> Vec<f32> {
        let (offset, scale) = self.action_statistics();
        let relative = match &self.relative_to {
            Some(r) => r.0.clone(),
            None => vec![None; self.action_dim],
        };
        window::affine(obs, [&offset, &scale], &relative)
    }

    /// v(a, t, o) of normalised observations [rows, history * obs_dim]; a is a chunk or, for objectives whose state is one, an
    /// action. Where the policy has a time for every action, t is [rows, horizon], or one column that stands for all.
    pub fn velocity(&self, b: &mut Builder<'_>, x: Query) -> crate::graph::Result<Value> {
        let z = self.encoder.encode(b, x.obs)?;
        let (action_dim, history) = (self.action_dim, self.history);
        let horizon = b.graph.shape(x.a).cols() / action_dim;
        let t = match self.prefix {
            Some(_) if self.network.joins_times() && b.graph.shape(x.t).cols() != horizon => {
                let ones = b.graph.constant(Shape::matrix(1, horizon), vec![1.0; horizon])?;
                b.graph.mul(ones, x.t)?
            }
            _ => x.t,
        };
        let inputs = Inputs { a: x.a, t, interval: x.interval, z, horizon, action_dim, history };
        self.network.velocity(b, &inputs)
    }

    /// What the objective is given for batches of `batch` windows.
    pub fn task(&self, batch: usize, time_law: TimeLaw) -> Task {
        let n = &self.action_normalizer;
        // One action's statistics, all actions relative: the robot is at 0 before the normaliser.
        let present = match &self.relative_to {
            Some(r) if n.offset.len() == self.action_dim && r.0.iter().all(Option::is_some) => {
                Some(n.offset.iter().zip(&n.scale).map(|(offset, scale)| -offset * scale).collect())
            }
            _ => None,
        };
        Task {
            batch,
            horizon: self.horizon,
            action_dim: self.action_dim,
            obs: self.seen(),
            path: self.path,
            time_law,
            max_delay: self.prefix.map(|p| p.max_delay),
            masked: None,
            present,
        }
    }

    /// The solver that samples it where `wanted` is asked for: a regression is evaluated once, whatever is asked for.
    ///
    /// # Errors
    /// [`PolicyError::Method`] if it cannot be sampled that way.
    pub fn solver(&self, wanted: Solver) -> Result<Solver> {
        Ok(match self.objective.method().sampling(wanted, &self.task(1, TimeLaw::default()))? {
            Sampling::Flow(solver) => solver,
            Sampling::Steps(steps) => steps.solver,
        })
    }

    /// # Errors
    /// [`PolicyError::Objective`] unless the network is the velocity of a flow, which `what` needs.
    pub fn needs_flow(&self, what: &'static str) -> Result<()> {
        match self.objective.has_flow() {
            true => Ok(()),
            false => Err(PolicyError::Objective { what, objective: self.objective.name() }),
        }
    }

    /// The network's parameters, in order of first use.
    pub fn params(&self) -> Result<Vec<ParamSpec>> {
        let method = self.objective.method();
        let mut g = Graph::new();
        let mut b = Builder::new(&mut g);
        method.loss(&mut b, self, &self.task(method.batch_multiple(), TimeLaw::default()))?;
        // Memory is taken for them next, several times over.
        let count: usize = b.params.iter().fold(0, |n, p| n.saturating_add(p.shape.len()));
        if count > MOST_PARAMETERS {
            let needed = format!("at most {MOST_PARAMETERS}");
            return Err(PolicyError::Shape {
                what: "parameters of the network",
                found: count.to_string(),
                needed,
            });
        }
        Ok(b.params)
    }

    /// Raw observations [rows, history * obs_dim] as the network sees them: normalised and within the normaliser's clip, with the sine
    /// and cosine of each angle.
    pub(super) fn normal(&self, g: &mut Graph, obs: Value) -> crate::graph::Result<Value> {
        let normal = self.clipped(g, obs)?;
        match &self.angles {
            Some(angles) if angles.more() > 0 => angles.join(g, [obs, normal], [self.history, self.obs_dim]),
            _ => Ok(normal),
        }
    }

    fn clipped(&self, g: &mut Graph, obs: Value) -> crate::graph::Result<Value> {
        let n = &self.obs_normalizer;
        let row = Shape::matrix(1, self.request());
        let offset = g.constant(row, n.offset.repeat(self.history))?;
        let scale = g.constant(row, n.scale.repeat(self.history))?;
        let centred = g.sub(obs, offset)?;
        let normal = g.mul(centred, scale)?;
        if n.clip.is_empty() {
            return Ok(normal);
        }
        let clip = g.constant(row, n.clip.repeat(self.history))?;
        g.clip(normal, clip)
    }
}

impl Net for PolicySpec {
    fn query(&self, b: &mut Builder<'_>, x: Query) -> crate::graph::Result<Value> {
        self.velocity(b, x)
    }
}

/// An observation that a field or a step cannot do without.
pub(super) fn observation(request: &[Value]) -> crate::graph::Result<Value> {
    match request.first() {
        Some(&obs) => Ok(obs),
        None => Err(crate::graph::error::shape_error("policy", &[], "an observation")),
    }
}

/// The policy as a field over raw observations, which it normalises itself.
pub(super) struct PolicyField<'a>(pub &'a PolicySpec);

/// The policy as the steps of its objective's sampler, over raw observations.
pub(super) struct PolicySteps<'a> {
    pub spec: &'a PolicySpec,
    pub steps: Steps,
}

impl Recurrence for PolicySteps<'_> {
    fn dim(&self) -> usize {
        self.spec.chunk()
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![(OBS, self.spec.request())]
    }

    fn clock(&self) -> Vec<Vec<f32>> {
        self.steps.clock.clone()
    }

    fn noise(&self) -> usize {
        self.steps.noise
    }

    fn next(&self, g: &mut Graph, x: &Step<'_>) -> crate::graph::Result<Value> {
        let obs = self.spec.normal(g, observation(x.request)?)?;
        let task = self.spec.task(g.shape(x.state).rows(), TimeLaw::default());
        let solver = self.steps.solver;
        let state = State { x: x.state, clock: x.clock, noise: x.noise, solver, obs };
        self.spec.objective.method().step(&mut Builder::new(g), self.spec, &task, &state)
    }
}

/// Name of the raw observation input.
pub(super) const OBS: &str = "obs";

impl Field for PolicyField<'_> {
    fn dim(&self) -> usize {
        self.0.chunk()
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![(OBS, self.0.request())]
    }

    fn velocity(
        &self,
        g: &mut Graph,
        state: Value,
        time: Value,
        request: &[Value],
    ) -> crate::graph::Result<Value> {
        let obs = self.0.normal(g, observation(request)?)?;
        let query = Query { a: state, t: time, interval: None, obs };
        self.0.objective.method().velocity(&mut Builder::new(g), self.0, query)
    }
}
