//! Control with a streaming flow policy: every step of the solver is an action, taken when it is due.

use super::action::{Action, Counts};
use super::job::Job;
use super::pilot::Pilot;
use super::safety::Gate;
use super::spec::{ControlSpec, Mode, offset};
use super::{ControlError, Result};
use crate::policy::{NoiseKey, PolicySpec, Stream};
use std::time::Duration;

/// Robots under a streaming policy. An `act` asks the network once, whatever the horizon: the action of this moment is the one
/// that the step emits, and no chunk is waited for. After [`ControlSpec::execute`] actions the trajectory begins anew from the
/// newest observation. Deterministic, as [`Controller`](super::Controller), which gives the same actions.
pub struct StreamController {
    stream: Stream,
    pilot: Pilot,
    job: Box<Job>,
    wanted: Vec<bool>,
}

impl StreamController {
    /// A controller of as many robots as the stream has. Runs the policy once to have it warm.
    ///
    /// # Errors
    /// [`ControlError`] if the settings do not fit the policy (the mode must be receding, and chunks must begin with the observation's own
    /// action), or the policy fails.
    pub fn new(mut stream: Stream, spec: &ControlSpec) -> Result<StreamController> {
        let pilot = Pilot::new(stream.spec(), stream.robots(), None, spec)?;
        let setting = |what, found: String, needed: &str| {
            Err(ControlError::Setting { what, found, needed: needed.into() })
        };
        if spec.mode != Mode::Receding {
            return setting(
                "mode",
                format!("{:?}", spec.mode),
                "receding: a stream has one trajectory at a time",
            );
        }
        if offset(stream.spec()) != 0 {
            let found = offset(stream.spec()).to_string();
            return setting("action_offset", found, "0: a stream begins with the action of its observation");
        }
        let robots = stream.robots();
        let middle = stream.spec().obs_normalizer.offset.repeat(stream.spec().history);
        (0..robots).try_for_each(|r| stream.begin(r, &middle, NoiseKey::default()))?;
        stream.next(&vec![true; robots], |_, _, _| {})?;
        Ok(StreamController {
            job: Job::new(stream.spec(), robots),
            wanted: vec![false; robots],
            stream,
            pilot,
        })
    }

    /// The actions [robots, action_dim] for observations [robots, obs_dim] of this moment. `now` is the time since whenever the
    /// caller began to count; only [`ControlSpec::max_age_s`] looks at it.
    ///
    /// # Errors
    /// [`ControlError`] for observations of a wrong length, a first observation that is not finite, or if the policy fails for all
    /// robots; the next call begins the trajectories anew. A robot that fails alone is held and begins anew.
    pub fn act(&mut self, obs: &[f32], now: Duration) -> Result<Action<'_>> {
        self.pilot.observe(obs, now)?;
        if self.pilot.due() {
            self.pilot.ask(&mut self.job);
            let request = self.stream.spec().request();
            for r in (0..self.wanted.len()).filter(|r| self.job.wanted[*r]) {
                let begun = self.stream.begin(r, &self.job.obs[r * request..][..request], self.job.noise[r]);
                if let Err(error) = begun {
                    self.pilot.abandon();
                    return Err(error.into());
                }
            }
            // Nothing of the new trajectories is there yet; rows are filled in as they are emitted.
            self.job.chunks.fill(f32::NAN);
            self.pilot.take(&self.job);
        }
        for (r, wanted) in self.wanted.iter_mut().enumerate() {
            *wanted = self.pilot.next_row(r) == Some(self.stream.emitted(r));
        }
        if self.wanted.contains(&true) {
            let pilot = &mut self.pilot;
            let emitted =
                self.stream.next_each(&self.wanted, |robot, row, action| pilot.fill(robot, row, action));
            match emitted {
                Ok(outcomes) => self.job.outcomes.copy_from_slice(outcomes),
                Err(error) => {
                    self.pilot.abandon();
                    return Err(error.into());
                }
            }
            self.job.wanted.copy_from_slice(&self.wanted);
            let alone = !(0..self.wanted.len()).any(|r| self.job.gives(r));
            self.pilot.drop_failed(&self.job);
            if let Some(fault) = self.job.bad_chunk().filter(|_| alone) {
                return Err(fault);
            }
        }
        self.pilot.act()
    }

    /// Lets a robot start anew with its next observation: nothing of its past is remembered. With a seed, its noise starts
    /// anew too, so that an episode can be repeated.
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

    /// The safety gate, if there is one.
    pub fn gate(&self) -> Option<&Gate> {
        self.pilot.gate()
    }

    /// The policy.
    pub fn policy(&self) -> &PolicySpec {
        self.pilot.policy()
    }
}
