//! The safety gate: what leaves is finite and within the limits, whatever comes in.
//!
//! For each dimension of each robot the gate knows how the actions sent so far move: position x, velocity v = x - x',
//! acceleration a = v - v', each per control step, from the sent actions themselves. It sends only actions from which the
//! motion can still be brought to rest within all the limits (`axis.rs`), so limits never come into conflict: from any
//! state that the gate can be in there is a next action that respects every one of them, and the gate knows it. That
//! action, the first of the shortest stop, is also what a hold sends.
//!
//! The guarantee: every action is finite and within the bounds, exactly; velocity, acceleration and jerk of the sent actions
//! are within their limits up to the rounding of actions to f32. It begins at the start position (see [`Gate::start`]),
//! which is moved into the bounds if it lies outside, at rest.
//!
//! Angles ([`Gate::with_angles`]) move by the shorter way round: what is limited is how far the joint turns, not how far the
//! number jumps where it is cut (`turning.rs`).

mod axis;
mod fit;
#[cfg(test)]
mod tests;
mod turning;

pub use fit::FitOptions;

use super::error::expect;
use super::{ControlError, Result};
use crate::policy::Angles;
use axis::{Axis, Motion, Track};
use serde::{Deserialize, Serialize};
use turning::Turning;

/// What the gate does about an action beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Sends what is nearest within the limits.
    Clamp,
    /// Holds the robot, all of its dimensions: stops it as fast as the limits allow.
    Hold,
}

/// Limits per action dimension, in the units of the actions and seconds. An empty list: no such limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetySpec {
    /// Control steps per second.
    pub rate_hz: f64,
    /// Least values. Of an angle, `low` and `high` are both ends of the arc that is allowed, the way from `low` up to `high`; a turn or
    /// more: all of it.
    #[serde(default)]
    pub low: Vec<f32>,
    /// Greatest values.
    #[serde(default)]
    pub high: Vec<f32>,
    /// Largest change per second.
    #[serde(default)]
    pub velocity: Vec<f32>,
    /// Largest change of the velocity, per second squared.
    #[serde(default)]
    pub acceleration: Vec<f32>,
    /// Largest change of the acceleration, per second cubed.
    #[serde(default)]
    pub jerk: Vec<f32>,
    /// About actions outside `low` to `high`.
    #[serde(default = "hold")]
    pub outside: Reaction,
    /// About actions that the velocity, acceleration or jerk limits do not allow.
    #[serde(default = "clamp")]
    pub too_fast: Reaction,
}

fn hold() -> Reaction {
    Reaction::Hold
}

fn clamp() -> Reaction {
    Reaction::Clamp
}

impl SafetySpec {
    /// No limits yet: only what is not finite is held.
    pub fn new(rate_hz: f64) -> SafetySpec {
        SafetySpec {
            rate_hz,
            low: Vec::new(),
            high: Vec::new(),
            velocity: Vec::new(),
            acceleration: Vec::new(),
            jerk: Vec::new(),
            outside: hold(),
            too_fast: clamp(),
        }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// [`ControlError`] if a list has another length than `action_dim`, or a limit is not a positive number.
    pub fn check(&self, action_dim: usize) -> Result<()> {
        let setting = |what, found: String, needed: &str| {
            Err(ControlError::Setting { what, found, needed: needed.into() })
        };
        if !(self.rate_hz > 0.0 && self.rate_hz <= 1e6) {
            return setting("safety.rate_hz", self.rate_hz.to_string(), "above 0, up to 1e6");
        }
        for (what, limits) in [
            ("safety.low", &self.low),
            ("safety.high", &self.high),
            ("safety.velocity", &self.velocity),
            ("safety.acceleration", &self.acceleration),
            ("safety.jerk", &self.jerk),
        ] {
            if !limits.is_empty() {
                expect(what, limits.len(), action_dim)?;
            }
            let rate = !what.ends_with("low") && !what.ends_with("high");
            if let Some(bad) = limits.iter().find(|v| !v.is_finite() || rate && **v <= 0.0) {
                let needed = if rate { "finite values above 0" } else { "finite values" };
                return setting(what, bad.to_string(), needed);
            }
        }
        if let Some((low, high)) = self.low.iter().zip(&self.high).find(|(low, high)| low > high) {
            return setting("safety.low and high", format!("{low} and {high}"), "low at most high");
        }
        Ok(())
    }

    fn axis(&self, d: usize) -> Axis {
        let of = |limits: &[f32], per_second: i32, none: f64| {
            limits.get(d).map_or(none, |v| f64::from(*v) / self.rate_hz.powi(per_second))
        };
        Axis {
            low: of(&self.low, 0, f64::NEG_INFINITY),
            high: of(&self.high, 0, f64::INFINITY),
            velocity: of(&self.velocity, 1, f64::INFINITY),
            acceleration: of(&self.acceleration, 2, f64::INFINITY),
            jerk: of(&self.jerk, 3, f64::INFINITY),
        }
    }
}

/// What the gate did with an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It left as it came.
    Passed,
    /// Something within the limits left in its place.
    Clamped,
    /// The robot is being stopped, or stands.
    Held,
}

/// What the gate saw: each counts actions of one robot, by each limit that any of their dimensions broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GateCounts {
    /// Left as they came.
    pub passed: u64,
    /// Changed.
    pub clamped: u64,
    /// Held by the gate, or at the controller's wish.
    pub held: u64,
    /// NaN or infinite.
    pub not_finite: u64,
    /// Outside the bounds.
    pub outside: u64,
    /// Beyond the velocity limit.
    pub velocity: u64,
    /// Beyond the acceleration limit.
    pub acceleration: u64,
    /// Beyond the jerk limit.
    pub jerk: u64,
    /// Within all the limits, but leaving no room to stop.
    pub no_room: u64,
}

/// The gate of some robots.
#[derive(Clone, Debug)]
pub struct Gate {
    axes: Vec<Axis>,
    /// Of each dimension, what makes it an angle that is cut.
    turning: Vec<Option<Turning>>,
    low: Vec<f32>,
    high: Vec<f32>,
    outside: Reaction,
    too_fast: Reaction,
    robots: usize,
    /// [robots, action_dim].
    tracks: Vec<Track>,
    started: Vec<bool>,
    counts: GateCounts,
}

impl Gate {
    /// A gate for so many robots.
    ///
    /// # Errors
    /// As [`SafetySpec::check`].
    pub fn new(spec: &SafetySpec, action_dim: usize, robots: usize) -> Result<Gate> {
        spec.check(action_dim)?;
        let or = |limits: &[f32], none: f32| match limits.is_empty() {
            true => vec![none; action_dim],
            false => limits.to_vec(),
        };
        Ok(Gate {
            axes: (0..action_dim).map(|d| spec.axis(d)).collect(),
            turning: vec![None; action_dim],
            // f32::MAX rather than infinity: what leaves is finite even where there are no bounds.
            low: or(&spec.low, f32::MIN),
            high: or(&spec.high, f32::MAX),
            outside: spec.outside,
            too_fast: spec.too_fast,
            robots,
            tracks: vec![Track::default(); robots * action_dim],
            started: vec![false; robots],
            counts: GateCounts::default(),
        })
    }

    /// The same gate, with what a policy says of its actions' angles. Angles that count turns have no cut, and are numbers like others.
    ///
    /// # Errors
    /// [`ControlError::Setting`] for bounds of an angle that are a turn or more apart, of which one lies within the turn of its numbers.
    pub fn with_angles(mut self, angles: &Angles) -> Result<Gate> {
        let turn = angles.unit.turn();
        for angle in &angles.action {
            let (Some(centre), Some(axis)) = (angle.centre, self.axes.get_mut(angle.dim)) else { continue };
            let turning = Turning::new(turn, centre.into(), [axis.low, axis.high]).ok_or_else(|| {
                let (what, dim) = ("safety.low and high", angle.dim);
                let found =
                    format!("{} and {} of action {dim}, an angle about {centre}", axis.low, axis.high);
                let needed = format!(
                    "an arc of less than a turn ({turn:.7}), or both bounds at the turn's ends or beyond"
                );
                ControlError::Setting { what, found, needed }
            })?;
            if turning.is_free() {
                (axis.low, axis.high) = (f64::NEG_INFINITY, f64::INFINITY);
                (self.low[angle.dim], self.high[angle.dim]) = (f32::MIN, f32::MAX);
            }
            self.turning[angle.dim] = Some(turning);
        }
        Ok(self)
    }

    /// What happened so far.
    pub fn counts(&self) -> GateCounts {
        self.counts
    }

    /// Says where a robot stands, at rest, in the terms of its actions. Values outside the bounds count as on them, values
    /// that are not finite as the nearest to 0 within them.
    ///
    /// # Errors
    /// For a robot that does not exist or a wrong length.
    pub fn start(&mut self, robot: usize, at: &[f32]) -> Result<()> {
        self.check(robot, at)?;
        let n = self.axes.len();
        for (d, (track, at)) in self.tracks[robot * n..][..n].iter_mut().zip(at).enumerate() {
            let at = if at.is_finite() { *at } else { 0.0 };
            let at = self.turning[d].as_ref().map_or(at, |turning| turning.enter(at));
            let x = f64::from(at.clamp(self.low[d], self.high[d]));
            *track = Track { motion: Motion { x, ..Motion::default() }, request: None, on_track: true };
        }
        self.started[robot] = true;
        Ok(())
    }

    /// Replaces a robot's action by one within the limits. A robot's first action says where it starts, unless
    /// [`Gate::start`] did.
    ///
    /// # Errors
    /// For a robot that does not exist or a wrong length; `action` is then as it was.
    pub fn apply(&mut self, robot: usize, action: &mut [f32]) -> Result<Verdict> {
        self.check(robot, action)?;
        if !self.started[robot] {
            self.start(robot, action)?;
        }
        if action.iter().any(|v| !v.is_finite()) {
            self.counts.not_finite += 1;
            self.brake(robot, action);
            return Ok(Verdict::Held);
        }
        let n = self.axes.len();
        for (d, value) in action.iter_mut().enumerate() {
            if let Some(turning) = &self.turning[d] {
                *value = turning.enter(*value);
            }
        }
        let outside = (0..n).any(|d| !(self.low[d]..=self.high[d]).contains(&action[d]));
        self.counts.outside += u64::from(outside);
        if outside && self.outside == Reaction::Hold {
            self.brake(robot, action);
            return Ok(Verdict::Held);
        }
        let tracks = &mut self.tracks[robot * n..][..n];
        let mut broken = axis::Broken::default();
        for (d, track) in tracks.iter_mut().enumerate() {
            let request = f64::from(action[d].clamp(self.low[d], self.high[d]));
            if let Some(turning) = &self.turning[d] {
                turning.beside(track, request);
            }
        }
        for d in 0..n {
            let request = f64::from(action[d].clamp(self.low[d], self.high[d]));
            broken = broken.or(self.axes[d].broken(&tracks[d], request));
        }
        self.counts.velocity += u64::from(broken.velocity);
        self.counts.acceleration += u64::from(broken.acceleration);
        self.counts.jerk += u64::from(broken.jerk);
        self.counts.no_room += u64::from(broken.no_room && !broken.rates());
        if (broken.rates() || broken.no_room) && self.too_fast == Reaction::Hold {
            self.brake(robot, action);
            return Ok(Verdict::Held);
        }
        let mut changed = outside;
        for d in 0..n {
            let request = action[d].clamp(self.low[d], self.high[d]);
            self.axes[d].follow(&mut tracks[d], f64::from(request));
            action[d] = (tracks[d].motion.x as f32).clamp(self.low[d], self.high[d]);
            changed |= action[d] != request;
            if let Some(turning) = &self.turning[d] {
                action[d] = turning.leave(action[d]);
            }
        }
        match changed {
            true => self.counts.clamped += 1,
            false => self.counts.passed += 1,
        }
        Ok(if changed { Verdict::Clamped } else { Verdict::Passed })
    }

    /// Stops a robot as fast as the limits allow, or keeps it where it is; writes the action that does it. A robot that
    /// was never started stands at `action`.
    ///
    /// # Errors
    /// For a robot that does not exist or a wrong length.
    pub fn stop(&mut self, robot: usize, action: &mut [f32]) -> Result<()> {
        self.check(robot, action)?;
        if !self.started[robot] {
            self.start(robot, action)?;
        }
        self.brake(robot, action);
        Ok(())
    }

    fn brake(&mut self, robot: usize, action: &mut [f32]) {
        self.counts.held += 1;
        let n = self.axes.len();
        for (d, track) in self.tracks[robot * n..][..n].iter_mut().enumerate() {
            self.axes[d].brake(track);
            action[d] = (track.motion.x as f32).clamp(self.low[d], self.high[d]);
            if let Some(turning) = &self.turning[d] {
                action[d] = turning.leave(action[d]);
            }
        }
    }

    fn check(&self, robot: usize, action: &[f32]) -> Result<()> {
        if robot >= self.robots {
            return Err(ControlError::Robot { found: robot, robots: self.robots });
        }
        expect("an action at the gate", action.len(), self.axes.len())
    }
}
