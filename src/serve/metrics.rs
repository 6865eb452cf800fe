//! Counters of a server, and their Prometheus text (exposition format 0.0.4).

use super::error::{ErrorKind, RequestError};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the latency buckets, seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Upper bounds of the batch size buckets.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No key, or a wrong one.
    Key,
    /// From a browser page.
    Origin,
    /// As many connections as are allowed.
    Full,
    /// Silent for the longest where a newer connection needed the place.
    Silent,
}

impl Refusal {
    const ALL: [Refusal; 4] = [Refusal::Key, Refusal::Origin, Refusal::Full, Refusal::Silent];

    fn name(self) -> &'static str {
        match self {
            Refusal::Key => "key",
            Refusal::Origin => "origin",
            Refusal::Full => "full",
            Refusal::Silent => "silent",
        }
    }
}

/// What a server has done so far.
#[derive(Debug)]
pub struct Metrics {
    requests: AtomicU64,
    errors: [AtomicU64; ErrorKind::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
    misses: AtomicU64,
    late_passes: AtomicU64,
    /// Connections open now.
    pub(super) connections: AtomicUsize,
    connections_total: AtomicU64,
    /// Requests that wait for the device now.
    pub(super) queue: AtomicUsize,
    batches: Histogram,
    infer: Histogram,
    latency: Histogram,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: AtomicU64::new(0),
            errors: Default::default(),
            refusals: Default::default(),
            misses: AtomicU64::new(0),
            late_passes: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            connections_total: AtomicU64::new(0),
            queue: AtomicUsize::new(0),
            batches: Histogram::new(SIZES),
            infer: Histogram::new(SECONDS),
            latency: Histogram::new(SECONDS),
        }
    }
}

impl Metrics {
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn error(&self, error: &RequestError) {
        self.errors[error.kind() as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self, why: Refusal) {
        self.refusals[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Relaxed);
    }

    pub(super) fn late_pass(&self) {
        self.late_passes.fetch_add(1, Relaxed);
    }

    /// A pass, and how many of its requests got actions.
    pub(super) fn batch(&self, answered: usize, took: Duration) {
        self.batches.record(answered as f64);
        self.infer.record(took.as_secs_f64());
    }

    pub(super) fn answered(&self, after: Duration) {
        self.latency.record(after.as_secs_f64());
    }

    /// Counts a connection for as long as the result lives.
    pub(super) fn connected(&self) -> impl Drop + use<'_> {
        struct Open<'a>(&'a Metrics);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.connections.fetch_sub(1, Relaxed);
            }
        }
        self.connections.fetch_add(1, Relaxed);
        self.connections_total.fetch_add(1, Relaxed);
        Open(self)
    }

    /// Requests so far, those with errors included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Errors of a kind so far.
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize].load(Relaxed)
    }

    /// Connections refused so far for a reason.
    pub fn refusals(&self, why: Refusal) -> u64 {
        self.refusals[why as usize].load(Relaxed)
    }

    /// Requests answered after the deadline so far.
    pub fn misses(&self) -> u64 {
        self.misses.load(Relaxed)
    }

    /// Passes given up so far as they took longer than they may.
    pub fn late_passes(&self) -> u64 {
        self.late_passes.load(Relaxed)
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Passes of the device so far, and the requests that got actions from them.
    pub fn batches(&self) -> (u64, f64) {
        (self.batches.count.load(Relaxed), self.batches.sum())
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let plain = |value: u64| vec![(String::new(), value)];
        one("advect_requests_total", "counter", "Requests, errors included.", &plain(self.requests()));
        let errors = ErrorKind::ALL.map(|k| (format!("{{kind=\"{}\"}}", k.name()), self.errors(k)));
        one("advect_errors_total", "counter", "Requests answered with an error.", &errors);
        let refusals = Refusal::ALL.map(|r| (format!("{{reason=\"{}\"}}", r.name()), self.refusals(r)));
        one("advect_refused_connections_total", "counter", "Connections refused.", &refusals);
        let misses = plain(self.misses());
        one("advect_deadline_misses_total", "counter", "Requests answered after the deadline.", &misses);
        let late = plain(self.late_passes());
        one(
            "advect_late_passes_total",
            "counter",
            "Passes given up as they took longer than they may.",
            &late,
        );
        one("advect_connections", "gauge", "Connections open now.", &plain(self.connections() as u64));
        let total = plain(self.connections_total.load(Relaxed));
        one("advect_connections_total", "counter", "Connections so far.", &total);
        let queue = plain(self.queue.load(Relaxed) as u64);
        one("advect_queue_length", "gauge", "Requests that wait for the device.", &queue);
        self.batches.text(
            &mut out,
            "advect_batch_size",
            "Requests that got actions from a pass of the device.",
        );
        self.infer.text(&mut out, "advect_infer_seconds", "Time of a pass of the device.");
        self.latency.text(&mut out, "advect_request_seconds", "Time from a request's arrival to its reply.");
        out
    }
}

/// Counts per bucket, and a sum.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and those beyond the last.
    buckets: Vec<AtomicU64>,
    count: AtomicU64,
    /// In millionths.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, count: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    fn record(&self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum.fetch_add((value * 1e6).round() as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    fn sum(&self) -> f64 {
        self.sum.load(Relaxed) as f64 / 1e6
    }

    fn text(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            below += bucket.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        below += self.buckets.last().map_or(0, |bucket| bucket.load(Relaxed));
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {below}");
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {below}", self.sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_counts() {
        let metrics = Metrics::default();
        metrics.request();
        metrics.error(&RequestError::Text);
        metrics.refuse(Refusal::Full);
        metrics.batch(3, Duration::from_millis(2));
        metrics.batch(4, Duration::from_millis(30));
        metrics.answered(Duration::from_secs(9));
        let open = metrics.connected();
        let text = metrics.text();
        for line in [
            "advect_requests_total 1",
            "advect_errors_total{kind=\"malformed\"} 1",
            "advect_errors_total{kind=\"inference\"} 0",
            "advect_refused_connections_total{reason=\"full\"} 1",
            "advect_connections 1",
            "advect_batch_size_bucket{le=\"2\"} 0",
            "advect_batch_size_bucket{le=\"4\"} 2",
            "advect_batch_size_sum 7",
            "advect_infer_seconds_bucket{le=\"0.002\"} 1",
            "advect_request_seconds_bucket{le=\"2.5\"} 0",
            "advect_request_seconds_bucket{le=\"+Inf\"} 1",
            "advect_request_seconds_sum 9",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in {text}");
        }
        drop(open);
        assert_eq!(metrics.connections(), 0);
        assert_eq!(metrics.batches(), (2, 7.0));
    }

    #[test]
    fn kinds_index_their_counters() {
        assert!(ErrorKind::ALL.iter().enumerate().all(|(i, k)| *k as usize == i));
        assert!(Refusal::ALL.iter().enumerate().all(|(i, k)| *k as usize == i));
    }
}
