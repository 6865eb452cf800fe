//! Bytes from the host to the device that ride in the submission of the work that reads them.
//!
//! A write through wgpu's queue makes a buffer, asks the driver about its memory and frees it again, each time. Here memory that stays
//! mapped between submissions goes round: filled, copied from by the next submission, mapped again when that has finished.

use super::counters::add;
use super::{Buffer, BufferCopy, Command, DeviceError, Gpu};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use wgpu::BufferUsages;

/// Bytes of a new piece of memory at least, and at most: larger data go through the queue.
const SIZE: (u64, u64) = (1 << 14, 1 << 20);
/// Copies that one submission may take along.
const COPIES: usize = 8;
/// Pieces that go round: as many submissions may be under way.
const PIECES: usize = 4;
/// Where data may begin in mapped memory.
const ALIGN: u64 = 16;

const BUSY: u8 = 0;
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

/// Host memory that kernels never see.
#[derive(Debug)]
struct Piece {
    buffer: Buffer,
    state: Arc<AtomicU8>,
}

/// Small writes that wait for the next submission, and the memory that they pass through. A session keeps one: [`write`](Self::write), then
/// [`seal`](Self::seal) and the [`commands`](Self::commands) before all others of a submission, then [`recycle`](Self::recycle).
#[derive(Debug)]
pub struct Uploads {
    gpu: Gpu,
    /// The piece that is being filled, and how far.
    open: Option<(Piece, u64)>,
    /// Where each part of it goes, from where in it, and how many bytes.
    copies: Vec<(Buffer, u64, u64, u64)>,
    /// Pieces under way.
    away: Vec<Piece>,
    /// Bytes of the next new piece.
    size: u64,
}

impl Gpu {
    /// Memory for writes that ride in submissions; none is taken before the first.
    pub fn uploads(&self) -> Uploads {
        Uploads {
            gpu: self.clone(),
            open: None,
            copies: Vec::with_capacity(COPIES),
            away: Vec::new(),
            size: SIZE.0,
        }
    }
}

impl Uploads {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Keeps `data` for byte `offset` of `buffer`, both multiples of 4 in bytes. False if there is no room, or the data are too many: they must
    /// then go another way, after what waits.
    pub fn write(&mut self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<bool, DeviceError> {
        let bytes = data.len() as u64;
        self.gpu.check()?;
        buffer.check_range(offset, bytes)?;
        if bytes == 0 {
            return Ok(true);
        }
        if bytes > SIZE.1 || self.copies.len() == COPIES {
            return Ok(false);
        }
        let used = self.open.as_ref().map_or(0, |(_, used)| *used);
        let end = used + bytes.next_multiple_of(ALIGN);
        if end > self.size {
            self.size = end.next_power_of_two().min(SIZE.1);
        }
        if self.open.is_none() {
            self.open = self.take()?.map(|piece| (piece, 0));
        }
        let Some((piece, used)) = &mut self.open else { return Ok(false) };
        if end > piece.buffer.bytes() {
            return Ok(false);
        }
        let at = *used;
        match piece.buffer.raw().get_mapped_range_mut(at..at + bytes) {
            Ok(mut view) => view.copy_from_slice(data),
            Err(error) => {
                return Err(self.gpu.explain(DeviceError::Validation { message: error.to_string() }));
            }
        }
        *used = end;
        self.copies.push((buffer.clone(), offset, at, bytes));
        add(&self.gpu.inner.counters.bytes_uploaded, bytes);
        Ok(true)
    }

    /// A mapped piece that is large enough: one that has come back, or a new one; none while all are under way.
    fn take(&mut self) -> Result<Option<Piece>, DeviceError> {
        let size = self.size;
        self.away.retain(|p| match p.state.load(Ordering::Acquire) {
            BUSY => true,
            state => state != FAILED && p.buffer.bytes() >= size,
        });
        if let Some(back) = self.away.iter().position(|p| p.state.load(Ordering::Acquire) == MAPPED) {
            return Ok(Some(self.away.swap_remove(back)));
        }
        if self.away.len() >= PIECES {
            return Ok(None);
        }
        let buffer =
            self.gpu.create_mapped("upload", size, BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC)?;
        Ok(Some(Piece { buffer, state: Arc::new(AtomicU8::new(MAPPED)) }))
    }

    /// Ends the filling. The copies must be submitted next.
    pub fn seal(&mut self) {
        if let (Some((piece, _)), false) = (&self.open, self.copies.is_empty()) {
            piece.state.store(BUSY, Ordering::Release);
            piece.buffer.raw().unmap();
        }
    }

    /// The copies to where the data belong, in the order of the writes.
    pub fn commands(&self) -> impl Iterator<Item = Command<'_>> {
        let from = self.open.as_ref().map(|(piece, _)| &piece.buffer);
        self.copies.iter().filter_map(move |(dst, dst_offset, src_offset, bytes)| {
            let copy = BufferCopy {
                src: from?,
                src_offset: *src_offset,
                dst,
                dst_offset: *dst_offset,
                bytes: *bytes,
            };
            Some(Command::Copy(copy))
        })
    }

    /// After the submission: the memory comes back when it has finished.
    pub fn recycle(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        self.copies.clear();
        let Some((piece, _)) = self.open.take() else { return };
        let state = piece.state.clone();
        piece.buffer.raw().map_async(wgpu::MapMode::Write, .., move |result| {
            state.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        self.away.push(piece);
    }
}
