//! Several ways of doing the same, timed in turns.

use crate::bench::{BenchError, Times};
use crate::device::Device;
use crate::graph::{Plan, Session};
use std::time::Instant;

/// Rounds at least, after one of warming up.
const LEAST: usize = 5;
/// Rounds at most: more only fill memory.
const MOST: usize = 10_000;
/// After so many rounds, a way whose shortest run takes this many times as long as the shortest of all runs no more.
const BEHIND: (usize, f64) = (2, 2.0);
/// What takes the guess's place is faster by more than this part: less is noise on many machines, and the guess is what all others run.
const MARGIN: f64 = 0.05;

/// The runs of one way, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timing {
    pub(super) median: f64,
    pub(super) least: f64,
}

impl Timing {
    fn of(times: &[f64]) -> Timing {
        let times = Times::new(times.to_vec());
        Timing { median: times.percentile(0.5), least: times.percentile(0.0) }
    }

    /// Whether it is clearly faster: other load lengthens a median, but hardly every run.
    fn beats(&self, other: &Timing) -> bool {
        let clearly = |a: f64, b: f64| a < (1.0 - MARGIN) * b;
        clearly(self.median, other.median) && clearly(self.least, other.least)
    }
}

/// The times of `ways` ways, measured in about `seconds` seconds. They run in turns, so that clocks and other load meet all
/// alike. `time` runs one and says how long it took; `go_on` hears how far it is (0 to 1) and may stop it.
pub(super) fn race(
    ways: usize,
    seconds: f64,
    mut time: impl FnMut(usize) -> Result<f64, BenchError>,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Vec<Timing>, BenchError> {
    let mut times = vec![Vec::new(); ways];
    let mut runs = vec![true; ways];
    let begun = Instant::now();
    for round in 0..=MOST {
        let spent = begun.elapsed().as_secs_f64() / seconds.max(1e-9);
        if spent >= 1.0 && round > LEAST {
            break;
        }
        for way in 0..ways {
            if !go_on(spent.min(round as f64 / LEAST as f64).min(1.0)) {
                return Err(BenchError::Stopped);
            }
            if runs[way] {
                let taken = time(way)?;
                if round > 0 {
                    times[way].push(taken);
                }
            }
        }
        if round == BEHIND.0 {
            let least: Vec<f64> = times.iter().map(|t| Timing::of(t).least).collect();
            let fastest = least.iter().copied().fold(f64::INFINITY, f64::min);
            // The guess runs on: the others are compared with it.
            for (runs, least) in runs.iter_mut().zip(&least).skip(1) {
                *runs = *least <= BEHIND.1 * fastest;
            }
        }
    }
    Ok(times.iter().map(|t| Timing::of(t)).collect())
}

/// As [`race`] for the phases of a plan by the device's clock, after its first one, which fills the operands.
pub(super) fn race_phases(
    device: &Device,
    plan: Plan,
    seconds: f64,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Vec<Timing>, BenchError> {
    let ways = plan.phases.len() - 1;
    let mut session = Session::new(device, plan)?;
    session.run(&[0])?;
    let time = |way: usize| {
        let profile = session.profile(&[way + 1], 1)?;
        Ok(profile.commands.iter().map(|c| c.median).sum())
    };
    race(ways, seconds, time, go_on)
}

/// The fastest of the ways that are clearly faster than the first; the first if none is.
pub(super) fn winner(timings: &[Timing]) -> usize {
    let clear = timings.iter().enumerate().filter(|(_, timing)| timing.beats(&timings[0]));
    clear.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median)).map_or(0, |(way, _)| way)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(seconds: f64) -> Timing {
        Timing { median: seconds, least: seconds }
    }

    #[test]
    fn only_a_clear_winner_takes_the_guess_s_place() {
        let winner_of = |seconds: &[f64]| winner(&seconds.iter().map(|s| steady(*s)).collect::<Vec<_>>());
        assert_eq!(winner_of(&[1.0, 0.96, 1.2]), 0);
        assert_eq!(winner_of(&[1.0, 0.94, 0.5]), 2);
        assert_eq!(winner_of(&[1.0, f64::NAN]), 0);
        assert_eq!((winner_of(&[1.0]), winner_of(&[])), (0, 0));
        // The guess met other load: its shortest run is as short as any.
        assert_eq!(winner(&[Timing { median: 9.0, least: 1.0 }, steady(1.0)]), 0);
    }

    #[test]
    fn ways_run_in_turns_and_the_slow_drop_out() {
        let mut order = Vec::new();
        let work = |way| {
            order.push(way);
            Ok([1.0, 0.9, 5.0][way])
        };
        let timings = race(3, 0.0, work, &mut |_| true).unwrap();
        assert_eq!(timings, [1.0, 0.9, 5.0].map(steady));
        assert_eq!(order[..9], [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(order[9..], [0, 1, 0, 1, 0, 1], "five rounds after the warm-up");
        let slow_guess = race(2, 0.0, |way| Ok([9.0, 1.0][way]), &mut |_| true).unwrap();
        assert_eq!(winner(&slow_guess), 1);
        let stopped = race(2, 60.0, |_| Ok(1.0), &mut |_| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }
}
