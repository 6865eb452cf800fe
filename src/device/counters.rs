//! Counts of what was asked of a device, so that a test can say "a replay uploads 48 bytes and creates nothing".

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Running totals of one device. Relaxed atomics: exact once the counted calls have returned.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub(super) $name: AtomicU64,)+ }

        /// The totals at one moment, or the difference between two.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct CounterSnapshot { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            /// The totals now.
            pub fn snapshot(&self) -> CounterSnapshot {
                CounterSnapshot { $($name: self.$name.load(Relaxed),)+ }
            }
        }

        impl CounterSnapshot {
            /// What happened between `earlier` and this snapshot.
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.wrapping_sub(earlier.$name),)+ }
            }
        }
    };
}

counters! {
    /// Kernel launches recorded, direct and indirect.
    dispatches,
    /// Command buffers given to the queue.
    submits,
    /// Buffers created, staging buffers included.
    buffers_created,
    /// Bytes of all buffers created.
    bytes_allocated,
    /// Bytes written from the host.
    bytes_uploaded,
    /// Writes through wgpu's queue: each makes a buffer and frees it again.
    queue_writes,
    /// Bytes that arrived at the host.
    bytes_read_back,
    /// Compute pipelines compiled.
    pipelines_created,
    /// Microseconds that compiling them took, of all threads together: with a warm pipeline cache, translation to the driver's
    /// language and a look into the cache.
    compile_us,
    /// Bytes of compiled pipelines that came from the cache folder.
    pipeline_bytes_loaded,
    /// Bind groups created.
    bind_groups_created,
    /// Bind groups that a [`BindGroupCache`](super::BindGroupCache) had already.
    bind_groups_reused,
}

/// Adds to one counter.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_the_difference() {
        let counters = Counters::default();
        add(&counters.submits, 2);
        let early = counters.snapshot();
        add(&counters.submits, 3);
        add(&counters.bytes_uploaded, 48);
        let delta = counters.snapshot().since(&early);
        assert_eq!(delta, CounterSnapshot { submits: 3, bytes_uploaded: 48, ..Default::default() });
    }
}
