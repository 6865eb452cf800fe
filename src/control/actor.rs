//! Control with inference on a thread of its own: `act` is always back in time.

use super::action::{Action, Counts};
use super::job::Job;
use super::pilot::Pilot;
use super::safety::Gate;
use super::spec::{ControlSpec, Mode};
use super::worker::{Heard, Worker};
use super::{ControlError, Result};
use crate::policy::{ChunkSource, PolicySpec};
use std::time::{Duration, Instant};

/// Robots under a policy, in real time. Call [`Actor::act`] once per control step.
///
/// While the thread samples, the running chunk goes on. What of the new chunk is past when it comes is skipped: the
/// actions really executed since its observation are counted, so a late chunk joins where the robot is. If the running
/// chunk ends first, or the thread fails, the robot is held, and [`Action::kind`] says so.
pub struct Actor {
    pilot: Pilot,
    worker: Worker,
    /// None while it is with the thread.
    job: Option<Box<Job>>,
    deadline: Duration,
    ended: bool,
}

impl Actor {
    /// Runs the policy once to have it warm, then starts the inference thread.
    ///
    /// # Errors
    /// [`ControlError`] if the settings do not fit the policy, the policy fails, or there is no thread to be had.
    pub fn start(mut source: impl ChunkSource + 'static, spec: &ControlSpec) -> Result<Actor> {
        let pilot = Pilot::new(source.spec(), source.robots(), source.max_delay(), spec)?;
        let mut job = Job::new(source.spec(), source.robots());
        job.warm_up(&mut source, spec.mode == Mode::RealTime)?;
        let worker = Worker::start(Box::new(source))?;
        Ok(Actor { pilot, worker, job: Some(job), deadline: spec.deadline(), ended: false })
    }

    /// The actions [robots, action_dim] for observations [robots, obs_dim] of this moment. Waits for a chunk at most
    /// [`ControlSpec::deadline_ms`], and only while one is under way. `now` is the time since whenever the caller began to
    /// count; only [`ControlSpec::max_age_s`] looks at it.
    ///
    /// # Errors
    /// [`ControlError`] for observations of a wrong length, or for a first observation that is not finite where holding
    /// means staying where the robot is. Nothing else: what happens to the inference shows in the actions' kind and in
    /// [`Actor::fault`].
    pub fn act(&mut self, obs: &[f32], now: Duration) -> Result<Action<'_>> {
        let begun = Instant::now();
        self.pilot.observe(obs, now)?;
        self.hear(Duration::ZERO);
        if self.pilot.due() {
            self.hand_over();
        }
        if self.job.is_none() && !self.ended && !self.deadline.is_zero() {
            self.hear(self.deadline.saturating_sub(begun.elapsed()));
        }
        self.pilot.act()
    }

    /// Waits for the chunk that is under way, if any: true if none is now. For the moment before a robot starts, when time
    /// does not matter yet; the next [`Actor::act`] executes it.
    pub fn wait(&mut self, patience: Duration) -> bool {
        if self.job.is_none() && !self.ended {
            self.hear(patience);
        }
        self.job.is_some() || self.ended
    }

    fn hear(&mut self, patience: Duration) {
        if self.job.is_some() || self.ended {
            return;
        }
        match self.worker.hear(patience) {
            Heard::Nothing => {}
            Heard::Done(done) => {
                match done.result {
                    Ok(()) => self.pilot.take(&done.job),
                    Err(fault) => {
                        self.ended = matches!(fault, ControlError::Panicked { .. });
                        self.pilot.failed();
                        self.pilot.fault = Some(fault);
                    }
                }
                self.job = Some(done.job);
            }
            Heard::Ended => self.end(),
        }
    }

    fn hand_over(&mut self) {
        if self.ended {
            return;
        }
        let Some(mut job) = self.job.take() else { return };
        self.pilot.ask(&mut job);
        if let Err(job) = self.worker.send(job) {
            self.job = Some(job);
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.pilot.failed();
        self.pilot.fault = Some(ControlError::Panicked { message: "the thread is gone".into() });
    }

    /// What went wrong last, if anything did: a failed or panicked inference, or an observation that was not finite.
    pub fn fault(&self) -> Option<&ControlError> {
        self.pilot.fault.as_ref()
    }

    /// As [`Actor::fault`], and forgets it.
    pub fn take_fault(&mut self) -> Option<ControlError> {
        self.pilot.fault.take()
    }

    /// False once the inference thread has panicked: all robots hold from then on.
    pub fn is_alive(&self) -> bool {
        !self.ended
    }

    /// Lets a robot start anew with its next observation: nothing of its past is remembered, a chunk under way for it
    /// does not count. With a seed, its noise starts anew too.
    ///
    /// # Errors
    /// [`ControlError::Robot`] if there is no such robot.
    pub fn reset(&mut self, robot: usize, seed: Option<u64>) -> Result<()> {
        self.pilot.reset(robot, seed)
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.pilot.counts
    }

    /// The delay, in actions, that the next chunk is expected to have: the largest of the last few.
    pub fn expected_delay(&self) -> usize {
        self.pilot.expected_delay()
    }

    /// The safety gate, if there is one.
    pub fn gate(&self) -> Option<&Gate> {
        self.pilot.gate()
    }

    /// The policy.
    pub fn policy(&self) -> &PolicySpec {
        self.pilot.policy()
    }

    /// Ends the inference thread, after the inference under way if there is one. Dropping the actor does the same.
    pub fn stop(mut self) -> Counts {
        self.worker.stop();
        self.pilot.counts
    }
}
