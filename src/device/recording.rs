//! Recordings: lists of dispatches as plain data, and their replay.
//!
//! A replay runs thousands of times a second, so the loop here touches only what it is given: no lookup, no allocation
//! of ours, no string. Pipeline and bind group are set only where they differ from the dispatch before.

use super::counters::add;
use super::{Buffer, DeviceError, Gpu, Pipeline, Submission, Timer};
use std::sync::Arc;

/// One launch of a kernel.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The kernel.
    pub pipeline: Arc<Pipeline>,
    /// Its buffers.
    pub bind_group: Arc<wgpu::BindGroup>,
    /// Where its parameter block begins in the uniform buffer, bytes; ignored by kernels without one.
    pub uniform_offset: u32,
    /// Workgroups along x, y, z; ignored where `indirect` is given.
    pub grid: [u32; 3],
    /// Take the grid from device memory.
    pub indirect: Option<Indirect>,
}

/// A grid that a kernel wrote: three `u32` (workgroups along x, y, z).
#[derive(Debug, Clone)]
pub struct Indirect {
    /// A buffer made by [`Gpu::create_indirect`].
    pub buffer: Buffer,
    /// Where the grid begins, bytes, a multiple of 4.
    pub offset: u64,
}

/// A copy from buffer to buffer. Offsets and size are bytes, multiples of 4.
#[derive(Debug, Clone, Copy)]
pub struct BufferCopy<'a> {
    /// From here.
    pub src: &'a Buffer,
    /// First byte read.
    pub src_offset: u64,
    /// To here; another buffer than `src`.
    pub dst: &'a Buffer,
    /// First byte written.
    pub dst_offset: u64,
    /// How many.
    pub bytes: u64,
}

/// One part of a submission; parts run in order.
#[derive(Debug, Clone, Copy)]
pub enum Command<'a> {
    /// Dispatches. Neighbouring `Run`s share one compute pass.
    Run(&'a [Dispatch]),
    /// A copy; ends the pass.
    Copy(BufferCopy<'a>),
    /// Zeroes a whole buffer; ends the pass.
    Clear(&'a Buffer),
}

impl Gpu {
    /// Records `commands` into one command buffer and submits it. Returns as soon as the queue has it.
    pub fn submit(&self, commands: &[Command<'_>]) -> Result<Submission, DeviceError> {
        self.encode(commands, None)
    }

    /// As [`submit`](Self::submit), with GPU timestamps before the first dispatch and after the last.
    pub fn submit_timed(
        &self,
        commands: &[Command<'_>],
        timer: &mut Timer,
    ) -> Result<Submission, DeviceError> {
        timer.readback.check_idle()?;
        let submission = self.encode(commands, Some(timer))?;
        timer.start(&submission)?;
        Ok(submission)
    }

    fn encode(&self, commands: &[Command<'_>], timer: Option<&Timer>) -> Result<Submission, DeviceError> {
        let inner = &*self.inner;
        inner.health.check()?;
        let mut encoder =
            inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let mut dispatches = 0;
        let last_run = commands.iter().rposition(|c| matches!(c, Command::Run(_)));
        let (mut next, mut begun) = (0, false);
        while let Some(command) = commands.get(next) {
            match command {
                Command::Run(_) => {
                    let runs = commands[next..].iter().take_while(|c| matches!(c, Command::Run(_))).count();
                    let end = next + runs;
                    let timestamp_writes =
                        timer.and_then(|timer| timer.writes(!begun, last_run.is_some_and(|last| last < end)));
                    begun = true;
                    let desc = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                    let mut pass = encoder.begin_compute_pass(&desc);
                    dispatches += self.run(&mut pass, &commands[next..end])?;
                    next = end;
                }
                Command::Copy(copy) => {
                    copy.src.check_range(copy.src_offset, copy.bytes)?;
                    copy.dst.check_range(copy.dst_offset, copy.bytes)?;
                    let (src, dst) = (copy.src.raw(), copy.dst.raw());
                    encoder.copy_buffer_to_buffer(src, copy.src_offset, dst, copy.dst_offset, copy.bytes);
                    next += 1;
                }
                Command::Clear(buffer) => {
                    encoder.clear_buffer(buffer.raw(), 0, None);
                    next += 1;
                }
            }
        }
        if let Some(timer) = timer {
            if !begun {
                let timestamp_writes = timer.writes(true, true);
                drop(
                    encoder
                        .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes }),
                );
            }
            timer.resolve(&mut encoder);
        }
        let index = inner.queue.submit([encoder.finish()]);
        // What went wrong in recording or submitting was recorded by the callback: no error scope here, which would
        // allocate in every replay.
        inner.health.check()?;
        add(&inner.counters.dispatches, dispatches);
        add(&inner.counters.submits, 1);
        Ok(Submission(index))
    }

    /// Records neighbouring runs into one pass; returns the number of dispatches.
    fn run(&self, pass: &mut wgpu::ComputePass<'_>, runs: &[Command<'_>]) -> Result<u64, DeviceError> {
        let most = self.caps().limits.workgroups_per_dimension;
        let mut before: Option<&Dispatch> = None;
        let mut count = 0;
        for run in runs {
            let Command::Run(dispatches) = run else { continue };
            for dispatch in *dispatches {
                let pipeline = &dispatch.pipeline;
                if before.is_none_or(|b| !Arc::ptr_eq(&b.pipeline, pipeline)) {
                    pass.set_pipeline(&pipeline.raw);
                }
                // A kernel with a parameter block binds at its offset; another layout needs its group set again.
                let same_group = before.is_some_and(|b| {
                    Arc::ptr_eq(&b.bind_group, &dispatch.bind_group)
                        && Arc::ptr_eq(&b.pipeline.layout, &pipeline.layout)
                        && (b.uniform_offset == dispatch.uniform_offset || !pipeline.layout.has_params)
                });
                if !same_group {
                    let offset = [dispatch.uniform_offset];
                    let offsets: &[u32] = if pipeline.layout.has_params { &offset } else { &[] };
                    pass.set_bind_group(0, &*dispatch.bind_group, offsets);
                }
                match &dispatch.indirect {
                    Some(indirect) => {
                        indirect.buffer.check_range(indirect.offset, 12)?;
                        pass.dispatch_workgroups_indirect(indirect.buffer.raw(), indirect.offset);
                    }
                    None => {
                        let [x, y, z] = dispatch.grid;
                        if x.max(y).max(z) > most {
                            return Err(too_large(dispatch, most));
                        }
                        pass.dispatch_workgroups(x, y, z);
                    }
                }
                before = Some(dispatch);
            }
            count += dispatches.len() as u64;
        }
        Ok(count)
    }
}

#[cold]
fn too_large(dispatch: &Dispatch, have: u32) -> DeviceError {
    let [x, y, z] = dispatch.grid;
    DeviceError::Limit {
        what: format!("the grid {x}x{y}x{z} of '{}' in workgroups per dimension", dispatch.pipeline.name()),
        need: x.max(y).max(z).into(),
        have: have.into(),
    }
}
