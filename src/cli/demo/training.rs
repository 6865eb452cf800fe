//! The training run of the demo: a bar, metrics and losses for the chart.

use crate::cli::common::{Interrupt, note_line, progress};
use crate::cli::errors::Interrupted;
use crate::cli::output::{grouped, short};
use advect::train::{MetricsLine, Trainer};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Most lines of metrics.
const LINES: u64 = 200;
/// Most validations.
const VALIDATIONS: u64 = 20;

/// What a run leaves besides its policy.
pub struct Record {
    /// A line each few steps.
    pub lines: Vec<MetricsLine>,
    /// Wall time of the steps and the validations.
    pub elapsed: Duration,
}

impl Record {
    /// The last held-out loss.
    pub fn held_out(&self) -> Option<f64> {
        self.lines.iter().rev().find_map(|line| line.val_loss)
    }

    /// Steps per second over the whole run.
    pub fn steps_per_s(&self) -> f64 {
        let steps = self.lines.last().map_or(0, |line| line.step);
        steps as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// (step, value) pairs for a chart.
    pub fn series(&self, value: impl Fn(&MetricsLine) -> Option<f64>) -> Vec<(u64, f32)> {
        self.lines.iter().filter_map(|line| Some((line.step, value(line)? as f32))).collect()
    }
}

/// Takes all steps of a run.
pub fn run(trainer: &mut Trainer, interrupt: Interrupt) -> anyhow::Result<Record> {
    let steps = trainer.config().steps;
    let every = steps.div_ceil(LINES).clamp(1, 1024);
    let validate_every = steps.div_ceil(VALIDATIONS).max(10);
    let bar = progress(steps);
    let quiet = !std::io::stderr().is_terminal();
    let (mut lines, mut held_out, mut validated, mut told) = (Vec::new(), None, 0, 0);
    let start = Instant::now();
    while trainer.step() < steps {
        let before = Instant::now();
        let now = trainer.advance(every.min(steps - trainer.step()))?;
        let rate =
            (now.step - (now.step - 1) / every * every) as f64 / before.elapsed().as_secs_f64().max(1e-9);
        let due = now.step == steps || now.step - validated >= validate_every;
        let val_loss = if due { trainer.validate()? } else { None };
        if due {
            (held_out, validated) = (val_loss, now.step);
        }
        let held_out = held_out.map_or(String::new(), |v: f64| format!("  held out {}", short(v)));
        let message = format!("loss {}{held_out}  {} steps/s", short(now.loss), short(rate));
        bar.set_position(now.step);
        bar.set_message(message.clone());
        // Where no bar is drawn, a line now and then.
        if quiet && due && now.step - told >= steps / 5 {
            note_line(&format!(
                "  step {:>5} of {}  {message}",
                grouped(now.step as i64),
                grouped(steps as i64)
            ));
            told = now.step;
        }
        lines.push(MetricsLine {
            step: now.step,
            loss: now.loss,
            val_loss,
            lr: now.lr.into(),
            grad_norm: now.grad_norm.into(),
            steps_per_s: rate,
        });
        if interrupt.pressed() {
            bar.finish_and_clear();
            return Err(Interrupted.into());
        }
    }
    bar.finish_and_clear();
    Ok(Record { lines, elapsed: start.elapsed() })
}
