//! Sampling after a prefix: real-time chunking with a network that was trained for it (Black and others 2025, training-time
//! action conditioning).

use super::checkpoint::Policy;
use super::continuing::{Continuation, Weighing};
use super::sampler::compile;
use super::source::Wraps;
use super::spec::PolicyField;
use super::{PolicyError, PolicySpec, Result, SamplerOptions};
use crate::device::Device;
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
pub struct PrefixSampler(Continuation);

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
        let how = held_actions(spec, max_delay);
        Ok(PrefixSampler(Continuation::new(spec, integrator, robots, how)))
    }
}

impl PrefixSampler {
    /// The compiled integration.
    pub fn integrator(&self) -> &Integrator {
        self.0.integrator()
    }
}

impl Wraps for PrefixSampler {
    type Source = Continuation;

    fn source(&self) -> &Continuation {
        &self.0
    }

    fn source_mut(&mut self) -> &mut Continuation {
        &mut self.0
    }
}

/// 0 for each action that is held and 1 for the others, [horizon] for each robot.
fn held_actions(spec: &PolicySpec, max_delay: usize) -> Weighing {
    let weigh = |delay: usize, left: usize, free: &mut [f32]| {
        let held = delay.min(left);
        free[..held].fill(0.0);
        held
    };
    Weighing {
        weights_per_robot: spec.horizon,
        free: 1.0,
        max_delay: Some(max_delay),
        weigh: Box::new(weigh),
    }
}
