//! One axis of a chart: from values to drawing units, and where its ticks go.

use super::format::{si, significant, trim_zeros};

/// A linear or logarithmic map from values to drawing units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    lo: f64,
    hi: f64,
    log: bool,
    start: f64,
    end: f64,
}

/// A tick: its value and its label.
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

impl Axis {
    /// Maps `lo` to `start` and `hi` to `end`. An empty range is widened; a logarithmic one must be positive.
    pub(crate) fn new(lo: f64, hi: f64, log: bool, start: f64, end: f64) -> Axis {
        let log = log && lo > 0.0;
        let (lo, hi) = if hi > lo {
            (lo, hi)
        } else if log {
            (lo / 2.0, lo * 2.0)
        } else {
            let room = (lo.abs() * 0.1).max(0.5);
            (lo - room, lo + room)
        };
        Axis { lo, hi, log, start, end }
    }

    /// Where `value` lies in drawing units.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let (lo, hi, value) =
            if self.log { (self.lo.ln(), self.hi.ln(), value.ln()) } else { (self.lo, self.hi, value) };
        self.start + (value - lo) / (hi - lo) * (self.end - self.start)
    }

    /// About `count` ticks at round values.
    pub(crate) fn ticks(&self, count: usize) -> Vec<Tick> {
        let values = if self.log { self.log_ticks(count) } else { Vec::new() };
        // A logarithmic axis over a narrow range holds too few round values of its kind.
        let values = if values.len() < 3 { self.linear_ticks(count) } else { values };
        let label = |value: f64| match value.abs() {
            size if size >= 1e3 => si(value),
            size if size > 0.0 && size < 1e-3 => exponent(value),
            _ => significant(value, 3),
        };
        values.into_iter().map(|value| Tick { value, label: label(value) }).collect()
    }

    fn linear_ticks(&self, count: usize) -> Vec<f64> {
        let rough = (self.hi - self.lo) / count.max(1) as f64;
        let decade = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * decade).find(|s| *s >= rough * 0.999);
        let Some(step) = step.filter(|s| s.is_normal()) else { return Vec::new() };
        let (first, last) = ((self.lo / step - 1e-9).ceil(), (self.hi / step + 1e-9).floor());
        let count = ((last - first).clamp(0.0, 50.0)) as usize;
        (0..=count).map(|i| (first + i as f64) * step).collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<f64> {
        let decades = (self.hi / self.lo).log10();
        let (every, mantissas): (i32, &[f64]) = match decades / count.max(1) as f64 {
            r if r > 1.0 => (r.ceil() as i32, &[1.0]),
            r if r > 0.4 => (1, &[1.0]),
            r if r > 0.25 => (1, &[1.0, 3.0]),
            _ => (1, &[1.0, 2.0, 5.0]),
        };
        let (first, last) = (self.lo.log10().floor() as i32, self.hi.log10().ceil() as i32);
        let powers = (first..=last).filter(|p| p.rem_euclid(every) == 0);
        let all = powers.flat_map(|p| mantissas.iter().map(move |m| m * 10f64.powi(p)));
        all.filter(|v| *v >= self.lo * 0.999 && *v <= self.hi * 1.001).collect()
    }
}

/// A small value as `2.5e-4`.
fn exponent(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((mantissa, power)) => {
            format!("{}e{power}", trim_zeros(mantissa))
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks(5).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Axis::new(0.0, 10_000.0, false, 0.0, 1.0)), ["0", "2k", "4k", "6k", "8k", "10k"]);
        assert_eq!(labels(Axis::new(0.0, 5e-4, false, 0.0, 1.0))[..2], ["0", "1e-4"]);
        assert_eq!(labels(Axis::new(0.0011, 1.2, true, 0.0, 1.0)), ["0.01", "0.1", "1"]);
        assert_eq!(labels(Axis::new(0.02, 0.3, true, 0.0, 1.0)), ["0.02", "0.05", "0.1", "0.2"]);
        assert_eq!(labels(Axis::new(0.11, 0.14, true, 0.0, 1.0)), ["0.11", "0.12", "0.13", "0.14"]);
    }

    #[test]
    fn degenerate_ranges_still_map() {
        for axis in [Axis::new(3.0, 3.0, false, 0.0, 1.0), Axis::new(3.0, 3.0, true, 0.0, 1.0)] {
            assert!((axis.place(3.0) - 0.5).abs() < 1e-9 && !axis.ticks(5).is_empty());
        }
        assert!(Axis::new(-1e308, 1e308, false, 0.0, 1.0).ticks(5).is_empty());
    }
}
