//! The GPU executor: a plan's pipelines, bind groups and parameters resolved once, then replayed.

use super::profile::{Clock, CommandTime, Profile};
use super::{GraphError, Plan, Result, windows};
use crate::device::{
    AdapterKind, BindGroupCache, Binding, Bound, Buffer, Command, CounterSnapshot, Deadline, DeviceError,
    Dispatch, Gpu, Readback, Submission, Timer, Uploads,
};
use crate::kernel::BufferId;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A submit is cut before it is predicted to take longer: desktops freeze and watchdogs bite on long ones.
const SUBMIT_MS: f64 = 100.0;
/// Parts of one submit.
const PARTS: usize = 64;
/// Buffers that one replay can read back.
const READS: usize = 4;
/// Most launches of one command that a profile times together, and about how long they should take, seconds: a clock's step and
/// the start of a pass are microseconds.
const TOGETHER: (usize, f64) = (16, 5e-4);

type DeviceResult<T> = std::result::Result<T, DeviceError>;

/// A plan resident on a GPU.
pub struct GpuSession {
    gpu: Gpu,
    plan: Arc<Plan>,
    slots: Vec<Buffer>,
    dispatches: Vec<Dispatch>,
    /// For each phase, the pieces that a recording may be cut into and their predicted milliseconds.
    pieces: Vec<Vec<(Range<usize>, f64)>>,
    uploads: Uploads,
    readback: Option<Readback>,
    scratch: Vec<u8>,
    last: Option<Submission>,
    /// Predicted milliseconds of what was submitted since the last wait.
    pending_ms: f64,
    /// When waits end, if before the device's own limit.
    deadline: Option<Deadline>,
}

impl GpuSession {
    pub(super) fn new(gpu: &Gpu, plan: Arc<Plan>) -> Result<GpuSession> {
        if gpu.report().is_software() {
            plan.afford()?;
        }
        let mut slots = Vec::with_capacity(plan.slots.len());
        for slot in &plan.slots {
            let label = slot.name.as_deref().unwrap_or("plan memory");
            let buffer = gpu.create_storage(label, 4 * slot.elements.max(4) as u64)?;
            if let Some(data) = &slot.data {
                gpu.write(&buffer, 0, bytemuck::cast_slice(data))?;
            }
            slots.push(buffer);
        }
        let (dispatches, _) = resolve(gpu, &plan, &slots)?;
        gpu.keep_pipelines();
        let pieces = plan.phases.iter().map(|p| cut(gpu, &plan, p.range.clone())).collect();
        Ok(GpuSession {
            gpu: gpu.clone(),
            plan,
            slots,
            dispatches,
            pieces,
            uploads: gpu.uploads(),
            readback: None,
            scratch: Vec::new(),
            last: None,
            pending_ms: 0.0,
            deadline: None,
        })
    }

    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// When the waits of the calls to come end.
    pub(super) fn set_deadline(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
    }

    /// Waits as `wait` does, which is told how long it may take.
    fn waiting<T>(&mut self, wait: impl FnOnce(&mut Self, Duration) -> DeviceResult<T>) -> Result<T> {
        let (patience, deadline) = (self.gpu.patience(self.pending_ms), self.deadline);
        let found = match deadline.filter(|deadline| deadline.left() < patience) {
            None => wait(self, patience),
            Some(deadline) => wait(self, deadline.left()).map_err(|error| error.within(deadline.allowed())),
        };
        Ok(found?)
    }

    /// Nothing new is asked of a device that is behind with what it was asked before.
    fn settle(&mut self) -> Result<()> {
        self.waiting(|session, timeout| session.gpu.settle(timeout))
    }

    pub(super) fn write(&mut self, id: BufferId, offset: usize, data: &[f32]) -> Result<()> {
        self.settle()?;
        let (buffer, offset, data) =
            (&self.slots[id.0 as usize], 4 * offset as u64, bytemuck::cast_slice(data));
        if !self.uploads.write(buffer, offset, data)? {
            self.flush()?;
            self.gpu.write(&self.slots[id.0 as usize], offset, data)?;
        }
        Ok(())
    }

    /// Submits the writes that wait for a submission.
    fn flush(&mut self) -> Result<()> {
        if !self.uploads.is_empty() {
            self.record(&[], 0, &[])?;
        }
        Ok(())
    }

    pub(super) fn read(&mut self, id: BufferId, offset: usize, out: &mut [f32]) -> Result<()> {
        self.settle()?;
        self.flush()?;
        let (at, out) = (4 * offset as u64, bytemuck::cast_slice_mut(out));
        self.waiting(|session, timeout| {
            session.gpu.read_within(&session.slots[id.0 as usize], at, out, timeout)
        })
    }

    /// Replays phases `times` times in as few submits as allowed.
    pub(super) fn repeat(&mut self, phases: &[usize], times: usize) -> Result<()> {
        self.record(phases, times, &[])
    }

    /// Replays phases `times` times and reads buffers back, in one submit if it is short enough.
    pub(super) fn run_reading(
        &mut self,
        phases: &[usize],
        times: usize,
        reads: &mut [(BufferId, &mut [f32])],
    ) -> Result<()> {
        if reads.len() > READS {
            let what = format!("{} buffers to read at once, at most {READS} are", reads.len());
            return Err(GraphError::Plan { kernel: "session", what });
        }
        let bytes: usize = reads.iter().map(|(_, out)| 4 * out.len()).sum();
        if self.readback.as_ref().is_none_or(|r| (r.capacity() as usize) < bytes) {
            self.readback = Some(self.gpu.readback(bytes as u64)?);
        }
        let mut copies = [(BufferId(0), 0usize); READS];
        let n = reads.len().min(copies.len());
        for (copy, (id, out)) in copies.iter_mut().zip(reads.iter()) {
            *copy = (*id, out.len());
        }
        self.record(phases, times, &copies[..n])?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let fetched = match reads {
            // One buffer is copied straight to its place.
            [(_, out)] => self.fetch(bytemuck::cast_slice_mut(out)),
            _ => {
                scratch.resize(bytes, 0);
                self.fetch(&mut scratch)
            }
        };
        self.scratch = scratch;
        if fetched.is_err() {
            // Its bytes may still come, and must not be taken for those of a later pass: that one gets memory of its own.
            self.readback = None;
        }
        fetched?;
        self.pending_ms = 0.0;
        match reads {
            [_] => {}
            _ => {
                let mut at = 0;
                for (_, out) in reads.iter_mut() {
                    let into: &mut [u8] = bytemuck::cast_slice_mut(out);
                    into.copy_from_slice(&self.scratch[at..at + into.len()]);
                    at += into.len();
                }
            }
        }
        Ok(())
    }

    /// Waits for the last submission and takes over what it has copied.
    fn fetch(&mut self, out: &mut [u8]) -> Result<()> {
        self.waiting(|session, timeout| {
            let (Some(readback), Some(last)) = (&mut session.readback, &session.last) else {
                let (found, needed) = ("nothing submitted", "a submission");
                return Err(DeviceError::State { what: "session", found, needed });
            };
            readback.fetch(last, out, timeout)
        })
    }

    fn record(&mut self, phases: &[usize], times: usize, reads: &[(BufferId, usize)]) -> Result<()> {
        self.settle()?;
        self.uploads.seal();
        let recorded = self.submit(phases, times, reads);
        self.uploads.recycle();
        self.last = recorded?.or(self.last.take());
        Ok(())
    }

    /// The last of the submissions: first what was written, then the phases, then the copies that are read.
    fn submit(
        &mut self,
        phases: &[usize],
        times: usize,
        reads: &[(BufferId, usize)],
    ) -> Result<Option<Submission>> {
        // Where somebody waits, the device begins while the rest is recorded.
        let head_start = if reads.is_empty() { None } else { self.head_start(phases, times) };
        let mut batch = Batch::new(&self.gpu, head_start.unwrap_or(usize::MAX));
        for copy in self.uploads.commands() {
            batch.push(copy);
        }
        for _ in 0..times {
            for (range, cost) in phases.iter().flat_map(|phase| &self.pieces[*phase]) {
                if batch.ms + cost > SUBMIT_MS || batch.count + reads.len() >= PARTS {
                    batch.send()?;
                }
                let mut from = range.start;
                while range.end - from > batch.room() {
                    let to = from + batch.room();
                    batch.push(Command::Run(&self.dispatches[from..to]));
                    batch.send()?;
                    from = to;
                }
                batch.push(Command::Run(&self.dispatches[from..range.end]));
                batch.ms += cost;
                self.pending_ms += cost;
            }
        }
        if let Some(readback) = &self.readback {
            let mut at = 0;
            for (id, elements) in reads.iter().filter(|(_, elements)| *elements > 0) {
                let bytes = 4 * *elements as u64;
                batch.push(readback.copy(&self.slots[id.0 as usize], 0, at, bytes));
                at += bytes;
            }
        }
        batch.send()?;
        Ok(batch.last)
    }

    /// Dispatches of the first submission of a pass that is worth several.
    fn head_start(&self, phases: &[usize], times: usize) -> Option<usize> {
        let first = self.gpu.head_start();
        let each: usize = phases.iter().map(|phase| self.plan.phases[*phase].range.len()).sum();
        (first > 0 && times * each > 2 * first).then_some(first)
    }

    pub(super) fn wait(&mut self) -> Result<()> {
        self.flush()?;
        self.waiting(|session, timeout| match &session.last {
            Some(last) => session.gpu.wait(last, timeout),
            None => Ok(()),
        })?;
        self.pending_ms = 0.0;
        Ok(())
    }

    /// Times every command of the phases alone: the mean over some launches one after another, `replays` times after one that
    /// warms up. A software adapter's timestamps are of its queue, not of its work: there the host's clock counts.
    pub(super) fn profile(&mut self, phases: &[usize], replays: usize) -> Result<Profile> {
        self.flush()?;
        let stamps = self.gpu.caps().timestamps && !self.gpu.report().is_software();
        let mut timer = if stamps { Some(Timer::new(&self.gpu)?) } else { None };
        let mut commands = Vec::new();
        for index in phases.iter().flat_map(|p| self.plan.phases[*p].range.clone()) {
            let (mut seconds, mut times) = (Vec::with_capacity(replays), 1);
            for replay in 0..=replays.max(1) {
                let parts = [Command::Run(&self.dispatches[index..=index]); TOGETHER.0];
                let each = self.timed(&parts[..times], timer.as_mut())? / times as f64;
                match replay {
                    0 => times = ((TOGETHER.1 / each.max(1e-9)) as usize).clamp(1, TOGETHER.0),
                    _ => seconds.push(each),
                }
            }
            commands.push(CommandTime::new(index, seconds));
        }
        Ok(Profile { clock: if stamps { Clock::Device } else { Clock::Submit }, commands })
    }

    /// Seconds of one submit.
    fn timed(&self, parts: &[Command<'_>], timer: Option<&mut Timer>) -> Result<f64> {
        let Some(timer) = timer else {
            let begun = Instant::now();
            self.gpu.wait(&self.gpu.submit(parts)?, self.gpu.patience(0.0))?;
            return Ok(begun.elapsed().as_secs_f64());
        };
        self.gpu.submit_timed(parts, timer)?;
        Ok(1e-9 * timer.nanoseconds(self.gpu.patience(0.0))?)
    }

    pub(super) fn counters(&self) -> CounterSnapshot {
        self.gpu.counters()
    }
}

/// A submission that is being put together.
struct Batch<'a> {
    gpu: &'a Gpu,
    parts: [Command<'a>; PARTS],
    count: usize,
    /// Predicted milliseconds.
    ms: f64,
    dispatches: usize,
    /// Most dispatches of this submission; the next may have twice as many.
    most: usize,
    last: Option<Submission>,
}

impl<'a> Batch<'a> {
    fn new(gpu: &'a Gpu, most: usize) -> Batch<'a> {
        let parts = [Command::Run(&[]); PARTS];
        Batch { gpu, parts, count: 0, ms: 0.0, dispatches: 0, most, last: None }
    }

    /// Dispatches that it may still take.
    fn room(&self) -> usize {
        self.most - self.dispatches
    }

    fn push(&mut self, part: Command<'a>) {
        if let Command::Run(run) = part {
            self.dispatches += run.len();
        }
        self.parts[self.count] = part;
        self.count += 1;
    }

    /// Submits what there is.
    fn send(&mut self) -> Result<()> {
        if self.count > 0 {
            self.last = Some(self.gpu.submit(&self.parts[..self.count])?);
            (self.count, self.ms, self.dispatches) = (0, 0.0, 0);
            self.most = self.most.saturating_mul(2);
        }
        Ok(())
    }
}

/// Pipelines, bind groups and the parameters of every command in one uniform buffer.
fn resolve(gpu: &Gpu, plan: &Plan, slots: &[Buffer]) -> Result<(Vec<Dispatch>, Buffer)> {
    let limits = &gpu.caps().limits;
    let (align, most) = (limits.uniform_offset_alignment.max(4) as usize, limits.binding_elements());
    let mut from = Vec::with_capacity(plan.commands.len());
    let mut offsets = Vec::with_capacity(plan.commands.len());
    let mut words: Vec<u32> = Vec::new();
    for command in &plan.commands {
        words.resize((words.len() * 4).next_multiple_of(align) / 4, 0);
        offsets.push(4 * words.len() as u32);
        let windowed = windows::place(command, &plan.slots, most)?;
        words.extend_from_slice(&windowed.params);
        from.push(windowed.from);
    }
    let params = gpu.create_uniform("kernel parameters", 4 * words.len().max(4) as u64)?;
    gpu.write(&params, 0, bytemuck::cast_slice(&words))?;
    let mut groups = BindGroupCache::new(gpu);
    let mut dispatches = Vec::with_capacity(plan.commands.len());
    for ((command, offset), from) in plan.commands.iter().zip(offsets).zip(from) {
        let variant = command.variant;
        let mut bindings = vec![Binding::Params { bytes: variant.params_bytes }];
        bindings.extend(variant.bindings.iter().map(|a| Binding::Storage(*a)));
        // SAFETY: `Session::new` has checked that the command is one of the engine's and touches its buffers only within their ends;
        // windows move offsets and bindings alike.
        let pipeline = unsafe { gpu.pipeline(variant.name, variant.source, &bindings) }?;
        let mut bound = vec![Bound::whole(&params)];
        bound.extend(command.args.iter().zip(from).map(|(a, from)| {
            let (buffer, first) = (&slots[a.0 as usize], 4 * from as u64);
            match buffer.bytes() - first {
                rest if first == 0 && rest <= limits.max_storage_binding_bytes => Bound::whole(buffer),
                rest => Bound::part(buffer, first, rest.min(4 * most as u64)),
            }
        }));
        let bind_group = groups.get(&pipeline, &bound)?;
        dispatches.push(Dispatch {
            pipeline,
            bind_group,
            uniform_offset: offset,
            grid: command.grid,
            indirect: None,
        });
    }
    Ok((dispatches, params))
}

/// A phase's pieces between split marks, with predicted times.
fn cut(gpu: &Gpu, plan: &Plan, range: Range<usize>) -> Vec<(Range<usize>, f64)> {
    // Operations per millisecond that a plain kernel reaches; a software adapter has no watchdog to fear and is taken for a
    // small GPU.
    let rate = match gpu.report().device_type {
        AdapterKind::Discrete => 2e9,
        _ => 2e8,
    };
    let mut marks: Vec<usize> =
        plan.splits.iter().copied().filter(|s| range.contains(s) && *s > range.start).collect();
    marks.push(range.end);
    let mut out = Vec::new();
    let mut from = range.start;
    let mut pending = 0.0;
    for to in marks {
        let flops: f64 = plan.costs.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, f)| f).sum();
        // A dependent dispatch costs some microseconds however small it is.
        let ms = flops / rate + 5e-3 * (to - from) as f64;
        match out.last_mut() {
            // Neighbouring pieces that fit one submit together stay one part.
            Some((last, cost)) if pending + ms <= 0.5 * SUBMIT_MS => {
                let last: &mut Range<usize> = last;
                last.end = to;
                *cost += ms;
            }
            _ => {
                out.push((from..to, ms));
                pending = 0.0;
            }
        }
        pending += ms;
        from = to;
    }
    out
}
