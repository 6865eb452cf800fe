//! How many steps fit into the time that a demo may take.
//!
//! The cosine schedule needs the number of steps before the first one, so a few steps of a run that is then thrown away
//! are timed. The number therefore depends on the machine; `--steps` fixes it, and with the same `--steps` and `--seed`
//! the same device gives the same policy, bit for bit.

use advect::data::Episodes;
use advect::device::Device;
use advect::train::{RunConfig, Trainer};
use std::time::{Duration, Instant};

/// The most steps that a demo takes: beyond, the pictures no longer change.
pub const MOST: u64 = 6000;
/// What training may take.
pub const TRAINING: Duration = Duration::from_secs(60);
/// Steps that are timed, unless [`TIMING`] is over first.
const TIMED: u64 = 50;
const TIMING: Duration = Duration::from_secs(3);

/// Steps of the run and whether the device is why there are not [`MOST`].
pub struct Pace {
    /// Steps that fit.
    pub steps: u64,
    /// Measured time of a step in milliseconds.
    pub ms_per_step: f64,
}

/// Times a few steps and says how many fit.
pub fn measure(device: &Device, episodes: &Episodes, config: &RunConfig) -> anyhow::Result<Pace> {
    let mut trainer = Trainer::new(device, episodes, config)?;
    // Shaders are built and memory is touched in the first one.
    trainer.advance(1)?;
    let (mut steps, mut group) = (0, 1);
    let start = Instant::now();
    while steps < TIMED && start.elapsed() < TIMING {
        trainer.advance(group)?;
        steps += group;
        // Groups as training has them, unless a step is slow.
        group = if start.elapsed() < TIMING / 10 { (2 * group).min(TIMED - steps).max(1) } else { 1 };
    }
    let per_step = start.elapsed().as_secs_f64() / steps as f64;
    Ok(Pace { steps: fit(TRAINING.as_secs_f64() / per_step), ms_per_step: per_step * 1e3 })
}

/// Whole hundreds (below 1,000 whole tens), so that the number is easy to repeat.
fn fit(steps: f64) -> u64 {
    let steps = (steps.max(0.0) as u64).min(MOST);
    match steps {
        1000.. => steps / 100 * 100,
        100.. => steps / 10 * 10,
        _ => steps.max(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_steps_are_round() {
        for (found, steps) in
            [(0.0, 10), (57.3, 57), (128.0, 120), (4999.0, 4900), (1e9, MOST), (f64::NAN, 10)]
        {
            assert_eq!(fit(found), steps);
        }
    }
}
