//! How long to measure, and the times found.

use super::BenchError;
use std::time::Instant;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// About this long, seconds.
    pub seconds: f64,
    /// At least so many runs.
    pub least: usize,
}

impl Budget {
    /// Most runs: more only fill memory.
    const MOST: usize = 1_000_000;
    /// Seconds of warming up: long enough for clocks and caches, short for slow devices.
    const WARM_UP: f64 = 0.3;

    /// About so many seconds, and at least five runs.
    pub fn seconds(seconds: f64) -> Budget {
        Budget { seconds, least: 5 }
    }

    /// Warms `work` up, then times it. `go_on` hears after every run how far the measurement is (0 to 1) and may stop it.
    pub fn measure(
        &self,
        mut work: impl FnMut() -> Result<(), BenchError>,
        go_on: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Times, BenchError> {
        let begun = Instant::now();
        loop {
            work()?;
            if !go_on(0.0) {
                return Err(BenchError::Stopped);
            }
            if begun.elapsed().as_secs_f64() >= Self::WARM_UP.min(self.seconds) {
                break;
            }
        }
        let mut ms = Vec::new();
        let begun = Instant::now();
        loop {
            let run = Instant::now();
            work()?;
            ms.push(1e3 * run.elapsed().as_secs_f64());
            let spent = begun.elapsed().as_secs_f64() / self.seconds.max(1e-9);
            let counted = ms.len() as f64 / self.least.max(1) as f64;
            if !go_on(spent.min(counted).min(1.0)) {
                return Err(BenchError::Stopped);
            }
            if (spent >= 1.0 && ms.len() >= self.least) || ms.len() >= Self::MOST {
                break;
            }
        }
        Ok(Times::new(ms))
    }
}

/// Times of single runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    sorted: Vec<f64>,
}

impl Times {
    /// From milliseconds in any order.
    pub fn new(mut ms: Vec<f64>) -> Times {
        ms.sort_by(f64::total_cmp);
        Times { sorted: ms }
    }

    /// The time of one part, of runs of so many parts each.
    pub fn of_each(&self, parts: f64) -> Times {
        Times { sorted: self.sorted.iter().map(|ms| ms / parts).collect() }
    }

    /// How many there are.
    pub fn runs(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest time that at least this fraction of the runs did not exceed, milliseconds; 0 gives the fastest,
    /// 0.5 the median (of an even number, the mean of the middle two). NaN if there is none.
    pub fn percentile(&self, fraction: f64) -> f64 {
        let n = self.sorted.len();
        let at = |i: usize| self.sorted.get(i).copied().unwrap_or(f64::NAN);
        if fraction == 0.5 && n.is_multiple_of(2) && n > 0 {
            return 0.5 * (at(n / 2 - 1) + at(n / 2));
        }
        at(((fraction * n as f64).ceil() as usize).clamp(1, n.max(1)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_rank() {
        let times = Times::new((1..=200).rev().map(f64::from).collect());
        assert_eq!(times.percentile(0.0), 1.0);
        assert_eq!(times.percentile(0.5), 100.5);
        assert_eq!(times.percentile(0.99), 198.0);
        assert_eq!(Times::new(vec![3.0]).percentile(0.99), 3.0);
        assert!(Times::new(vec![]).percentile(0.5).is_nan());
    }

    #[test]
    fn at_least_so_many_runs_and_it_can_be_stopped() {
        let mut runs = 0;
        let budget = Budget { seconds: 0.0, least: 5 };
        let work = || {
            runs += 1;
            Ok(())
        };
        let times = budget.measure(work, &mut |_| true).unwrap();
        assert_eq!((times.runs(), runs), (5, 6), "five measured, one warm-up");
        let stopped = Budget::seconds(60.0).measure(|| Ok(()), &mut |_| false);
        assert!(matches!(stopped, Err(BenchError::Stopped)));
    }
}
