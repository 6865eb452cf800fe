//! One dimension: following requests within the limits, always able to stop.
//!
//! Everything is per control step: velocity v = x - x', acceleration a = v - v', jerk j = a - a'. A step chooses the next
//! acceleration; that gives the next velocity and position.

/// Most steps that a stop may take.
const STEPS: usize = 4096;
/// Halvings in the search for the nearest acceleration that is allowed.
const HALVINGS: usize = 40;
/// Slack of comparisons, relative to the size of what is compared: f64 sums of a long stop.
const SLACK: f64 = 1e-9;

/// Where the actions are and how they move.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Motion {
    pub x: f64,
    pub v: f64,
    pub a: f64,
}

impl Motion {
    fn after(self, a: f64) -> Motion {
        let v = self.v + a;
        Motion { x: self.x + v, v, a }
    }
}

/// The state of one dimension of one robot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    pub motion: Motion,
    /// The request before, for its velocity; none after a stop.
    pub request: Option<f64>,
    /// Whether the last request was met exactly.
    pub on_track: bool,
}

/// Limits of one dimension per control step; infinite: none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub velocity: f64,
    pub acceleration: f64,
    pub jerk: f64,
}

/// Limits that a request breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Broken {
    pub velocity: bool,
    pub acceleration: bool,
    pub jerk: bool,
    pub no_room: bool,
}

impl Broken {
    pub(super) fn or(self, other: Broken) -> Broken {
        Broken {
            velocity: self.velocity | other.velocity,
            acceleration: self.acceleration | other.acceleration,
            jerk: self.jerk | other.jerk,
            no_room: self.no_room | other.no_room,
        }
    }

    pub(super) fn rates(self) -> bool {
        self.velocity || self.acceleration || self.jerk
    }
}

impl Axis {
    /// Accelerations that the next step may have.
    fn range(&self, a: f64) -> (f64, f64) {
        ((a - self.jerk).max(-self.acceleration), (a + self.jerk).min(self.acceleration))
    }

    /// The next acceleration of the fastest stop: the one from which reducing it by the jerk limit to 0 ends at velocity
    /// 0, or the nearest to it that is in range.
    fn stop(&self, m: Motion) -> f64 {
        let (low, high) = self.range(m.a);
        (m.v.signum() * -ramp(m.v.abs(), self.jerk)).clamp(low, high)
    }

    /// Whether the fastest stop from here keeps all limits.
    fn can_stop(&self, mut m: Motion) -> bool {
        let slack = |limit: f64| SLACK * limit.abs().max(1e-6);
        let free = self.low == f64::NEG_INFINITY && self.high == f64::INFINITY;
        if free && self.velocity == f64::INFINITY {
            return true;
        }
        let (low, high) = (self.low - slack(self.low), self.high + slack(self.high));
        let velocity = self.velocity * (1.0 + SLACK);
        for _ in 0..STEPS {
            if !(m.x >= low && m.x <= high && m.v.abs() <= velocity) {
                return false;
            }
            // Without a jerk limit the acceleration ends at once.
            if m.v == 0.0 && (m.a == 0.0 || self.jerk == f64::INFINITY) {
                return true;
            }
            m = m.after(self.stop(m));
        }
        false
    }

    /// The limits that meeting a request in one step would break.
    pub(super) fn broken(&self, track: &Track, request: f64) -> Broken {
        let m = track.motion;
        let v = request - m.x;
        let a = v - m.v;
        // Requests are f32: what their rounding does to the differences is not a breach.
        let round = f64::from(f32::EPSILON) * (request.abs() + m.x.abs() + m.v.abs());
        let broken = Broken {
            velocity: v.abs() > self.velocity * (1.0 + SLACK) + round,
            acceleration: a.abs() > self.acceleration * (1.0 + SLACK) + 2.0 * round,
            jerk: (a - m.a).abs() > self.jerk * (1.0 + SLACK) + 4.0 * round,
            no_room: false,
        };
        let (low, high) = self.range(m.a);
        Broken { no_room: !broken.rates() && !self.can_stop(m.after(a.clamp(low, high))), ..broken }
    }

    /// Moves towards a request as the limits allow.
    ///
    /// A request that can be met exactly is, if the one before was: a motion within the limits passes as it is. Otherwise
    /// the motion is brought onto the requests' own motion (their velocity taken to stay as it is) without passing it, so
    /// that a jump is followed once, smoothly, and not overshot again and again.
    pub(super) fn follow(&self, track: &mut Track, request: f64) {
        let m = track.motion;
        let (low, high) = self.range(m.a);
        let meets = request - m.x - m.v;
        let before = track.request.replace(request);
        let met = track.on_track && meets >= low && meets <= high && self.can_stop(m.after(meets));
        let a = match met {
            true => meets,
            false => {
                let speed = before.map_or(0.0, |b| (request - b).clamp(-self.velocity, self.velocity));
                self.approach(m, request, speed)
            }
        };
        track.motion = self.within(m.after(a));
        let slack = f64::from(f32::EPSILON) * (request.abs() + m.v.abs());
        track.on_track = (track.motion.x - request).abs() <= slack;
    }

    /// The first acceleration of the fastest way to ride with a request that moves at `speed`, within the limits.
    fn approach(&self, m: Motion, request: f64, speed: f64) -> f64 {
        let (low, high) = self.range(m.a);
        // Seen from the request: it stands at 0, and the motion comes from below or above.
        let seen = Motion { x: m.x - (request - speed), v: m.v - speed, a: m.a };
        let (floor, ceiling) = match seen.x <= 0.0 {
            true => (f64::NEG_INFINITY, 0.0),
            false => (0.0, f64::INFINITY),
        };
        let slack = SLACK * (m.x.abs() + request.abs()).max(1e-6);
        let beside = Axis { low: floor - slack, high: ceiling + slack, velocity: f64::INFINITY, ..*self };
        let settles = |a: f64| beside.can_stop(seen.after(a));
        let gentle = beside.stop(seen);
        let meets = (request - m.x - m.v).clamp(low, high);
        let wanted = match settles(gentle) {
            true => nearest(gentle, meets, settles),
            false => gentle,
        };
        // Before the search, as far as the limits can be read off.
        let least = low.max(-self.velocity - m.v).max(self.low - m.x - m.v);
        let most = high.min(self.velocity - m.v).min(self.high - m.x - m.v);
        let wanted = if least <= most { wanted.clamp(least, most) } else { wanted };
        nearest(self.stop(m), wanted, |a| self.can_stop(m.after(a)))
    }

    /// Moves on by the fastest stop.
    pub(super) fn brake(&self, track: &mut Track) {
        let m = track.motion;
        *track = Track { motion: self.within(m.after(self.stop(m))), request: None, on_track: false };
    }

    /// Takes off what rounding put past a bound.
    fn within(&self, m: Motion) -> Motion {
        Motion { x: m.x.clamp(self.low, self.high), ..m }
    }
}

/// The allowed value nearest to `wanted` on the way from `sure`, which is allowed.
fn nearest(sure: f64, wanted: f64, allowed: impl Fn(f64) -> bool) -> f64 {
    if allowed(wanted) {
        return wanted;
    }
    let (mut good, mut bad) = (sure, wanted);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (good + bad);
        match allowed(middle) {
            true => good = middle,
            false => bad = middle,
        }
    }
    good
}

/// The a >= 0 for which a + (a - jerk) + (a - 2 jerk) + ... (as long as positive) is `speed`, the velocity that a ramp from
/// a down to 0 takes off.
fn ramp(speed: f64, jerk: f64) -> f64 {
    if speed <= jerk {
        return speed;
    }
    // n: terms after the first. jerk n (n + 1) / 2 < speed <= jerk (n + 1) (n + 2) / 2.
    let n = (((1.0 + 8.0 * speed / jerk).sqrt() - 1.0) / 2.0).ceil() - 1.0;
    (speed + jerk * n * (n + 1.0) / 2.0) / (n + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_take_off_the_speed() {
        for speed in [0.0, 0.3, 1.0, 1.5, 3.0, 3.1, 10.0, 1234.5] {
            let mut a = ramp(speed, 1.0);
            let mut sum = 0.0;
            while a > 0.0 {
                sum += a;
                a -= 1.0;
            }
            assert!((sum - speed).abs() < 1e-9 * (1.0 + speed), "{speed}: {sum}");
        }
        assert_eq!(ramp(7.0, f64::INFINITY), 7.0);
    }

    fn axis() -> Axis {
        Axis { low: -10.0, high: 10.0, velocity: 1.0, acceleration: 0.2, jerk: 0.05 }
    }

    #[test]
    fn stops_end_at_rest() {
        let axis = axis();
        for v in [-1.0, -0.37, 0.0, 0.01, 0.9] {
            let mut m = Motion { x: 0.0, v, a: 0.05 };
            let mut steps = 0;
            while (m.v, m.a) != (0.0, 0.0) {
                let next = axis.stop(m);
                assert!((next - m.a).abs() <= 0.05 + 1e-12 && next.abs() <= 0.2);
                m = m.after(next);
                steps += 1;
                assert!(steps < 100, "{m:?}");
            }
        }
    }

    /// A jump is followed without overshoot and reached; a moving request is caught up with.
    #[test]
    fn jumps_are_followed_once() {
        let axis = axis();
        let mut track = Track { on_track: true, ..Track::default() };
        let mut most: f64 = 0.0;
        for _ in 0..60 {
            axis.follow(&mut track, 5.0);
            most = most.max(track.motion.x);
        }
        assert!(most <= 5.0 + 1e-6 && (track.motion.x - 5.0).abs() < 1e-6, "{most} {track:?}");
        let mut track = Track { on_track: true, ..Track::default() };
        let mut step = 0.0;
        for _ in 0..60 {
            step += 0.1;
            axis.follow(&mut track, -3.0 + step);
        }
        assert!(track.on_track, "{track:?}");
    }

    #[test]
    fn what_is_within_the_limits_passes_as_it_is() {
        let axis = axis();
        let mut track = Track { on_track: true, ..Track::default() };
        for step in 0..200 {
            // Accelerations up to 0.02, jerks up to 0.002.
            let request = 2.0 * (1.0 - (0.1 * f64::from(step)).cos());
            assert_eq!(axis.broken(&track, request), Broken::default(), "{step}");
            axis.follow(&mut track, request);
            assert!((track.motion.x - request).abs() < 1e-12);
        }
    }
}
