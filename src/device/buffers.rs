//! Buffers: creating them within the device's limits, filling them, and the pool of staging memory for reading back.

use super::counters::add;
use super::{DeviceError, Gpu};
use bytemuck::Pod;
use std::sync::{Arc, Mutex, PoisonError};
use wgpu::BufferUsages;

/// Sizes are rounded up to this many bytes, so that a vec4 load at the end of a buffer stays inside.
const ROUND: u64 = 16;

/// Most staging buffers kept for reuse.
const STAGING_KEPT: usize = 16;

/// Device memory with a name. Cheap to clone; the memory is freed with the last clone.
#[derive(Debug, Clone)]
pub struct Buffer {
    raw: wgpu::Buffer,
    label: Arc<str>,
}

impl Buffer {
    /// Size in bytes, a multiple of 16.
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }

    /// The name it was created with.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The wgpu buffer.
    pub(crate) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }

    /// Fails unless bytes `offset..offset + bytes` lie inside and both are multiples of 4.
    pub(super) fn check_range(&self, offset: u64, bytes: u64) -> Result<(), DeviceError> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes()) {
            let label = self.label.to_string();
            return Err(DeviceError::Range { label, offset, bytes, have: self.bytes() });
        }
        check_multiple(offset, wgpu::COPY_BUFFER_ALIGNMENT, || format!("an offset into '{}'", self.label))?;
        check_multiple(bytes, wgpu::COPY_BUFFER_ALIGNMENT, || format!("a size in '{}'", self.label))
    }
}

/// Fails unless `found` is a multiple of `need`.
pub(super) fn check_multiple(
    found: u64,
    need: u64,
    what: impl FnOnce() -> String,
) -> Result<(), DeviceError> {
    if found.is_multiple_of(need.max(1)) {
        return Ok(());
    }
    Err(DeviceError::Alignment { what: what(), found, need })
}

impl Gpu {
    /// A buffer that kernels read and write and that can be copied from and to; `bytes` is rounded up to 16. It starts
    /// zeroed (wgpu clears it at first use). It may be larger than one binding: kernels then see parts ([`Bound::part`](super::Bound::part)).
    pub fn create_storage(&self, label: &str, bytes: u64) -> Result<Buffer, DeviceError> {
        self.create_bound(label, bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC)
    }

    /// A storage buffer that can also hold the grid of an indirect dispatch (three `u32`).
    pub fn create_indirect(&self, label: &str, bytes: u64) -> Result<Buffer, DeviceError> {
        let usage = BufferUsages::STORAGE | BufferUsages::INDIRECT | BufferUsages::COPY_SRC;
        self.create_bound(label, bytes, usage)
    }

    /// A buffer for kernel parameters, written from the host. Each dispatch sees a window of it at its dynamic offset,
    /// a multiple of `caps().limits.uniform_offset_alignment`; so the whole may be larger than one binding.
    pub fn create_uniform(&self, label: &str, bytes: u64) -> Result<Buffer, DeviceError> {
        self.create(label, bytes, BufferUsages::UNIFORM | BufferUsages::COPY_DST)
    }

    fn create_bound(&self, label: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer, DeviceError> {
        self.create(label, bytes, usage | BufferUsages::COPY_DST)
    }

    pub(super) fn create(&self, label: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer, DeviceError> {
        self.create_as(label, bytes, usage, false)
    }

    /// A buffer that the host may write to at once.
    pub(super) fn create_mapped(
        &self,
        label: &str,
        bytes: u64,
        usage: BufferUsages,
    ) -> Result<Buffer, DeviceError> {
        self.create_as(label, bytes, usage, true)
    }

    fn create_as(
        &self,
        label: &str,
        bytes: u64,
        usage: BufferUsages,
        mapped_at_creation: bool,
    ) -> Result<Buffer, DeviceError> {
        let have = self.caps().limits.max_buffer_bytes;
        let limit = || DeviceError::Limit {
            what: format!("buffer '{label}' in bytes (max_buffer_size)"),
            need: bytes,
            have,
        };
        let size =
            bytes.max(1).checked_next_multiple_of(ROUND).filter(|&size| size <= have).ok_or_else(limit)?;
        let desc = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation };
        let raw = self.scoped_bytes(label, size, |device| device.create_buffer(&desc))?;
        add(&self.inner.counters.buffers_created, 1);
        add(&self.inner.counters.bytes_allocated, size);
        Ok(Buffer { raw, label: label.into() })
    }

    /// Writes `data` at byte `offset`; both offset and length must be multiples of 4. The bytes arrive before the next
    /// submission runs, after those already submitted.
    pub fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.check()?;
        buffer.check_range(offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        self.inner.queue.write_buffer(&buffer.raw, offset, data);
        add(&self.inner.counters.queue_writes, 1);
        add(&self.inner.counters.bytes_uploaded, data.len() as u64);
        self.check()
    }

    /// A new storage buffer holding `data`.
    pub fn upload<T: Pod>(&self, label: &str, data: &[T]) -> Result<Buffer, DeviceError> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = self.create_storage(label, bytes.len() as u64)?;
        let whole = bytes.len() / 4 * 4;
        self.write(&buffer, 0, &bytes[..whole])?;
        if whole < bytes.len() {
            let mut last = [0u8; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.write(&buffer, whole as u64, &last)?;
        }
        Ok(buffer)
    }
}

/// Staging buffers that wait for their next readback.
#[derive(Debug, Default)]
pub(super) struct StagingPool {
    idle: Mutex<Vec<Buffer>>,
}

impl StagingPool {
    /// The smallest idle buffer of at least `bytes` bytes.
    fn take(&self, bytes: u64) -> Option<Buffer> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = idle.iter().enumerate().filter(|(_, b)| b.bytes() >= bytes);
        let (best, _) = fits.min_by_key(|(_, b)| b.bytes())?;
        Some(idle.swap_remove(best))
    }

    /// Keeps an unmapped buffer for reuse. When too many wait, the smallest goes: it is the cheapest to make again.
    pub fn give(&self, buffer: Buffer) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(buffer);
        if idle.len() > STAGING_KEPT
            && let Some((least, _)) = idle.iter().enumerate().min_by_key(|(_, b)| b.bytes())
        {
            idle.swap_remove(least);
        }
    }
}

impl Gpu {
    /// Host-visible memory of at least `bytes` bytes, from the pool where it has one. New ones are rounded up to a
    /// power of two so that slightly different sizes share.
    pub(super) fn staging(&self, bytes: u64) -> Result<Buffer, DeviceError> {
        if let Some(buffer) = self.inner.staging.take(bytes) {
            return Ok(buffer);
        }
        let most = self.caps().limits.max_buffer_bytes;
        let size = bytes.max(256).checked_next_power_of_two().filter(|&s| s <= most).unwrap_or(bytes);
        self.create("staging", size, BufferUsages::MAP_READ | BufferUsages::COPY_DST)
    }
}
