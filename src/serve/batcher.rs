//! One thread owns the device. Requests that wait for it together share one pass.

use super::error::{RequestError, ServeError};
use super::metrics::Metrics;
use crate::device::{Device, DeviceError, Gpu};
use crate::flow::FlowError;
use crate::graph::GraphError;
use crate::policy::{Noise, NoiseKey, Policy, PolicyError, RowOutcome, RowStatus, Sampler, SamplerOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A request on its way to the device.
pub(super) struct Job {
    /// [history, obs_dim].
    pub obs: Vec<f32>,
    pub noise: NoiseKey,
    pub arrived: Instant,
    pub reply: oneshot::Sender<Result<Chunk, RequestError>>,
}

/// What the device gave.
#[derive(Debug)]
pub(super) struct Chunk {
    /// [horizon, action_dim].
    pub actions: Vec<f32>,
    /// From arrival until the pass began.
    pub queued: Duration,
    /// The pass.
    pub infer: Duration,
    /// Requests in it.
    pub batch: usize,
}

enum Message {
    Job(Job),
    /// No robot comes any more: nobody waits for others from here on.
    Hurry,
    Stop,
}

/// How requests are gathered.
#[derive(Clone, Debug)]
pub(super) struct BatchOptions {
    pub sampler: SamplerOptions,
    pub max_batch: usize,
    pub wait: Duration,
    /// How long a pass may take.
    pub pass: Duration,
}

/// What can be expected of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It works.
    Good,
    /// A pass took longer than it may, and is still under way: the device is slow, or hangs.
    Late,
    /// No later request can succeed.
    Lost,
}

/// The way to the thread that owns the device.
pub(super) struct Batcher {
    jobs: Sender<Message>,
    gpu: Option<Gpu>,
    healthy: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Batcher {
    /// Starts the thread, which compiles every batch size and runs it once before this returns.
    pub fn start(
        policy: Policy,
        device: Device,
        options: BatchOptions,
        metrics: Arc<Metrics>,
    ) -> Result<(Batcher, JoinHandle<()>), ServeError> {
        let (jobs, inbox) = channel();
        let gpu = device.gpu().cloned();
        let own = gpu.clone();
        let (ready, is_ready) = channel();
        let healthy = Arc::new(AtomicBool::new(true));
        let (health, counts) = (healthy.clone(), metrics.clone());
        let thread = std::thread::Builder::new().name("advect-batcher".into()).spawn(move || {
            let engine = match Engine::compile(&policy, &device, &options) {
                Ok(engine) => engine,
                Err(error) => return drop(ready.send(Err(error))),
            };
            drop(policy);
            if ready.send(Ok(())).is_ok() {
                Loop { engine, options, gpu: own, metrics: counts, healthy: health }.run(&inbox);
            }
        })?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok((Batcher { jobs, gpu, healthy, metrics }, thread)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ServeError::Panicked("batcher")),
        }
    }

    /// Hands a request over. What comes of it goes to the job's `reply`, which is dropped if the thread has ended.
    pub fn send(&self, job: Job) {
        self.metrics.queue.fetch_add(1, Ordering::Relaxed);
        if self.jobs.send(Message::Job(job)).is_err() {
            self.metrics.queue.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether any later request can succeed.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// What can be expected of the device now.
    pub fn health(&self) -> Health {
        match self.healthy() {
            false => Health::Lost,
            true if self.gpu.as_ref().is_some_and(Gpu::is_late) => Health::Late,
            true => Health::Good,
        }
    }

    /// Has the requests that wait for other robots answered at once.
    pub fn hurry(&self) {
        // An ended thread keeps nobody waiting.
        let _ = self.jobs.send(Message::Hurry);
    }

    /// Ends the thread after the requests that were handed over before.
    pub fn stop(&self) {
        // An ended thread needs no word.
        let _ = self.jobs.send(Message::Stop);
    }
}

/// Compiled samplers of rising batch sizes.
struct Engine {
    samplers: Vec<(usize, Sampler)>,
    obs: Vec<f32>,
    noise: Vec<NoiseKey>,
    actions: Vec<f32>,
}

/// 1, 2, 4, ... and `most`.
fn sizes(most: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < most).collect();
    sizes.push(most.max(1));
    sizes
}

impl Engine {
    fn compile(policy: &Policy, device: &Device, options: &BatchOptions) -> Result<Engine, ServeError> {
        let mut engine =
            Engine { samplers: Vec::new(), obs: Vec::new(), noise: Vec::new(), actions: Vec::new() };
        // An observation of the demonstrations' middle: what it is does not matter, but it must be a likely one.
        let obs = policy.spec.obs_normalizer.offset.repeat(policy.spec.history);
        for batch in sizes(options.max_batch) {
            let failed = |source: PolicyError| ServeError::Compile { batch, source };
            let mut sampler = policy.sampler(device, batch, 1, &options.sampler).map_err(failed)?;
            if let Some((_, first)) = engine.samplers.first_mut() {
                sampler.share_weights(first).map_err(failed)?;
            }
            engine.samplers.push((batch, sampler));
            let rows = vec![(&obs[..], NoiseKey { seed: 0, request: 0 }); batch];
            let (_, outcomes) = engine.sample(&rows).map_err(failed)?;
            if let Some(fault) = outcomes.iter().find_map(|row| fault(row.status)) {
                return Err(ServeError::FirstRun { batch, fault });
            }
        }
        // Not before: what is compiled in the first pass takes its time.
        for (_, sampler) in &mut engine.samplers {
            sampler.set_deadline(Some(options.pass));
        }
        Ok(engine)
    }

    /// Chunks [rows, horizon, action_dim] of at most as many rows as the largest batch, and what became of each.
    fn sample(&mut self, rows: &[(&[f32], NoiseKey)]) -> Result<(&[f32], &[RowOutcome]), PolicyError> {
        let n = rows.len();
        let at = self.samplers.partition_point(|(size, _)| *size < n).min(self.samplers.len() - 1);
        let (size, sampler) = &mut self.samplers[at];
        let chunk = sampler.spec().chunk();
        self.obs.clear();
        self.noise.clear();
        // What the batch has beyond the requests repeats the last one, and nobody reads it.
        for (obs, key) in rows.iter().chain(std::iter::repeat_n(&rows[n - 1], *size - n)) {
            self.obs.extend_from_slice(obs);
            self.noise.push(*key);
        }
        self.actions.resize(*size * chunk, 0.0);
        let outcomes =
            sampler.sample_each(&self.obs, Noise::PerObservation(&self.noise), &mut self.actions)?;
        Ok((&self.actions[..n * chunk], &outcomes[..n]))
    }
}

struct Loop {
    engine: Engine,
    options: BatchOptions,
    gpu: Option<Gpu>,
    metrics: Arc<Metrics>,
    healthy: Arc<AtomicBool>,
}

impl Loop {
    fn run(mut self, inbox: &Receiver<Message>) {
        let mut jobs = Vec::with_capacity(self.options.max_batch);
        loop {
            match inbox.recv() {
                Ok(Message::Job(job)) => jobs.push(job),
                Ok(Message::Hurry) => {
                    self.options.wait = Duration::ZERO;
                    continue;
                }
                Ok(Message::Stop) | Err(_) => return,
            }
            let stop = self.gather(inbox, &mut jobs);
            self.metrics.queue.fetch_sub(jobs.len(), Ordering::Relaxed);
            // Whoever hung up meanwhile needs no actions.
            jobs.retain(|job| !job.reply.is_closed());
            if !jobs.is_empty() {
                self.answer(&mut jobs);
            }
            if stop {
                return;
            }
        }
    }

    /// Adds what waits already, and what comes within the wait, unless no other robot is there to wait for.
    fn gather(&mut self, inbox: &Receiver<Message>, jobs: &mut Vec<Job>) -> bool {
        let mut until = Instant::now() + self.options.wait;
        while jobs.len() < self.options.max_batch {
            let message = match inbox.try_recv() {
                Ok(message) => message,
                // Each connection has one request under way at most.
                Err(_) if jobs.len() >= self.metrics.connections() => return false,
                Err(_) => match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => return false,
                    Err(RecvTimeoutError::Disconnected) => return true,
                },
            };
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Hurry => {
                    self.options.wait = Duration::ZERO;
                    until = Instant::now();
                }
                Message::Stop => return true,
            }
        }
        false
    }

    /// Answers all jobs. Rows fail alone: one robot's observation takes no other's actions, and costs nobody a second pass.
    fn answer(&mut self, jobs: &mut Vec<Job>) {
        let batch = jobs.len();
        let began = Instant::now();
        let result = self.sample(jobs);
        let infer = began.elapsed();
        match result {
            Ok(rows) => {
                self.metrics.batch(rows.iter().filter(|row| row.is_ok()).count(), infer);
                for (job, row) in jobs.drain(..).zip(rows) {
                    let queued = began.saturating_duration_since(job.arrived);
                    let reply = row.map_err(|fault| RequestError::Inference(fault.into()));
                    // An error means that the client has gone.
                    let _ = job.reply.send(reply.map(|actions| Chunk { actions, queued, infer, batch }));
                }
            }
            Err(error) => {
                for job in jobs.drain(..) {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// A chunk for each job, or why it has none.
    fn sample(&mut self, jobs: &[Job]) -> Result<Vec<Result<Vec<f32>, &'static str>>, RequestError> {
        // Robots need not wait for what has kept others waiting in vain.
        if self.gpu.as_ref().is_some_and(Gpu::is_late) {
            return Err(RequestError::Late);
        }
        let rows: Vec<(&[f32], NoiseKey)> = jobs.iter().map(|job| (&job.obs[..], job.noise)).collect();
        let engine = &mut self.engine;
        // A panic of one pass leaves only buffers behind that the next one overwrites.
        let run = catch_unwind(AssertUnwindSafe(|| {
            let (all, outcomes) = engine.sample(&rows)?;
            let chunks = all.chunks_exact(all.len() / rows.len());
            let row = |(chunk, outcome): (&[f32], &RowOutcome)| match fault(outcome.status) {
                None => Ok(chunk.to_vec()),
                Some(fault) => Err(fault),
            };
            Ok(chunks.zip(outcomes).map(row).collect())
        }));
        match run {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) if device_lost(&error) => {
                tracing::error!("the device is lost: {error}");
                self.healthy.store(false, Ordering::Relaxed);
                Err(RequestError::Stopped)
            }
            Ok(Err(error)) => {
                if device_error(&error).is_some_and(DeviceError::is_timeout) {
                    tracing::error!("a pass was given up: {error}");
                    self.metrics.late_pass();
                }
                Err(RequestError::Inference(error.to_string()))
            }
            Err(_) => {
                tracing::error!("a pass ended by a panic");
                Err(RequestError::Inference("an internal error, which the server's log names".into()))
            }
        }
    }
}

/// Why a row has no actions, for the robot that asked.
fn fault(status: RowStatus) -> Option<&'static str> {
    match status {
        RowStatus::Done => None,
        RowStatus::NonFinite => Some("a value of the chunk is not finite"),
        RowStatus::OutOfSteps => Some("the solver was not done after its most steps"),
        RowStatus::StepTooSmall => Some("the solver would need steps that are too small"),
    }
}

/// Whether no later request can succeed on this device.
fn device_lost(error: &PolicyError) -> bool {
    device_error(error).is_some_and(DeviceError::is_lost)
}

/// What the device said, if it was the device that failed.
fn device_error(error: &PolicyError) -> Option<&DeviceError> {
    match error {
        PolicyError::Device(e)
        | PolicyError::Graph(GraphError::Device(e))
        | PolicyError::Flow(FlowError::Graph(GraphError::Device(e))) => Some(e),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_up_to_the_largest() {
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(2), [1, 2]);
        assert_eq!(sizes(6), [1, 2, 4, 6]);
        assert_eq!(sizes(8), [1, 2, 4, 8]);
        assert_eq!(sizes(0), [1]);
    }
}
