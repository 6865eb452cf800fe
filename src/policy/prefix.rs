//! Sampling after a prefix: real-time chunking with a network that was trained for it (Black and others 2025, training-time
//! action conditioning).

use super::checkpoint::Policy;
use super::sampler::{compile, count, expect, finite};
use super::source::{ChunkSource, ModelSpace, Previous};
use super::spec::PolicyField;
use super::{NoiseKey, PolicyError, PolicySpec, Result, RowOutcome, SamplerOptions};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::{Batch, Field, Integrator};
use crate::graph::{self, Graph, Program, Shape, Value};
use crate::kernel::{BufferId, View, fma};
use serde::{Deserialize, Serialize};

/// A policy that was trained to continue a prefix of actions that are already decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixSpec {
    /// The longest prefix, in actions: at least 1 and below the horizon.
    pub max_delay: usize,
}

impl PrefixSpec {
    /// Checks the longest prefix against the horizon, and that there is a flow and a time for every action.
    pub(super) fn check(&self, spec: &PolicySpec) -> Result<()> {
        spec.needs_flow("a prefix")?;
        if !(1..spec.horizon).contains(&self.max_delay) {
            return Err(PolicyError::Shape {
                what: "prefix.max_delay",
                found: self.max_delay.to_string(),
                needed: format!("1 to {}, below the horizon", spec.horizon.saturating_sub(1)),
            });
        }
        match spec.network.time_per_action() {
            true => Ok(()),
            false => Err(PolicyError::OneTime { network: spec.network.name() }),
        }
    }
}

/// Name of the request input that holds the prefix in model space, [requests, horizon * action_dim], zero elsewhere.
const PREFIX: &str = "prefix";
/// Name of the request input that is 0 for actions of the prefix and 1 for the others, [requests, horizon].
const FREE: &str = "free";

/// The policy's field with the prefix held: before every evaluation the prefix is put in place with the time 1 of a finished
/// action, and its velocity is 0.
struct PrefixField<'a>(PolicyField<'a>);

impl Field for PrefixField<'_> {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        let mut inputs = self.0.request();
        inputs.extend([(PREFIX, self.dim()), (FREE, self.0.0.horizon)]);
        inputs
    }

    fn velocity(&self, g: &mut Graph, x: Value, t: Value, request: &[Value]) -> graph::Result<Value> {
        let [inner @ .., prefix, free] = request else {
            return Err(graph::error::shape_error("prefix", &[], "a prefix and a mask"));
        };
        let (horizon, dim) = (self.0.0.horizon, self.0.0.action_dim);
        let rows = g.shape(*free).rows();
        // One mask value per action, for each of its values.
        let column = g.reshape(*free, Shape::matrix(rows * horizon, 1))?;
        let wide = g.broadcast(column, Shape::matrix(rows * horizon, dim))?;
        let wide = g.reshape(wide, Shape::matrix(rows, horizon * dim))?;
        let held = g.fma(x, wide, *prefix)?;
        let done = g.affine(*free, -1.0, 1.0)?;
        let times = g.fma(*free, t, done)?;
        let v = self.0.velocity(g, held, times, inner)?;
        g.mul(v, wide)
    }
}

/// A policy compiled to continue each robot's previous chunk: the actions that will have been executed before the new chunk
/// takes over are its first ones, exactly, and the others are sampled to follow them. Every robot may have another delay.
pub struct PrefixSampler {
    spec: PolicySpec,
    space: ModelSpace,
    integrator: Integrator,
    robots: usize,
    max_delay: usize,
    prefix: Vec<f32>,
    free: Vec<f32>,
}

impl Policy {
    /// Compiles a sampler of one chunk for each of `robots` robots, continuing a prefix.
    ///
    /// # Errors
    /// [`PolicyError::NoPrefix`] for a policy that was not trained with one; a failing device.
    pub fn prefix_sampler(
        &self,
        device: &Device,
        robots: usize,
        options: &SamplerOptions,
    ) -> Result<PrefixSampler> {
        let spec = &self.spec;
        let Some(PrefixSpec { max_delay }) = spec.prefix else { return Err(PolicyError::NoPrefix) };
        spec.needs_flow("a prefix")?;
        let field = PrefixField(PolicyField(spec));
        let batch = Batch { requests: robots, samples: 1 };
        // After the last step, too: rounding aside, the chunk begins with the prefix.
        let hold = |program: &mut Program,
                    batch: Batch,
                    x: BufferId,
                    _: &[(&'static str, BufferId)]|
         -> graph::Result<BufferId> {
            let (prefix, free) = (program.named(PREFIX)?, program.named(FREE)?);
            let out = program.temporary(batch.rows() * spec.chunk())?;
            let dense = View::dense(0, spec.action_dim);
            let mask = View { col_stride: 0, ..View::strided(0, 1) };
            let size = [batch.rows() * spec.horizon, spec.action_dim];
            program.push(fma::command(size, (x, dense), (free, mask), (prefix, dense), (out, dense)))?;
            Ok(out)
        };
        let integrator = compile(self, device, &field, batch, options, Some(&hold))?;
        Ok(PrefixSampler {
            spec: spec.clone(),
            space: ModelSpace::new(spec),
            integrator,
            robots,
            max_delay,
            prefix: vec![0.0; robots * spec.chunk()],
            free: vec![1.0; robots * spec.horizon],
        })
    }
}

impl PrefixSampler {
    /// The compiled integration.
    pub fn integrator(&self) -> &Integrator {
        &self.integrator
    }

    /// Puts the first `delay` actions of every robot, as far as there are so many, in place.
    fn hold(&mut self, obs: &[f32], previous: &Previous<'_>) -> Result<()> {
        previous.check(&self.spec, self.robots)?;
        if let Some(found) = previous.delay.iter().find(|d| **d > self.max_delay) {
            return Err(PolicyError::Shape {
                what: "a delay",
                found: found.to_string(),
                needed: format!("at most {}, which the policy was trained for", self.max_delay),
            });
        }
        let (chunk, dim, request) = (self.spec.chunk(), self.spec.action_dim, self.spec.request());
        for (robot, free) in self.free.chunks_exact_mut(self.spec.horizon).enumerate() {
            let held = previous.delay[robot].min(previous.left[robot]);
            free[..held].fill(0.0);
            let rows = &mut self.prefix[robot * chunk..][..held * dim];
            rows.copy_from_slice(&previous.chunk[robot * chunk..][..held * dim]);
            self.space.enter(&self.spec, &obs[robot * request..][..request], rows)?;
        }
        Ok(())
    }

    /// A chunk for each robot; which of them are of use is for the integrator to say.
    fn draw(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        expect("observations", obs.len(), self.robots * self.spec.request())?;
        expect("chunks", chunks.len(), self.robots * self.spec.chunk())?;
        count("noise keys", noise.len(), self.robots)?;
        finite("observations", obs)?;
        self.prefix.fill(0.0);
        self.free.fill(1.0);
        if let Some(previous) = previous {
            self.hold(obs, previous)?;
        }
        let requests = [obs, &self.prefix, &self.free];
        self.integrator.run_each(Start::Keys(noise), &requests, chunks, None)?;
        Ok(())
    }
}

impl ChunkSource for PrefixSampler {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn robots(&self) -> usize {
        self.robots
    }

    /// A robot without a previous chunk or without delay is sampled freely, and so are all without `previous`.
    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        self.draw(obs, noise, previous, chunks)?;
        Ok(self.integrator.all_done()?)
    }

    fn sample_each(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        count("outcomes", outcomes.len(), self.robots)?;
        self.draw(obs, noise, previous, chunks)?;
        outcomes.copy_from_slice(self.integrator.outcomes());
        Ok(())
    }
}
