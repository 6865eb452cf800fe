//! Time on the GPU's own clock.

use super::{DeviceError, Gpu, Readback, Submission};
use std::time::Duration;
use wgpu::BufferUsages;

/// Bytes of the two timestamps.
const BYTES: u64 = 16;

/// A pair of timestamps around the dispatches of one submission. Reusable: [`Gpu::submit_timed`], then
/// [`nanoseconds`](Self::nanoseconds).
#[derive(Debug)]
pub struct Timer {
    set: wgpu::QuerySet,
    resolved: super::Buffer,
    pub(super) readback: Readback,
    period_ns: f64,
}

impl Timer {
    /// A timer, where the device has timestamps.
    pub fn new(gpu: &Gpu) -> Result<Self, DeviceError> {
        if !gpu.caps().timestamps {
            return Err(DeviceError::Missing {
                feature: "timestamp queries",
                device: gpu.report().name.clone(),
            });
        }
        let desc =
            wgpu::QuerySetDescriptor { label: Some("timer"), ty: wgpu::QueryType::Timestamp, count: 2 };
        let set = gpu.scoped("timer", |device| device.create_query_set(&desc))?;
        let resolved = gpu.create("timer", BYTES, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
        let period_ns = f64::from(gpu.queue().get_timestamp_period());
        Ok(Self { set, resolved, readback: gpu.readback(BYTES)?, period_ns })
    }

    /// The timestamps that a pass writes.
    pub(super) fn writes(&self, first: bool, last: bool) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        (first || last).then_some(wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: first.then_some(0),
            end_of_pass_write_index: last.then_some(1),
        })
    }

    /// Records the way of the timestamps to the host.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, self.resolved.raw(), 0);
        encoder.copy_buffer_to_buffer(self.resolved.raw(), 0, self.readback.staging().raw(), 0, BYTES);
    }

    /// Asks for the timestamps of `submission`.
    pub(super) fn start(&mut self, submission: &Submission) -> Result<(), DeviceError> {
        self.readback.start(submission, BYTES)
    }

    /// Waits at most `timeout` for the timed submission and says how long its dispatches took, in nanoseconds on the
    /// GPU's clock.
    pub fn nanoseconds(&mut self, timeout: Duration) -> Result<f64, DeviceError> {
        let mut ticks = [0u64; 2];
        self.readback.finish(bytemuck::cast_slice_mut(&mut ticks), timeout)?;
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * self.period_ns)
    }
}
