//! The training run of the demo: a bar, metrics and losses for the chart.

use crate::cli::common::{Interrupt, note_line, progress};
use crate::cli::errors::Interrupted;
use crate::cli::output::{grouped, short};
use advect::train::{Event, MetricsLine, RunConfig, RunOptions, Trainer, run};
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
    /// What was said of the run while it went on.
    pub warnings: Vec<String>,
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

/// The configuration of a run of `steps` steps, with as many lines and validations as a chart needs.
pub fn schedule(config: RunConfig, steps: u64) -> RunConfig {
    let config = config.in_steps(steps);
    RunConfig {
        log_every: steps.div_ceil(LINES),
        validate_every: steps.div_ceil(VALIDATIONS).max(10),
        ..config
    }
}

/// Takes all steps of a run.
pub fn train(trainer: &mut Trainer, interrupt: Interrupt) -> anyhow::Result<Record> {
    let steps = trainer.config().steps;
    let bar = progress(steps);
    let quiet = !std::io::stderr().is_terminal();
    let (mut lines, mut held_out, mut told) = (Vec::new(), String::new(), 0);
    let mut warnings = Vec::new();
    let options = RunOptions { stop: &|| interrupt.pressed(), ..RunOptions::default() };
    let start = Instant::now();
    let outcome = run(trainer, options, &mut |event| match event {
        Event::Steps { step, loss, steps_per_s } => {
            bar.set_position(step);
            bar.set_message(format!("loss {}{held_out}  {} steps/s", short(loss), short(steps_per_s)));
        }
        Event::Line(line) => {
            if let Some(loss) = line.val_loss {
                held_out = format!("  held out {}", short(loss));
            }
            // Where no bar is drawn, a line now and then.
            if quiet && line.val_loss.is_some() && line.step - told >= steps / 5 {
                let (step, of) = (grouped(line.step as i64), grouped(steps as i64));
                let rate = short(line.steps_per_s);
                note_line(&format!(
                    "  step {step:>5} of {of}  loss {}{held_out}  {rate} steps/s",
                    short(line.loss)
                ));
                told = line.step;
            }
            lines.push(line);
        }
        Event::HighLoss { step, loss } => {
            let (step, loss) = (grouped(step as i64), short(loss));
            let text = format!(
                "the loss is {loss} at step {step}, in normalised units: a policy that learns comes to about 1 or less"
            );
            bar.suspend(|| note_line(&format!("warning: {text}")));
            warnings.push(text);
        }
        Event::PolicySaved(_) | Event::Saved(_) => {}
    });
    bar.finish_and_clear();
    if outcome?.stopped {
        return Err(Interrupted.into());
    }
    Ok(Record { lines, warnings, elapsed: start.elapsed() })
}
