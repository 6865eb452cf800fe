//! Bytes from the device to the host, without an allocation of ours once the staging memory exists.

use super::counters::add;
use super::{Buffer, BufferCopy, Command, DeviceError, Gpu, Submission};
use bytemuck::Pod;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const IDLE: u8 = 0;
const PENDING: u8 = 1;
const MAPPED: u8 = 2;
const FAILED: u8 = 3;

/// Host-visible memory for results. A session keeps one: its [`copy`](Self::copy) rides in the same submission as the
/// dispatches, then [`fetch`](Self::fetch) waits and reads; or [`start`](Self::start), look at
/// [`is_ready`](Self::is_ready) now and then, and [`finish`](Self::finish). The memory goes back to the device's pool
/// on drop.
#[derive(Debug)]
pub struct Readback {
    gpu: Gpu,
    staging: Buffer,
    state: Arc<AtomicU8>,
    after: Option<Submission>,
    bytes: u64,
}

impl Gpu {
    /// Memory for reading back up to `bytes` bytes at a time.
    pub fn readback(&self, bytes: u64) -> Result<Readback, DeviceError> {
        let staging = self.staging(bytes)?;
        Ok(Readback {
            gpu: self.clone(),
            staging,
            state: Arc::new(AtomicU8::new(IDLE)),
            after: None,
            bytes: 0,
        })
    }

    /// Copies bytes `offset..offset + out.len()` of `buffer` to the host and waits for them. `offset` must be a
    /// multiple of 4. For tests, files and metrics; a control loop keeps a [`Readback`] and saves one submission.
    pub fn read(&self, buffer: &Buffer, offset: u64, out: &mut [u8]) -> Result<(), DeviceError> {
        self.read_within(buffer, offset, out, self.patience(0.0))
    }

    /// As [`read`](Self::read), waiting at most `timeout`.
    pub(crate) fn read_within(
        &self,
        buffer: &Buffer,
        offset: u64,
        out: &mut [u8],
        timeout: Duration,
    ) -> Result<(), DeviceError> {
        if out.is_empty() {
            return buffer.check_range(offset, 0);
        }
        // Buffers are multiples of 16 bytes, so rounding an odd length up stays inside if the length itself does.
        let exact = out.len() as u64;
        if offset.checked_add(exact).is_none_or(|end| end > buffer.bytes()) {
            let label = buffer.label().to_owned();
            return Err(DeviceError::Range { label, offset, bytes: exact, have: buffer.bytes() });
        }
        let bytes = exact.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT);
        let mut readback = self.readback(bytes)?;
        let submission = self.submit(&[readback.copy(buffer, offset, 0, bytes)])?;
        readback.start(&submission, bytes)?;
        readback.finish(out, timeout)
    }

    /// As [`read`](Self::read), for plain numbers; `offset` counts bytes.
    pub fn read_slice<T: Pod>(&self, buffer: &Buffer, offset: u64, out: &mut [T]) -> Result<(), DeviceError> {
        self.read(buffer, offset, bytemuck::cast_slice_mut(out))
    }
}

impl Readback {
    /// Most bytes that it holds.
    pub fn capacity(&self) -> u64 {
        self.staging.bytes()
    }

    /// The command that copies `bytes` bytes of `src` at `offset` to byte `at` of this memory. Must not be submitted
    /// between [`start`](Self::start) and [`finish`](Self::finish).
    pub fn copy<'a>(&'a self, src: &'a Buffer, offset: u64, at: u64, bytes: u64) -> Command<'a> {
        Command::Copy(BufferCopy { src, src_offset: offset, dst: &self.staging, dst_offset: at, bytes })
    }

    /// The memory itself, to resolve queries into.
    pub(super) fn staging(&self) -> &Buffer {
        &self.staging
    }

    /// Fails unless no transfer is in progress.
    pub(super) fn check_idle(&self) -> Result<(), DeviceError> {
        let found = match self.state.load(Ordering::Acquire) {
            IDLE => return Ok(()),
            PENDING => "waiting for the device",
            MAPPED => "holding unread bytes",
            _ => "holding a failed transfer",
        };
        Err(DeviceError::State { what: "readback", found, needed: "idle" })
    }

    /// Asks for the first `bytes` bytes (rounded up to 4) once `after` has finished. Returns at once.
    pub fn start(&mut self, after: &Submission, bytes: u64) -> Result<(), DeviceError> {
        self.gpu.check()?;
        self.check_idle()?;
        let bytes = bytes.max(1).checked_next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT).unwrap_or(bytes);
        self.staging.check_range(0, bytes)?;
        self.state.store(PENDING, Ordering::Release);
        let state = self.state.clone();
        self.staging.raw().map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            state.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        self.after = Some(after.clone());
        self.bytes = bytes;
        Ok(())
    }

    /// Whether [`finish`](Self::finish) would return without waiting. Does not wait itself.
    pub fn is_ready(&self) -> Result<bool, DeviceError> {
        if self.state.load(Ordering::Acquire) == PENDING {
            self.gpu.poll()?;
        }
        Ok(matches!(self.state.load(Ordering::Acquire), MAPPED | FAILED))
    }

    /// Whether no transfer is in progress any more, as far as polls have told.
    pub(super) fn has_arrived(&self) -> bool {
        self.state.load(Ordering::Acquire) != PENDING
    }

    /// Waits at most `timeout` for the bytes asked for by [`start`](Self::start) and copies the first `out.len()` of
    /// them. After a timeout it may be called again.
    pub fn finish(&mut self, out: &mut [u8], timeout: Duration) -> Result<(), DeviceError> {
        let Some(after) = &self.after else {
            return Err(DeviceError::State { what: "readback", found: "idle", needed: "started" });
        };
        let bytes = out.len() as u64;
        if bytes > self.bytes {
            let label = "readback".to_owned();
            return Err(DeviceError::Range { label, offset: 0, bytes, have: self.bytes });
        }
        if !self.gpu.spin(timeout, || self.has_arrived())? {
            self.gpu.wait(after, timeout)?;
        }
        // wgpu fires the map callback in the poll that finds the submission done. If that is another thread's, our own wait may end
        // before its callback.
        let begun = Instant::now();
        while !self.has_arrived() && begun.elapsed() < timeout {
            std::thread::yield_now();
            self.gpu.poll()?;
        }
        match self.state.load(Ordering::Acquire) {
            MAPPED => {}
            PENDING => {
                self.gpu.inner.health.set_late(true);
                return Err(DeviceError::Timeout { what: "readback", waited: timeout });
            }
            _ => {
                let message = "the staging memory could not be mapped".into();
                return Err(self.gpu.explain(DeviceError::Validation { message }));
            }
        }
        let copied = if out.is_empty() {
            Ok(())
        } else {
            match self.staging.raw().get_mapped_range(0..self.bytes) {
                Ok(view) => {
                    out.copy_from_slice(&view[..out.len()]);
                    Ok(())
                }
                Err(error) => Err(DeviceError::Validation { message: error.to_string() }),
            }
        };
        self.staging.raw().unmap();
        self.state.store(IDLE, Ordering::Release);
        self.after = None;
        copied?;
        add(&self.gpu.inner.counters.bytes_read_back, bytes);
        self.gpu.check()
    }

    /// Waits for `after` and copies the first `out.len()` bytes of this memory.
    pub fn fetch(
        &mut self,
        after: &Submission,
        out: &mut [u8],
        timeout: Duration,
    ) -> Result<(), DeviceError> {
        self.start(after, out.len() as u64)?;
        self.finish(out, timeout)
    }
}

impl Drop for Readback {
    /// Idle memory is reused. A transfer in progress is left to wgpu, which frees the memory when it ends: reusing it
    /// would let a late callback speak for the next transfer.
    fn drop(&mut self) {
        if self.state.load(Ordering::Acquire) == IDLE && !self.gpu.inner.health.is_lost() {
            self.gpu.inner.staging.give(self.staging.clone());
        }
    }
}
