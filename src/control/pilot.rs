//! What both controllers share: who needs a new chunk when, and which rows of which chunks are the action now. No threads
//! and no clocks: time is what the caller says, progress is what the robots executed.

use super::action::{Action, Counts, Kind};
use super::delay::Delays;
use super::error::expect;
use super::history::History;
use super::job::Job;
use super::robot::{Newest, Robot, Rows, robot_seed};
use super::safety::{Gate, SafetySpec, Verdict};
use super::spec::{ControlSpec, Hold, Mode, offset, reach};
use super::{ControlError, Result};
use crate::policy::{NoiseKey, PolicySpec};
use std::time::Duration;

pub(super) struct Pilot {
    policy: PolicySpec,
    spec: ControlSpec,
    rows: Rows,
    robots: Vec<Robot>,
    history: History,
    delays: Delays,
    gate: Option<Gate>,
    tick: u64,
    now: Duration,
    /// The action sent last, [robots, action_dim].
    values: Vec<f32>,
    kinds: Vec<Kind>,
    taken: Option<usize>,
    /// The longest delay that the source can be told of.
    max_delay: Option<usize>,
    pub(super) counts: Counts,
    /// What went wrong last.
    pub(super) fault: Option<ControlError>,
}

fn gate(spec: &SafetySpec, policy: &PolicySpec, robots: usize) -> Result<Gate> {
    let gate = Gate::new(spec, policy.action_dim, robots)?;
    match &policy.angles {
        Some(angles) => gate.with_angles(angles),
        None => Ok(gate),
    }
}

impl Pilot {
    /// Flies so many robots of a policy whose source can be told of delays up to `max_delay`.
    pub(super) fn new(
        policy: &PolicySpec,
        robots: usize,
        max_delay: Option<usize>,
        spec: &ControlSpec,
    ) -> Result<Pilot> {
        if robots == 0 {
            let found = "0".into();
            return Err(ControlError::Setting { what: "robots", found, needed: "at least 1".into() });
        }
        spec.check(policy)?;
        if let Some(most) = max_delay
            && spec.mode == Mode::RealTime
            && spec.delay as i64 - offset(policy) > most as i64
        {
            let needed = format!(
                "at most {}: the policy continues prefixes of up to {most} actions",
                most as i64 + offset(policy)
            );
            return Err(ControlError::Setting { what: "delay", found: spec.delay.to_string(), needed });
        }
        // As many chunks as can have an action for the same step, and those that begin later.
        let most = match spec.mode {
            Mode::Ensemble { .. } => policy.horizon.div_ceil(spec.execute),
            Mode::Receding | Mode::RealTime => 1,
        } + offset(policy).max(0) as usize / spec.execute
            + 1;
        Ok(Pilot {
            rows: Rows { horizon: policy.horizon, action_dim: policy.action_dim, offset: offset(policy) },
            robots: (0..robots).map(|number| Robot::new(robot_seed(spec.seed, number), most)).collect(),
            history: History::new(robots, policy.history, policy.obs_dim),
            delays: Delays::new(spec.delay, spec.delays),
            gate: spec.safety.as_ref().map(|s| gate(s, policy, robots)).transpose()?,
            tick: 0,
            now: Duration::ZERO,
            values: vec![0.0; robots * policy.action_dim],
            kinds: vec![Kind::Hold; robots],
            taken: None,
            max_delay,
            counts: Counts::default(),
            fault: None,
            policy: policy.clone(),
            spec: spec.clone(),
        })
    }

    pub(super) fn policy(&self) -> &PolicySpec {
        &self.policy
    }

    pub(super) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    pub(super) fn expected_delay(&self) -> usize {
        self.delays.expected()
    }

    /// Calls of act that are over.
    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    /// Begins a call: observations [robots, obs_dim] of this moment. A robot whose observation is not finite is not seen.
    ///
    /// # Errors
    /// For a wrong length, or a robot of which nothing is known yet and whose observation says nothing either. Nothing has
    /// changed then.
    pub(super) fn observe(&mut self, obs: &[f32], now: Duration) -> Result<()> {
        let (dim, robots) = (self.policy.obs_dim, self.robots.len());
        expect("observations", obs.len(), robots * dim)?;
        let fault = |robot: usize, element: usize| ControlError::Observation {
            robot,
            element,
            value: obs[robot * dim + element],
        };
        let bad = |r: usize| obs[r * dim..][..dim].iter().position(|v| !v.is_finite());
        if matches!(self.spec.hold, Hold::Last { .. }) {
            let lost = (0..robots).filter(|r| !self.robots[*r].placed);
            if let Some((r, element)) = lost.filter_map(|r| Some((r, bad(r)?))).next() {
                return Err(fault(r, element));
            }
        }
        self.now = self.now.max(now);
        self.taken = None;
        for r in 0..robots {
            let (robot, obs) = (&mut self.robots[r], &obs[r * dim..][..dim]);
            let bad = bad(r);
            robot.sees = bad.is_none();
            if !robot.placed {
                // Nothing was sent yet: the robot stands where holding would have it.
                let start = &mut self.values[r * self.rows.action_dim..][..self.rows.action_dim];
                match &self.spec.hold {
                    Hold::Fixed { action } => start.copy_from_slice(action),
                    Hold::Last { from } => start.iter_mut().zip(from).for_each(|(v, &d)| *v = obs[d]),
                }
                if let Some(gate) = &mut self.gate {
                    gate.start(r, start)?;
                }
                robot.placed = true;
            }
            match bad {
                None => self.history.push(r, obs),
                Some(element) => {
                    self.counts.bad_observations += 1;
                    self.fault = Some(fault(r, element));
                }
            }
        }
        Ok(())
    }

    /// The oldest observation that still counts.
    fn oldest(&self) -> Duration {
        let age = self.spec.max_age_s.and_then(|age| Duration::try_from_secs_f64(age).ok());
        age.map_or(Duration::ZERO, |age| self.now.saturating_sub(age))
    }

    /// Whether a robot's observation should be handed over now.
    fn robot_due(&self, robot: &Robot) -> bool {
        if !robot.sees || robot.waits {
            return false;
        }
        // What the gate refuses, no waiting mends: the robot stands, and a newer observation may say something else.
        let Some(asked) = robot.asked.filter(|_| !robot.refused) else { return true };
        // Early enough that the running chunk lasts until the next is there.
        let latest = (reach(&self.policy) - self.delays.expected() as i64).max(1) as u64;
        let stands = !robot.has_action(self.rows, self.oldest()) && !robot.begins_later(self.rows);
        stands || robot.executed - asked >= latest.min(self.spec.execute as u64)
    }

    /// Whether a request should be made now.
    pub(super) fn due(&self) -> bool {
        self.robots.iter().any(|robot| self.robot_due(robot))
    }

    /// Writes the request of this moment.
    pub(super) fn ask(&mut self, job: &mut Job) {
        let (horizon, dim, chunk) = (self.rows.horizon, self.rows.action_dim, self.policy.chunk());
        job.obs.copy_from_slice(self.history.rows());
        job.tick = self.tick;
        job.seen_at = self.now;
        job.continues = false;
        let expected = self.delays.expected() as i64 - self.rows.offset;
        // A source that was trained for shorter delays continues as much as it can; what is beyond may jump.
        let delay = expected.min(self.max_delay.map_or(i64::MAX, |most| most as i64));
        for r in 0..self.robots.len() {
            let wanted = self.robot_due(&self.robots[r]);
            let robot = &mut self.robots[r];
            job.wanted[r] = wanted;
            job.epoch[r] = robot.epoch;
            job.born[r] = robot.executed;
            job.noise[r] = NoiseKey { seed: robot.seed, request: robot.requests };
            (job.left[r], job.delay[r]) = (0, 0);
            (job.running[r], job.refused[r]) = (robot.running().is_some(), robot.refused);
            if !wanted {
                continue;
            }
            robot.requests += 1;
            robot.asked = Some(robot.executed);
            robot.waits = true;
            // What the gate refused must not be continued: it would be refused again.
            let continues = self.spec.mode == Mode::RealTime && !robot.refused;
            let Some(running) = robot.running().filter(|_| continues) else { continue };
            // Row i of the new chunk is for the same step as row i + passed of the running one.
            let passed = (robot.executed - running.born) as usize;
            if passed < horizon {
                let rows = &running.values[passed * dim..];
                job.previous[r * chunk..][..rows.len()].copy_from_slice(rows);
                job.left[r] = horizon - passed;
                job.delay[r] = delay.clamp(0, job.left[r] as i64) as usize;
                job.continues = true;
                self.counts.beyond_prefix += u64::from(delay < expected.min(job.left[r] as i64));
            }
        }
    }

    /// Takes over the chunks of a request. Rows that are past are skipped by what was executed since the observation.
    pub(super) fn take(&mut self, job: &Job) {
        let calls = self.tick - job.tick;
        let mut late = None;
        self.counts.chunks += 1;
        if let Some(fault) = job.bad_chunk() {
            self.counts.failures += 1;
            self.fault = Some(fault);
        }
        let (chunk, reach) = (self.policy.chunk(), reach(&self.policy));
        for (r, robot) in self.robots.iter_mut().enumerate() {
            if !job.wanted[r] || job.epoch[r] != robot.epoch {
                continue;
            }
            robot.waits = false;
            let consumed = robot.executed - job.born[r];
            // A robot with nothing to execute shows how many actions it would have executed meanwhile.
            late = late.max(Some(if job.running[r] { consumed } else { calls }));
            if !job.gives(r) {
                robot.asked = None;
                continue;
            }
            if consumed as i64 >= reach {
                self.counts.expired += 1;
                continue;
            }
            self.taken = self.taken.max(Some(consumed as usize));
            if job.refused[r] {
                robot.forget_chunks();
            }
            robot.push(&job.chunks[r * chunk..][..chunk], job.born[r], job.seen_at);
        }
        if let Some(late) = late {
            self.delays.push(late as usize);
            self.counts.longest_delay = self.counts.longest_delay.max(late as usize);
        }
    }

    /// A request that came to nothing: its robots ask again.
    pub(super) fn failed(&mut self) {
        self.counts.failures += 1;
        for robot in self.robots.iter_mut().filter(|robot| robot.waits) {
            robot.waits = false;
            robot.asked = None;
        }
    }

    /// The row of its newest chunk that a robot executes next, if it moves on in this call.
    pub(super) fn next_row(&self, robot: usize) -> Option<usize> {
        let robot = &self.robots[robot];
        let row = (robot.executed - robot.running()?.born) as usize;
        (robot.sees && row < self.rows.horizon).then_some(row)
    }

    /// An action of a robot's newest chunk that has come.
    pub(super) fn fill(&mut self, robot: usize, row: usize, action: &[f32]) {
        self.robots[robot].fill(row, action);
    }

    /// A chunk that cannot be gone on with: every robot asks anew.
    pub(super) fn abandon(&mut self) {
        self.counts.failures += 1;
        self.robots.iter_mut().for_each(Robot::abandon);
    }

    /// The robots whose trajectories cannot be gone on with ask anew.
    pub(super) fn drop_failed(&mut self, job: &Job) {
        let Some(fault) = job.bad_chunk() else { return };
        self.counts.failures += 1;
        self.fault = Some(fault);
        for (r, robot) in self.robots.iter_mut().enumerate() {
            if job.wanted[r] && !job.gives(r) {
                robot.abandon();
            }
        }
    }

    /// The actions of this call.
    pub(super) fn act(&mut self) -> Result<Action<'_>> {
        let (dim, oldest) = (self.rows.action_dim, self.oldest());
        for (r, robot) in self.robots.iter_mut().enumerate() {
            let values = &mut self.values[r * dim..][..dim];
            let found = match robot.sees {
                true => robot.action(self.spec.mode, self.rows, oldest, values),
                false => None,
            };
            // A robot moves on in its chunk by executing it, or, having nothing to execute, by waiting for one that begins later.
            let waits_for_start = robot.begins_later(self.rows) && !robot.has_action(self.rows, oldest);
            let mut kind = match &found {
                None => Kind::Hold,
                Some(Newest(true)) if !robot.waits => Kind::Fresh,
                Some(_) => Kind::Previous,
            };
            if let (Kind::Hold, Hold::Fixed { action }) = (kind, &self.spec.hold) {
                values.copy_from_slice(action);
            }
            if let Some(gate) = &mut self.gate {
                match (kind, &self.spec.hold) {
                    (Kind::Hold, Hold::Last { .. }) => gate.stop(r, values)?,
                    _ => {
                        if gate.apply(r, values)? == Verdict::Held {
                            kind = Kind::Hold;
                        }
                    }
                }
            }
            *match kind {
                Kind::Fresh => &mut self.counts.fresh,
                Kind::Previous => &mut self.counts.previous,
                Kind::Hold => &mut self.counts.held,
            } += 1;
            // What the gate refused was not executed: the same row is next.
            let executed = found.is_some() && kind != Kind::Hold;
            robot.refused = found.is_some() && !executed || robot.refused && found.is_none();
            robot.executed += u64::from(executed || waits_for_start);
            self.kinds[r] = kind;
        }
        self.tick += 1;
        self.counts.ticks += 1;
        let kind = self.kinds.iter().copied().min().unwrap_or(Kind::Hold);
        Ok(Action { values: &self.values, kind, kinds: &self.kinds, delay: self.taken })
    }

    /// Forgets a robot's past: it starts anew with its next observation. With a seed, its noise starts anew too.
    pub(super) fn reset(&mut self, number: usize, seed: Option<u64>) -> Result<()> {
        let robots = self.robots.len();
        let robot = self.robots.get_mut(number).ok_or(ControlError::Robot { found: number, robots })?;
        robot.reset();
        if let Some(seed) = seed {
            robot.seed = robot_seed(seed, number);
            robot.requests = 0;
        }
        self.history.forget(number);
        Ok(())
    }
}
