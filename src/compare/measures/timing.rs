//! Latency of one chunk and throughput of many.

use crate::compare::Result;
use std::time::{Duration, Instant};

/// Requests that a latency is the median of, at most.
const REQUESTS: usize = 64;
/// How long a latency may be measured for.
const LATENCY: Duration = Duration::from_millis(300);

/// Median time of one request in milliseconds; `request` is told its number. The first is a warm-up.
pub fn latency_ms(mut request: impl FnMut(u64) -> Result<()>) -> Result<f64> {
    request(0)?;
    let begin = Instant::now();
    let mut times = Vec::with_capacity(REQUESTS);
    while times.is_empty() || (times.len() < REQUESTS && begin.elapsed() < LATENCY) {
        let start = Instant::now();
        request(times.len() as u64)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e3)
}

/// What a pass of a batch gives, and the shorter of the times of two, in seconds.
pub fn pass_s<T>(mut pass: impl FnMut() -> Result<T>) -> Result<(T, f64)> {
    let mut timed = || {
        let start = Instant::now();
        pass().map(|found| (found, start.elapsed().as_secs_f64()))
    };
    let (found, first) = timed()?;
    let (_, second) = timed()?;
    Ok((found, first.min(second).max(1e-9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_takes_its_time() {
        let wait = || std::thread::sleep(Duration::from_millis(3));
        let latency = latency_ms(|_| {
            wait();
            Ok(())
        });
        assert!(latency.unwrap() >= 3.0);
        let pass = pass_s(|| {
            wait();
            Ok(())
        });
        assert!(pass.unwrap().1 >= 3e-3);
    }
}
