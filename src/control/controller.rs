//! Control in one thread: inference happens inside `act`.

use super::Result;
use super::action::{Action, Counts};
use super::job::Job;
use super::pilot::Pilot;
use super::safety::Gate;
use super::spec::{ControlSpec, Mode};
use crate::policy::ChunkSource;
use std::time::Duration;

/// Robots under a policy: observe, predict a chunk, execute some of it, observe again. Deterministic: the same
/// observations give the same actions. For simulations, and for loops that can spare the time of an inference; where
/// that is too long, [`Actor`](super::Actor) does the same on a thread of its own.
pub struct Controller {
    source: Box<dyn ChunkSource>,
    pilot: Pilot,
    /// None while its chunk is held back.
    job: Option<Box<Job>>,
    held_back: Option<Box<Job>>,
    late: u64,
}

impl Controller {
    /// A controller of as many robots as the source takes observations. Runs the policy once to have it warm.
    ///
    /// # Errors
    /// [`ControlError`](super::ControlError) if the settings do not fit the policy, or the policy fails.
    pub fn new(mut source: impl ChunkSource + 'static, spec: &ControlSpec) -> Result<Controller> {
        let pilot = Pilot::new(source.spec(), source.robots(), source.max_delay(), spec)?;
        let mut job = Job::new(source.spec(), source.robots());
        job.warm_up(&mut source, spec.mode == Mode::RealTime)?;
        Ok(Controller { source: Box::new(source), pilot, job: Some(job), held_back: None, late: 0 })
    }

    /// Simulates an inference that takes so many steps: each chunk takes over only that many calls after its observation.
    pub fn with_delay(mut self, steps: usize) -> Controller {
        self.late = steps as u64;
        self
    }

    /// The actions [robots, action_dim] for observations [robots, obs_dim] of this moment. `now` is the time since
    /// whenever the caller began to count; only [`ControlSpec::max_age_s`] looks at it.
    ///
    /// # Errors
    /// [`ControlError`](super::ControlError) for observations of a wrong length, a first observation that is not finite, or if the policy fails;
    /// the next call tries again.
    pub fn act(&mut self, obs: &[f32], now: Duration) -> Result<Action<'_>> {
        self.pilot.observe(obs, now)?;
        if self.held_back.as_ref().is_some_and(|job| self.pilot.tick() - job.tick >= self.late) {
            self.job = self.held_back.take();
            if let Some(job) = &self.job {
                self.pilot.take(job);
            }
        }
        if self.pilot.due()
            && let Some(mut job) = self.job.take()
        {
            self.pilot.ask(&mut job);
            match job.run(&mut *self.source) {
                Ok(()) if self.late == 0 => {
                    self.pilot.take(&job);
                    self.job = Some(job);
                }
                Ok(()) => self.held_back = Some(job),
                Err(error) => {
                    self.job = Some(job);
                    self.pilot.failed();
                    return Err(error);
                }
            }
        }
        self.pilot.act()
    }

    /// Lets a robot start anew with its next observation: nothing of its past is remembered. With a seed, its noise starts
    /// anew too, so that an episode can be repeated.
    ///
    /// # Errors
    /// [`ControlError::Robot`](super::ControlError::Robot) if there is no such robot.
    pub fn reset(&mut self, robot: usize, seed: Option<u64>) -> Result<()> {
        self.pilot.reset(robot, seed)
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.pilot.counts
    }

    /// The safety gate, if there is one.
    pub fn gate(&self) -> Option<&Gate> {
        self.pilot.gate()
    }

    /// The policy.
    pub fn policy(&self) -> &crate::policy::PolicySpec {
        self.pilot.policy()
    }
}
