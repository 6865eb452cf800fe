//! Which variants of products and of attention, and which way of running a sampler's steps or a training step, a device runs fastest: what `advect tune`
//! measures.
//!
//! The plans of the subjects, planned by guesses, say which questions there are. Products and attention come first, each call alone by the GPU's clock;
//! then whole sampling runs and training steps by the host's clock, with those already tuned: layer by layer against every
//! variant that does all layers in one dispatch.

mod attention;
mod products;
mod race;
mod subject;

pub use subject::Subject;

use super::BenchError;
use crate::device::{Device, Gpu, Tuned, Tuning};
use crate::flow::{FlowError, Solver};
use crate::graph::{Fusion, Plan, Precision, Schedule};
use crate::kernel::Target;
use crate::policy::PolicyError;
use attention::Attention;
use products::Products;
use race::{Timing, race, race_phases, winner};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// How a device is tuned.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Batches, each chunk with an observation of its own.
    pub batches: Vec<usize>,
    /// The solver.
    pub solver: Solver,
    /// How weights are stored.
    pub precision: Precision,
    /// Whether training steps are measured too: their products and attention, and the ways of running them.
    pub train: bool,
    /// About how long each question is measured, seconds.
    pub seconds: f64,
}

/// The time of one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WayTime {
    /// A variant, or `layers`.
    pub way: &'static str,
    /// Median, milliseconds.
    pub ms: f64,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuneRow {
    /// What was measured: a product, or a network and a batch.
    pub what: String,
    /// What the answer is filed under.
    pub question: String,
    /// All ways, the guess first.
    pub ways: Vec<WayTime>,
    /// The way to take: the fastest, or the guess where nothing is faster by more than 5 %, both in the median and in the shortest run.
    pub best: &'static str,
    /// The guess's time over that of the best.
    pub gain: f64,
}

/// A batch that could not be measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SkippedBatch {
    /// The network and the batch.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct TuneResult {
    /// The answers, for plans.
    pub tuning: Tuning,
    /// The answers, for people.
    pub rows: Vec<TuneRow>,
    /// What does not fit the device.
    pub skipped: Vec<SkippedBatch>,
}

/// A sampler's steps, or a training step, that can run in several ways.
struct Steps<'a> {
    subject: &'a Subject,
    /// The chunks that are sampled at once; none: training.
    batch: Option<usize>,
    schedule: Schedule,
}

/// Everything that is to be measured.
#[derive(Default)]
struct Questions<'a> {
    products: Products,
    attention: Attention,
    steps: Vec<Steps<'a>>,
}

/// Measures the plans of `subjects` on a GPU. `go_on` hears what is being measured and how far all is (0 to 1), and may stop it.
pub fn tune(
    gpu: &Gpu,
    subjects: &[Subject],
    options: &TuneOptions,
    go_on: &mut dyn FnMut(&str, f64) -> bool,
) -> Result<TuneResult, BenchError> {
    let mut result = TuneResult::default();
    let questions = ask(gpu, subjects, options, &mut result.skipped, go_on)?;
    let alone = questions.products.by_question.len() + questions.attention.by_question.len();
    let total = (alone + questions.steps.len()).max(1) as f64;
    let untuned = Device::Gpu(gpu.with_tuning(None));
    let on = Target::of(&untuned);
    let products = questions.products.by_question.into_iter();
    let products = products.map(|(question, p)| (p.label(), question, p.ways(), p.plan(&on)));
    let attention = questions.attention.by_question.into_iter();
    let attention =
        attention.map(|(question, call)| (question.clone(), question, call.ways(), call.plan(&on)));
    for (what, question, ways, plan) in products.chain(attention) {
        let done = result.rows.len() as f64;
        let mut go_on = |part| go_on(&what, (done + part) / total);
        let timings = race_phases(&untuned, plan.map_err(FlowError::from)?, options.seconds, &mut go_on)?;
        result.note(what, question, &ways, &timings);
    }
    for steps in questions.steps {
        let (what, done) = (steps.label(), result.rows.len() as f64);
        let timings =
            steps.measure(gpu, &result.tuning, options, &mut |part| go_on(&what, (done + part) / total))?;
        result.note(what, steps.schedule.question, &steps.schedule.ways, &timings);
    }
    Ok(result)
}

/// The questions of all plans. A batch that the device cannot hold is skipped.
fn ask<'a>(
    gpu: &Gpu,
    subjects: &'a [Subject],
    options: &TuneOptions,
    skipped: &mut Vec<SkippedBatch>,
    go_on: &mut dyn FnMut(&str, f64) -> bool,
) -> Result<Questions<'a>, BenchError> {
    let device = Device::Gpu(gpu.with_tuning(None));
    let target = Target::of(&device);
    let mut questions = Questions::default();
    for subject in subjects {
        for &batch in &options.batches {
            let what = format!("{}, batch {batch}", subject.name());
            if !go_on(&what, 0.0) {
                return Err(BenchError::Stopped);
            }
            match questions.add(&device, &target, subject, batch, options) {
                Err(error) if does_not_fit(&error) => {
                    skipped.push(SkippedBatch { what, reason: error.to_string() });
                }
                other => other?,
            }
        }
        if options.train
            && let Some(layered) = subject.training(&device, Fusion::Layers)?
            && let Some(guessed) = subject.training(&device, Fusion::Auto)?
        {
            questions.collect(layered.plan(), &target);
            questions.note(subject, None, guessed.plan());
        }
    }
    Ok(questions)
}

/// Whether a batch is too large for the device.
fn does_not_fit(error: &BenchError) -> bool {
    match error {
        BenchError::OutOfMemory { .. } => true,
        BenchError::Flow(FlowError::Graph(found))
        | BenchError::Policy(PolicyError::Graph(found) | PolicyError::Flow(FlowError::Graph(found))) => {
            found.is_too_large()
        }
        _ => false,
    }
}

impl<'a> Questions<'a> {
    fn add(
        &mut self,
        device: &Device,
        target: &Target,
        subject: &'a Subject,
        batch: usize,
        options: &TuneOptions,
    ) -> Result<(), BenchError> {
        let compile = |fusion| subject.compile(device, options, fusion, batch);
        self.collect(compile(Fusion::Layers)?.plan(), target);
        let guessed = compile(Fusion::Auto)?;
        self.note(subject, Some(guessed.block()), guessed.plan());
        Ok(())
    }

    /// Notes the questions of a plan's kernels.
    fn collect(&mut self, plan: &Plan, target: &Target) {
        self.products.collect(plan, target);
        self.attention.collect(plan, target);
    }

    /// Notes the question of a plan's ways, if there are several and it is new.
    fn note(&mut self, subject: &'a Subject, batch: Option<usize>, plan: &Plan) {
        if let Some(schedule) = plan.schedule.clone()
            && schedule.ways.len() > 1
            && self.steps.iter().all(|known| known.schedule.question != schedule.question)
        {
            self.steps.push(Steps { subject, batch, schedule });
        }
    }
}

impl Steps<'_> {
    fn label(&self) -> String {
        match self.batch {
            Some(batch) => format!("{}, batch {batch}", self.subject.name()),
            None => format!("{}, training step", self.subject.name()),
        }
    }

    /// The times of a run by each way.
    fn measure(
        &self,
        gpu: &Gpu,
        products: &Tuning,
        options: &TuneOptions,
        go_on: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Vec<Timing>, BenchError> {
        let mut compiled = Vec::with_capacity(self.schedule.ways.len());
        for way in &self.schedule.ways {
            let mut tuning = products.clone();
            let (guess, best) = (String::new(), (*way).to_owned());
            tuning.insert(self.schedule.question.clone(), Tuned { guess, best, guess_ms: 0.0, best_ms: 0.0 });
            let device = Device::Gpu(gpu.with_tuning(Some(Arc::new(tuning))));
            compiled.extend(match self.batch {
                Some(batch) => Some(self.subject.compile(&device, options, Fusion::Auto, batch)?),
                None => self.subject.training(&device, Fusion::Auto)?,
            });
        }
        let time = |way: usize| {
            let begun = Instant::now();
            compiled[way].run()?;
            Ok(begun.elapsed().as_secs_f64())
        };
        race(self.schedule.ways.len(), options.seconds, time, go_on)
    }
}

impl TuneResult {
    fn note(&mut self, what: String, question: String, ways: &[&'static str], timings: &[Timing]) {
        let best = winner(timings);
        let ms = |way: usize| 1e3 * timings[way].median;
        let (guess, taken) = (ways[0].to_owned(), ways[best].to_owned());
        self.tuning
            .insert(question.clone(), Tuned { guess, guess_ms: ms(0), best: taken, best_ms: ms(best) });
        let times = ways.iter().enumerate().map(|(at, way)| WayTime { way, ms: ms(at) }).collect();
        self.rows.push(TuneRow { what, question, ways: times, best: ways[best], gain: ms(0) / ms(best) });
    }
}
