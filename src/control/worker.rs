//! The inference thread: one job at a time, there and back.

use super::job::Job;
use super::{ControlError, Result};
use crate::policy::ChunkSource;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A job that came back.
pub(super) struct Done {
    pub job: Box<Job>,
    pub result: Result<()>,
}

/// What is to be heard from the thread now.
pub(super) enum Heard {
    Nothing,
    Done(Done),
    /// It has ended and says nothing more.
    Ended,
}

pub(super) struct Worker {
    /// None once it shall stop.
    jobs: Option<SyncSender<Box<Job>>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread. One job is under way at most, so neither side ever waits to send.
    pub(super) fn start(mut source: Box<dyn ChunkSource>) -> Result<Worker> {
        let (jobs, inbox) = sync_channel::<Box<Job>>(1);
        let (outbox, done) = sync_channel::<Done>(1);
        let body = move || {
            while let Ok(mut job) = inbox.recv() {
                let result = match catch_unwind(AssertUnwindSafe(|| job.run(&mut *source))) {
                    Ok(result) => result,
                    Err(panic) => Err(ControlError::Panicked { message: message(&*panic) }),
                };
                // A source that panicked is in an unknown state: it is not asked again.
                let ends = matches!(result, Err(ControlError::Panicked { .. }));
                if outbox.send(Done { job, result }).is_err() || ends {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("advect inference".into()).spawn(body);
        Ok(Worker { jobs: Some(jobs), done, thread: Some(thread.map_err(ControlError::Thread)?) })
    }

    /// Hands a job over; gives it back if the thread has ended.
    pub(super) fn send(&self, job: Box<Job>) -> std::result::Result<(), Box<Job>> {
        match &self.jobs {
            Some(jobs) => jobs.try_send(job).map_err(|error| match error {
                std::sync::mpsc::TrySendError::Full(job)
                | std::sync::mpsc::TrySendError::Disconnected(job) => job,
            }),
            None => Err(job),
        }
    }

    /// What is there within so long.
    pub(super) fn hear(&self, patience: Duration) -> Heard {
        let heard = match patience.is_zero() {
            true => self.done.try_recv().map_err(|error| error == TryRecvError::Disconnected),
            false => {
                self.done.recv_timeout(patience).map_err(|error| error == RecvTimeoutError::Disconnected)
            }
        };
        match heard {
            Ok(done) => Heard::Done(done),
            Err(true) => Heard::Ended,
            Err(false) => Heard::Nothing,
        }
    }

    /// Waits for the job under way, then for the thread's end.
    pub(super) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Panics of the source are caught and reported; there is none left to pass on.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
