//! What the samplers that continue each robot's previous chunk share: the buffers of a pass, and its order.

use super::sampler::{count, expect, finite};
use super::source::{ChunkSource, ModelSpace, Previous};
use super::{NoiseKey, PolicyError, PolicySpec, Result, RowOutcome};
use crate::flow::Integrator;
use crate::flow::integrator::Start;

/// Sets the weights of one robot's actions from its delay and the rows left of its previous chunk, and says how
/// many of these rows are read.
type Weigh = Box<dyn Fn(usize, usize, &mut [f32]) -> usize + Send>;

/// A compiled integration that reads, beside the observations, each robot's previous chunk in model space
/// [robots, horizon * action_dim] and weights that say how its actions count [robots, `weights_per_robot`].
pub(super) struct Continuation {
    spec: PolicySpec,
    integrator: Integrator,
    space: ModelSpace,
    robots: usize,
    how: Weighing,
    previous: Vec<f32>,
    weights: Vec<f32>,
}

/// How the actions of a previous chunk count.
pub(super) struct Weighing {
    /// Weights of one robot.
    pub(super) weights_per_robot: usize,
    /// The weight of an action without a counterpart in a previous chunk.
    pub(super) free: f32,
    /// The longest delay that can be continued; none: the horizon.
    pub(super) max_delay: Option<usize>,
    pub(super) weigh: Weigh,
}

impl Continuation {
    pub(super) fn new(
        spec: &PolicySpec,
        integrator: Integrator,
        robots: usize,
        how: Weighing,
    ) -> Continuation {
        Continuation {
            spec: spec.clone(),
            integrator,
            space: ModelSpace::new(spec),
            robots,
            previous: vec![0.0; robots * spec.chunk()],
            weights: vec![how.free; robots * how.weights_per_robot],
            how,
        }
    }

    pub(super) fn integrator(&self) -> &Integrator {
        &self.integrator
    }

    /// Puts the previous chunks and their weights in place. A previous chunk is of physical actions: it is expressed
    /// against the new observation (relative actions, normaliser).
    fn place(&mut self, obs: &[f32], previous: &Previous<'_>) -> Result<()> {
        previous.check(&self.spec, self.robots)?;
        if let Some(longest) = self.how.max_delay
            && let Some(found) = previous.delay.iter().find(|delay| **delay > longest)
        {
            return Err(PolicyError::Shape {
                what: "a delay",
                found: found.to_string(),
                needed: format!("at most {longest}, which the policy was trained for"),
            });
        }
        let (chunk, request) = (self.spec.chunk(), self.spec.request());
        for (robot, weights) in self.weights.chunks_exact_mut(self.how.weights_per_robot).enumerate() {
            let read = (self.how.weigh)(previous.delay[robot], previous.left[robot], weights);
            let values = robot * chunk..robot * chunk + read * self.spec.action_dim;
            let rows = &mut self.previous[values.clone()];
            rows.copy_from_slice(&previous.chunk[values]);
            self.space.enter(&self.spec, &obs[robot * request..][..request], rows)?;
        }
        Ok(())
    }

    /// One pass. Which of the chunks are of use is for the integrator's outcomes to say.
    fn draw(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        self.integrator.forget_outcomes();
        expect("observations", obs.len(), self.robots * self.spec.request())?;
        expect("chunks", chunks.len(), self.robots * self.spec.chunk())?;
        count("noise keys", noise.len(), self.robots)?;
        finite("observations", obs)?;
        self.previous.fill(0.0);
        self.weights.fill(self.how.free);
        if let Some(previous) = previous {
            self.place(obs, previous)?;
        }
        let inputs = [obs, &self.previous, &self.weights];
        self.integrator.run_each(Start::Keys(noise), &inputs, chunks, None)?;
        self.spec.wrap(chunks);
        Ok(())
    }
}

/// A robot without a previous chunk (`left` 0) is sampled freely, and so are all without `previous`.
impl ChunkSource for Continuation {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn robots(&self) -> usize {
        self.robots
    }

    fn max_delay(&self) -> Option<usize> {
        self.how.max_delay
    }

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
