//! An angle that is cut: which of its numbers the gate reckons with, and which it sends.
//!
//! Bounds of less than a turn are an arc with two ends: the joint goes from one to the other within it, the long way too, and
//! numbers are taken around its middle. Without bounds, or with a turn or more, every direction is allowed, and the joint goes the
//! shorter way round: what it is asked for is the number that is less than half a turn away.

use super::axis::Track;
use crate::policy::angles::wrapped;

/// One dimension that is an angle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turning {
    turn: f64,
    /// The middle of the numbers that leave.
    centre: f64,
    /// The middle of the arc that is allowed; none: all of the turn is.
    arc: Option<f64>,
}

impl Turning {
    /// None for bounds that say nothing of a direction: a turn or more apart, but one of them within the turn.
    pub(super) fn new(turn: f64, centre: f64, [low, high]: [f64; 2]) -> Option<Turning> {
        let arc = (high - low < turn).then_some(0.5 * (low + high));
        let slack = 0.02 * turn;
        let beyond = low <= centre - 0.5 * turn + slack && high >= centre + 0.5 * turn - slack;
        (arc.is_some() || beyond || high - low <= turn + slack).then_some(Turning { turn, centre, arc })
    }

    /// Whether every direction is allowed.
    pub(super) fn is_free(&self) -> bool {
        self.arc.is_none()
    }

    /// The number that the gate reckons with.
    pub(super) fn enter(&self, x: f32) -> f32 {
        self.put(x, self.arc.unwrap_or(self.centre))
    }

    /// The number that leaves.
    pub(super) fn leave(&self, x: f32) -> f32 {
        self.put(x, self.centre)
    }

    /// What lies in the turn already stays bit for bit.
    fn put(&self, x: f32, centre: f64) -> f32 {
        let wide = f64::from(x);
        match (wide - centre).abs() <= 0.5 * self.turn || !x.is_finite() {
            true => x,
            false => wrapped(wide, centre, self.turn) as f32,
        }
    }

    /// Counts the motion so far in the turn that lies nearest to a request, and the request before in the turn nearest to it.
    pub(super) fn beside(&self, track: &mut Track, request: f64) {
        if self.is_free() {
            // Where a joint is on its way, the shorter way is seen from where it would be next.
            let next = track.motion.x + track.motion.v;
            track.motion.x += wrapped(next, request, self.turn) - next;
            track.request = track.request.map(|before| wrapped(before, request, self.turn));
        }
    }
}
