//! What makes chunks for robots: a plain sampler, or one that continues what a robot is executing.

use super::sampler::{count, expect};
use super::{NoiseKey, PolicyError, PolicySpec, Result, RowOutcome};

/// What is left of the chunk that each robot is executing, re-indexed: row 0 is the action for the time of the new
/// chunk's first action.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// [robots, horizon, action_dim], physical units; rows from `left` on are not read.
    pub chunk: &'a [f32],
    /// For each robot, the actions that will have been executed before the new chunk can take over (d).
    pub delay: &'a [usize],
    /// For each robot, how many rows of `chunk` there are; 0: no previous chunk (sampled freely).
    pub left: &'a [usize],
}

impl Previous<'_> {
    /// Checks lengths, that `delay` and `left` are at most the horizon, and that the rows that there are are finite.
    ///
    /// # Errors
    /// [`PolicyError::Shape`] or [`PolicyError::NonFinite`], naming the first that is wrong.
    pub fn check(&self, spec: &PolicySpec, robots: usize) -> Result<()> {
        expect("the previous chunk", self.chunk.len(), robots * spec.chunk())?;
        count("delays of the previous chunk", self.delay.len(), robots)?;
        count("rows left of the previous chunk", self.left.len(), robots)?;
        for (what, counts) in
            [("a delay", self.delay), ("rows left of the previous chunk of one robot", self.left)]
        {
            if let Some(found) = counts.iter().find(|n| **n > spec.horizon) {
                let needed = format!("at most the horizon, {}", spec.horizon);
                return Err(PolicyError::Shape { what, found: found.to_string(), needed });
            }
        }
        for (robot, left) in self.left.iter().enumerate() {
            let rows = &self.chunk[robot * spec.chunk()..][..left * spec.action_dim];
            if let Some(at) = rows.iter().position(|v| !v.is_finite()) {
                let element = robot * spec.chunk() + at;
                return Err(PolicyError::NonFinite { what: "the previous chunk", value: rows[at], element });
            }
        }
        Ok(())
    }
}

/// Anything that makes one chunk for each of a number of robots in one pass.
pub trait ChunkSource: Send {
    /// The policy's spec.
    fn spec(&self) -> &PolicySpec;

    /// Observations per call.
    fn robots(&self) -> usize;

    /// The longest delay, in actions, that [`Previous::delay`] may name; none: up to the horizon. A controller that is later asks for
    /// no more than this.
    fn max_delay(&self) -> Option<usize> {
        self.spec().prefix.map(|prefix| prefix.max_delay)
    }

    /// Raw observations [robots, history, obs_dim] and one noise key per robot to chunks [robots, horizon, action_dim] in
    /// physical units. `previous` is what the robots are executing, for the sources that continue it.
    ///
    /// # Errors
    /// [`PolicyError`] for a wrong length, a value that is not finite, or a failing device; `chunks` then holds nothing of use.
    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()>;

    /// As [`ChunkSource::sample`], but a robot whose chunk fails costs no other its own: its chunk is NaN, and its outcome
    /// \[robots\] says why. A source that cannot tell robots apart fails for all.
    ///
    /// # Errors
    /// As [`ChunkSource::sample`], but for what the outcomes say.
    fn sample_each(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        self.sample(obs, noise, previous, chunks)?;
        outcomes.fill(RowOutcome::default());
        Ok(())
    }
}

/// What makes its chunks by another source that it holds.
pub(super) trait Wraps: Send {
    type Source: ChunkSource + ?Sized;

    fn source(&self) -> &Self::Source;

    fn source_mut(&mut self) -> &mut Self::Source;
}

impl<S: ChunkSource + ?Sized> Wraps for Box<S> {
    type Source = S;

    fn source(&self) -> &S {
        self
    }

    fn source_mut(&mut self) -> &mut S {
        self
    }
}

impl<W: Wraps> ChunkSource for W {
    fn spec(&self) -> &PolicySpec {
        self.source().spec()
    }

    fn robots(&self) -> usize {
        self.source().robots()
    }

    fn max_delay(&self) -> Option<usize> {
        self.source().max_delay()
    }

    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> Result<()> {
        self.source_mut().sample(obs, noise, previous, chunks)
    }

    fn sample_each(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> Result<()> {
        self.source_mut().sample_each(obs, noise, previous, chunks, outcomes)
    }
}

/// The step from physical actions to the policy's own coordinates.
pub(super) struct ModelSpace {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

impl ModelSpace {
    pub(super) fn new(spec: &PolicySpec) -> ModelSpace {
        let (offset, scale) = spec.action_statistics();
        ModelSpace { offset, scale }
    }

    /// Expresses the first actions of a chunk, whole rows in physical units, against a raw observation [history, obs_dim]:
    /// relative to its newest step, then normalised.
    pub(super) fn enter(&self, spec: &PolicySpec, request: &[f32], rows: &mut [f32]) -> Result<()> {
        spec.relative(rows, request)?;
        for ((v, o), s) in rows.iter_mut().zip(&self.offset).zip(&self.scale) {
            *v = (*v - o) * s;
        }
        Ok(())
    }

    /// ln of how much a density grows from physical units to the model's; columns of scale 0 are left out.
    pub(super) fn log_jacobian(&self) -> f64 {
        super::normalizer::log_abs_det(&self.scale)
    }
}
