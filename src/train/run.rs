//! The loop around a trainer: logs, validates and saves at their steps, and stops in good order when told to.

use super::{MetricsLine, MetricsWriter, Result, TrainError, Trainer, resume};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a group of steps between two looks at the stop signal should take.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A loss, in normalised units, that is said once: a policy that knows nothing has about 1.
const HIGH_LOSS: f64 = 1e3;
/// A loss that ends the run.
const ABSURD_LOSS: f64 = 1e6;

/// Where a run writes and what stops it.
pub struct RunOptions<'a> {
    /// The checkpoint, with the run's state beside it; `None`: nothing is saved.
    pub checkpoint: Option<&'a Path>,
    /// metrics.jsonl, already opened at the step where the run starts.
    pub metrics: Option<MetricsWriter>,
    /// The demonstrations' [`fingerprint`](super::resume::fingerprint), kept with the run's state.
    pub data: &'a str,
    /// Asked a few times a second; once it says true the run saves and ends.
    pub stop: &'a dyn Fn() -> bool,
}

impl Default for RunOptions<'_> {
    fn default() -> Self {
        RunOptions { checkpoint: None, metrics: None, data: "", stop: &|| false }
    }
}

/// What an observer of a run is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Some steps were taken.
    Steps {
        /// Steps completed.
        step: u64,
        /// Mean loss over the steps just taken.
        loss: f64,
        /// Their rate.
        steps_per_s: f64,
    },
    /// A line of metrics, already written.
    Line(MetricsLine),
    /// The policy of this step was written; its run's state comes next.
    PolicySaved(u64),
    /// The checkpoint of this step was written: the policy and the run's state.
    Saved(u64),
    /// The mean loss since the last line of metrics, or the validation loss, is above 1,000: said once.
    HighLoss {
        /// Steps completed.
        step: u64,
        /// The loss, in normalised units.
        loss: f64,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Whether it was stopped before its last step.
    pub stopped: bool,
    /// Steps completed, earlier runs included.
    pub step: u64,
    /// Steps that this call took.
    pub taken: u64,
    /// Time of this call's steps, without validations and checkpoints.
    pub training: Duration,
    /// The last line of metrics; `None` if this call wrote none.
    pub last: Option<MetricsLine>,
    /// The last validation loss of this call.
    pub val_loss: Option<f64>,
}

impl Outcome {
    /// Steps per second of this call.
    pub fn steps_per_s(&self) -> f64 {
        rate(self.taken, self.training)
    }
}

/// Trains from where `trainer` stands to its last step. What is computed does not depend on how steps are grouped, when the
/// run is stopped, or how often it was resumed.
///
/// # Errors
/// [`TrainError`]: a non-finite loss, one above 1e6, a failing device, a file that cannot be written. The last
/// checkpoint stays as it was.
pub fn run(
    trainer: &mut Trainer,
    mut options: RunOptions<'_>,
    observer: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let config = trainer.config().clone();
    let (first, total) = (trainer.step(), config.steps);
    let mut outcome = Outcome {
        stopped: false,
        step: first,
        taken: 0,
        training: Duration::ZERO,
        last: None,
        val_loss: None,
    };
    let mut since_line = (0, Duration::ZERO);
    let mut group = 1;
    let mut saved = first;
    // A new run where an earlier one's files are: until its own first checkpoint they stay as they are, all of them.
    let mut replaces = first == 0 && options.checkpoint.is_some_and(resume::is_taken);
    if let Some(metrics) = options.metrics.as_mut().filter(|_| replaces) {
        metrics.hold();
    }
    let mut warned = false;
    while trainer.step() < total {
        if (options.stop)() {
            outcome.stopped = true;
            break;
        }
        let step = trainer.step();
        let due = [config.log_every, config.validate_every, config.save_every].map(|every| next(step, every));
        let until = due.into_iter().fold(total, u64::min);
        let steps = (until - step).min(group);
        let start = Instant::now();
        let progress = trainer.advance(steps)?;
        let took = start.elapsed();
        group = grouping(steps, took);
        outcome.step = progress.step;
        outcome.taken += steps;
        outcome.training += took;
        since_line = (since_line.0 + steps, since_line.1 + took);
        observer(Event::Steps { step: progress.step, loss: progress.loss, steps_per_s: rate(steps, took) });

        let at = |every: u64| progress.step == total || progress.step.is_multiple_of(every);
        let val_loss = if at(config.validate_every) { trainer.validate()? } else { None };
        outcome.val_loss = val_loss.or(outcome.val_loss);
        if at(config.log_every) || val_loss.is_some() {
            let line = MetricsLine {
                step: progress.step,
                loss: trainer.take_mean_loss().unwrap_or(progress.loss),
                val_loss,
                lr: f64::from(progress.lr),
                grad_norm: f64::from(progress.grad_norm),
                steps_per_s: rate(since_line.0, since_line.1),
            };
            since_line = (0, Duration::ZERO);
            if let Some(metrics) = &mut options.metrics {
                metrics.write(&line)?;
            }
            outcome.last = Some(line);
            observer(Event::Line(line));
            for (what, loss) in [("loss", Some(line.loss)), ("validation loss", val_loss)] {
                let (step, loss) = (line.step, loss.unwrap_or(0.0));
                if loss > ABSURD_LOSS {
                    return Err(TrainError::AbsurdLoss { what, step, loss, why: trainer.suspects() });
                }
                if loss > HIGH_LOSS && !std::mem::replace(&mut warned, true) {
                    observer(Event::HighLoss { step, loss });
                }
            }
        }
        if at(config.save_every) {
            saved = save(trainer, &mut options, &mut replaces, observer)?;
        }
    }
    if outcome.stopped && saved != outcome.step {
        save(trainer, &mut options, &mut replaces, observer)?;
    }
    Ok(outcome)
}

/// Saves the policy, then the run's state. The first time that a run `replaces` an earlier one the order is: the new policy written
/// aside, the old state and metrics removed, the new policy in place, the new metrics, the new state. So whenever the process is killed,
/// what lies there is of one run.
fn save(
    trainer: &mut Trainer,
    options: &mut RunOptions<'_>,
    replaces: &mut bool,
    observer: &mut dyn FnMut(Event),
) -> Result<u64> {
    let step = trainer.step();
    let Some(path) = options.checkpoint else { return Ok(step) };
    let metrics = &mut options.metrics;
    let policy = trainer.policy()?.aside(path)?;
    if std::mem::take(replaces) {
        resume::forget(path)?;
        metrics.as_mut().map_or(Ok(()), |metrics| metrics.forget())?;
    }
    policy.commit()?;
    observer(Event::PolicySaved(step));
    metrics.as_mut().map_or(Ok(()), MetricsWriter::publish)?;
    trainer.save_state(path, options.data)?;
    observer(Event::Saved(step));
    Ok(step)
}

/// The first multiple of `every` after `step`.
fn next(step: u64, every: u64) -> u64 {
    (step / every).saturating_add(1).saturating_mul(every)
}

/// How many steps the next group has, after one of `steps` took so long: at most four times as many.
fn grouping(steps: u64, took: Duration) -> u64 {
    let fit = LOOK_EVERY.as_secs_f64() / took.as_secs_f64().max(1e-9) * steps as f64;
    (fit as u64).clamp(1, 4 * steps).min(Trainer::MOST_STEPS)
}

fn rate(steps: u64, took: Duration) -> f64 {
    match took.as_secs_f64() {
        s if s > 0.0 => steps as f64 / s,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_fall_on_multiples() {
        assert_eq!([next(0, 10), next(9, 10), next(10, 10), next(3, u64::MAX)], [10, 10, 20, u64::MAX]);
    }

    #[test]
    fn groups_follow_the_speed() {
        let ms = Duration::from_millis;
        assert_eq!(grouping(1, ms(500)), 1, "a slow device is asked after every step");
        assert_eq!(grouping(10, ms(250)), 10);
        assert_eq!(grouping(10, ms(1)), 40, "growth is gradual");
        assert_eq!(grouping(1024, Duration::ZERO), Trainer::MOST_STEPS);
    }
}
