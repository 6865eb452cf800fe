//! All methods and seeds, one after the other.

use super::evaluate::{self, Evaluated, Pictures};
use super::page::page;
use super::record::{Report, Row, RunRecord, Status, Training};
use super::store::{SoFar, Store, write_json};
use super::summary::{at_equal_quality, means};
use super::{Method, Network, Result, Settings, Task};
use crate::data::write_aside;
use crate::device::Device;
use crate::train::{self, ReflowSpec, RunConfig, RunOptions, TrainError, Trainer};
use std::io::Write as _;
use std::path::Path;

/// What is compared, and where it goes.
pub struct Comparison<'a> {
    /// Where everything runs.
    pub device: &'a Device,
    /// The task.
    pub task: &'a Task,
    /// The methods.
    pub methods: &'a [&'static Method],
    /// Seeds 0, 1, ...
    pub seeds: u64,
    /// Optimiser steps of each.
    pub steps: u64,
    /// Their network.
    pub network: Network,
    /// The folder of compare.json, report.html and what is kept to go on.
    pub folder: &'a Path,
    /// The command that repeats it, for the report.
    pub command: &'a str,
    /// Asked a few times a second; once it says true the state is kept and the comparison ends.
    pub stop: &'a dyn Fn() -> bool,
}

/// What an observer is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A run begins, or goes on at a step.
    Run {
        /// The method's id.
        method: &'a str,
        /// The seed.
        seed: u64,
        /// Its number, from 0.
        index: usize,
        /// How many there are.
        of: usize,
    },
    /// Some steps were taken.
    Steps {
        /// Steps completed.
        step: u64,
        /// Mean loss over the steps just taken.
        loss: f64,
        /// Their rate.
        steps_per_s: f64,
    },
    /// Training is over, the samples are judged.
    Measuring,
    /// A run is finished, or was already.
    Finished {
        /// What it found.
        record: &'a RunRecord,
        /// Whether an earlier comparison did it.
        kept: bool,
    },
}

/// How a comparison ended.
pub enum Outcome {
    /// It is complete and written.
    Complete(Box<Report>),
    /// It was stopped; the same comparison goes on from there.
    Stopped {
        /// Runs that are finished.
        finished: usize,
        /// Of how many.
        of: usize,
    },
}

/// Runs a comparison, as far as it is not in the folder already, and writes compare.json and report.html.
///
/// # Errors
/// [`CompareError::Settings`](super::CompareError::Settings) if the folder holds a comparison with other settings; whatever
/// training, sampling and writing can meet. That a method's loss or samples are not finite is no error but a row of status
/// `failed`.
pub fn compare(c: &Comparison<'_>, observer: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    let settings = Settings::new(c.task, c.network, c.steps, c.device)?;
    let store = Store::open(c.folder, &settings, c.task)?;
    let of = c.methods.len() * c.seeds as usize;
    let mut records: Vec<RunRecord> = Vec::with_capacity(of);
    for method in c.methods {
        for seed in 0..c.seeds {
            let finished = records.len();
            if let Some(record) = store.finished(method.id, seed)? {
                observer(Event::Finished { record: &record, kept: true });
                records.push(record);
                continue;
            }
            observer(Event::Run { method: method.id, seed, index: finished, of });
            match one(c, &settings, &store, method, seed, observer)? {
                Some(record) => {
                    store.finish(&record)?;
                    observer(Event::Finished { record: &record, kept: false });
                    records.push(record);
                }
                None => return Ok(Outcome::Stopped { finished, of }),
            }
        }
    }
    let report = report(c, &settings, &records)?;
    write_json(&c.folder.join("compare.json"), &report)?;
    let html = page(c.task, &report, &records, c.command).to_html();
    write_aside(c.folder.join("report.html"), |file| file.write_all(html.as_bytes()))?;
    Ok(Outcome::Complete(Box::new(report)))
}

/// The configuration of a method's run.
fn configure(settings: &Settings, method: &Method, seed: u64) -> RunConfig {
    let mut config = RunConfig { seed, ..settings.config.clone() };
    (method.configure)(&mut config);
    config
}

/// Trains and measures one method with one seed; `None` if it was stopped.
fn one(
    c: &Comparison<'_>,
    settings: &Settings,
    store: &Store,
    method: &Method,
    seed: u64,
    observer: &mut dyn FnMut(Event<'_>),
) -> Result<Option<RunRecord>> {
    let mut config = configure(settings, method, seed);
    let mut training = Training {
        method: method.id.into(),
        seed,
        status: Status::Ok,
        reason: None,
        parameters: None,
        loss: None,
        train_s: None,
        log_likelihood: None,
        straightness: None,
        absent: Default::default(),
    };
    if let Some(reason) = (method.refuses)(c.task, &config.network) {
        return Ok(Some(without(method, training, Status::NotApplicable, reason.into())));
    }
    if let Some(before) = method.straightens {
        if store.finished(before, seed)?.is_none() {
            let reason = format!("it straightens {before}, which was not compared");
            return Ok(Some(without(method, training, Status::NotApplicable, reason)));
        }
        let policy = store.checkpoint(before, seed);
        config.reflow = Some(ReflowSpec { policy, solver: "euler:20".into() });
    }
    let path = store.checkpoint(method.id, seed);
    let mut trainer = Trainer::new(c.device, &c.task.train, &config)?;
    let mut so_far = SoFar::default();
    if let Some(before) = store.stopped(method.id, seed)? {
        trainer.resume(&path, &settings.data)?;
        so_far = before;
    }
    training.parameters = Some(trainer.parameters());
    let options = RunOptions { checkpoint: Some(&path), metrics: None, data: &settings.data, stop: c.stop };
    let outcome = match train::run(&mut trainer, options, &mut |event| {
        if let train::Event::Steps { step, loss, steps_per_s } = event {
            observer(Event::Steps { step, loss, steps_per_s });
        }
    }) {
        Err(e @ TrainError::NonFinite { .. }) => {
            return Ok(Some(without(method, training, Status::Failed, e.to_string())));
        }
        outcome => outcome?,
    };
    so_far.train_s += outcome.training.as_secs_f64();
    so_far.loss = outcome.last.map(|line| line.loss).or(so_far.loss);
    // From here on a stop finds the trained policy again.
    store.stop(method.id, seed, &so_far)?;
    if outcome.stopped {
        return Ok(None);
    }
    observer(Event::Measuring);
    (training.train_s, training.loss) = (Some(so_far.train_s), so_far.loss);
    let policy = trainer.policy()?;
    drop(trainer);
    let found = evaluate::evaluate(c.device, c.task, method, &policy, &mut training, c.stop)?;
    Ok(found.map(|Evaluated { mut rows, pictures }| {
        rows.iter_mut().for_each(|row| row.train_s = training.train_s);
        RunRecord { training, rows, pictures }
    }))
}

/// A run that gave nothing to measure.
fn without(method: &Method, mut training: Training, status: Status, reason: String) -> RunRecord {
    let row = |(nfe, why): (usize, Option<&'static str>)| match why {
        Some(why) => Row::empty(method.id, training.seed, nfe, Status::NotApplicable, Some(why.into())),
        None => Row::empty(method.id, training.seed, nfe, status, Some(reason.clone())),
    };
    let rows = method.rows().into_iter().map(row).collect();
    (training.status, training.reason) = (status, Some(reason));
    RunRecord { training, rows, pictures: Pictures::default() }
}

/// compare.json of finished runs.
fn report(c: &Comparison<'_>, settings: &Settings, records: &[RunRecord]) -> Result<Report> {
    let results: Vec<Row> = records.iter().flat_map(|r| r.rows.clone()).collect();
    let summary = means(&results);
    let ids: Vec<&str> = c.methods.iter().map(|m| m.id).collect();
    Ok(Report {
        task: settings.task.clone(),
        steps: settings.steps,
        device: settings.device.clone(),
        network: settings.network.clone(),
        batch_size: settings.config.batch_size,
        held_out: c.task.held_out.count,
        reference: evaluate::reference(c.task)?,
        absent: evaluate::absent(c.task),
        equal_quality: at_equal_quality(&summary, &results, &ids),
        results,
        training: records.iter().map(|r| r.training.clone()).collect(),
        summary,
    })
}
