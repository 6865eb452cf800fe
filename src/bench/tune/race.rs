//! Several ways of doing the same, timed in turns.

use crate::bench::{BenchError, Times};
use std::time::Instant;

/// Rounds at least, after one of warming up.
const LEAST: usize = 5;
/// Rounds at most: more only fill memory.
const MOST: usize = 10_000;
/// After so many rounds, a way that takes this many times as long as the fastest runs no more.
const BEHIND: (usize, f64) = (2, 2.0);
/// What takes the guess's place is faster by more than this part: less is noise on many machines, and the guess is what all others run.
const MARGIN: f64 = 0.05;

/// Median seconds of each of `ways` ways in about `seconds` seconds. They run in turns, so that clocks and other load meet all
/// alike. `time` runs one and says how long it took; `go_on` hears how far it is (0 to 1) and may stop it.
pub(super) fn race(
    ways: usize,
    seconds: f64,
    mut time: impl FnMut(usize) -> Result<f64, BenchError>,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Vec<f64>, BenchError> {
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
            let medians = medians(&times);
            let fastest = medians.iter().copied().fold(f64::INFINITY, f64::min);
            for (runs, median) in runs.iter_mut().zip(&medians).skip(1) {
                *runs = *median <= BEHIND.1 * fastest;
            }
        }
    }
    Ok(medians(&times))
}

fn medians(times: &[Vec<f64>]) -> Vec<f64> {
    times.iter().map(|t| Times::new(t.clone()).percentile(0.5)).collect()
}

/// The fastest way if it is clearly faster than the first, else the first.
pub(super) fn winner(medians: &[f64]) -> usize {
    let fastest = (0..medians.len()).min_by(|a, b| medians[*a].total_cmp(&medians[*b])).unwrap_or(0);
    match medians.first() {
        Some(guess) if medians[fastest] < (1.0 - MARGIN) * guess => fastest,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_winner_takes_the_guess_s_place() {
        assert_eq!(winner(&[1.0, 0.96, 1.2]), 0);
        assert_eq!(winner(&[1.0, 0.94, 0.5]), 2);
        assert_eq!(winner(&[1.0, f64::NAN]), 0);
        assert_eq!((winner(&[1.0]), winner(&[])), (0, 0));
    }

    #[test]
    fn ways_run_in_turns_and_the_slow_drop_out() {
        let mut order = Vec::new();
        let work = |way| {
            order.push(way);
            Ok([1.0, 0.9, 5.0][way])
        };
        let medians = race(3, 0.0, work, &mut |_| true).unwrap();
        assert_eq!(medians, [1.0, 0.9, 5.0]);
        assert_eq!(order[..9], [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(order[9..], [0, 1, 0, 1, 0, 1], "five rounds after the warm-up");
        let slow_guess = race(2, 0.0, |way| Ok([9.0, 1.0][way]), &mut |_| true).unwrap();
        assert_eq!(winner(&slow_guess), 1);
        let stopped = race(2, 60.0, |_| Ok(1.0), &mut |_| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }
}
