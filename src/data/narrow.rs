//! What f32 keeps of columns that were stored with more digits. The engine computes in f32: a position of 5,412,345.6 m keeps
//! steps of half a metre, a time since 1970 steps of two minutes.

use std::collections::BTreeMap;

use serde::Serialize;

/// Distinct values that a column should keep over its spread, or it is said.
const FEW: f64 = 4096.0;
/// The same where rows differ by less than f32 can show.
const FEW_WHERE_ROWS_FALL_TOGETHER: f64 = 262_144.0;
/// Distinct values that a column must keep, or training refuses it.
const TOO_FEW: f64 = 256.0;

/// A column of which f32 keeps little.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Narrowed {
    /// The array or column of the file.
    pub array: String,
    /// Which of its values, from 0.
    pub column: usize,
    /// What the file has at least and at most.
    pub range: [f64; 2],
    /// The step of f32 at the larger of these.
    pub step: f64,
    /// Whether what is lost is the signal: the column keeps fewer than 256 values, and changes smoothly.
    pub fatal: bool,
}

impl std::fmt::Display for Narrowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [low, high] = self.range;
        let (spread, middle) = (digits(high - low), (low + high) / 2.0);
        // A round number within the range, so that what is left is small and exact.
        let unit = 10f64.powf((high - low).log10().floor());
        let decimals = (-unit.log10()).clamp(0.0, 18.0) as usize;
        let offset = format!("{:.decimals$}", (middle / unit).round() * unit);
        write!(
            f,
            "{}[{}]: f32 keeps steps of {} of this column, and its values spread over {spread} (from {low} to {high}): what is \
             finer is lost. Subtract an offset, as {offset}, before the values are stored, and from what the policy is given",
            self.array,
            self.column,
            digits(self.step),
        )
    }
}

/// Values become f32 through it, column by column of rows of `dim`, and it remembers what that costs.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Of the columns that have had a value: a file may claim rows of any width.
    tracks: Vec<Track>,
    dim: usize,
    at: usize,
}

#[derive(Clone, Debug)]
struct Track {
    low: f64,
    high: f64,
    last: f64,
    lossy: bool,
    /// How often the value changed from one row to the next by 2^n or more and less than 2^(n + 1).
    changes: BTreeMap<i16, u64>,
}

impl Default for Track {
    fn default() -> Track {
        Track {
            low: f64::INFINITY,
            high: f64::NEG_INFINITY,
            last: f64::NAN,
            lossy: false,
            changes: BTreeMap::new(),
        }
    }
}

impl Watch {
    /// For rows of `dim` values.
    pub fn new(dim: usize) -> Watch {
        Watch { tracks: Vec::new(), dim, at: 0 }
    }

    /// The next value.
    pub fn narrow(&mut self, value: f64) -> f32 {
        let narrow = value as f32;
        let at = self.at;
        self.at = if at + 1 >= self.dim { 0 } else { at + 1 };
        if at == self.tracks.len() {
            self.tracks.push(Track::default());
        }
        let track = &mut self.tracks[at];
        track.low = track.low.min(value);
        track.high = track.high.max(value);
        track.lossy |= f64::from(narrow) != value && value.is_finite();
        // Nothing is lost of what f32 holds anyway, which most data are.
        if track.lossy {
            let change = (value - track.last).abs();
            if change > 0.0 && change.is_finite() {
                *track.changes.entry(change.log2().floor() as i16).or_default() += 1;
            }
        }
        track.last = value;
        narrow
    }

    /// The columns of which f32 keeps little.
    pub fn narrowed(&self, array: &str) -> Vec<Narrowed> {
        let judge = |(column, track): (usize, &Track)| {
            let (size, spread) = (track.low.abs().max(track.high.abs()), track.high - track.low);
            // What does not change has nothing to lose, nor what changes by f64's own rounding.
            if !track.lossy || !size.is_finite() || spread <= 64.0 * f64::EPSILON * size {
                return None;
            }
            let step = f64::from((size as f32).next_up()) - f64::from(size as f32);
            let (kept, change) = (spread / step, track.usual_change());
            let few = kept < FEW || (kept < FEW_WHERE_ROWS_FALL_TOGETHER && change < 2.0 * step);
            // Noise about a value is no signal: it jumps over much of its spread from row to row.
            let fatal = kept < TOO_FEW && change < spread / 16.0;
            few.then(|| Narrowed { array: array.into(), column, range: [track.low, track.high], step, fatal })
        };
        self.tracks.iter().enumerate().filter_map(judge).collect()
    }
}

impl Track {
    /// The median of the changes from row to row, to a factor of two; infinite where nothing changed.
    fn usual_change(&self) -> f64 {
        let half = self.changes.values().sum::<u64>().div_ceil(2);
        let mut seen = 0;
        for (power, count) in &self.changes {
            seen += count;
            if seen >= half {
                return 2f64.powi(i32::from(*power));
            }
        }
        f64::INFINITY
    }
}

/// Three digits that count.
pub(super) fn digits(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    match x.abs().log10().floor() as i32 {
        power @ -4..=5 => {
            let text = format!("{x:.*}", (2 - power).clamp(0, 8) as usize);
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        _ => format!("{x:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(values: impl Iterator<Item = f64>) -> Vec<Narrowed> {
        let mut watch = Watch::new(1);
        for value in values {
            watch.narrow(value);
        }
        watch.narrowed("obs")
    }

    #[test]
    fn a_claimed_width_takes_no_memory() {
        let mut watch = Watch::new(usize::MAX);
        assert_eq!(watch.narrow(1.5), 1.5);
        assert_eq!(watch.tracks.len(), 1);
    }

    #[test]
    fn map_coordinates_are_lost_and_joints_are_not() {
        let path = |t: usize| (t as f64 / 90.0).sin();
        let found = watched((0..1000).map(|t| 5_412_345.0 + path(t)));
        assert_eq!((found.len(), found[0].step, found[0].fatal), (1, 0.5, true));
        let text = found[0].to_string();
        assert!(text.starts_with("obs[0]: f32 keeps steps of 0.5 of this column"), "{text}");
        assert!(text.contains("as 5412345, before"), "{text}");
        // Three kilometres of a drive: rows fall together, though 6,000 values are kept.
        let found = watched((0..30_000).map(|t| 5_412_345.0 + 3000.0 * (t as f64 / 9000.0).sin() + 1e-4));
        assert!(matches!(found[..], [Narrowed { fatal: false, .. }]), "{found:?}");
        let ns = watched((0..1000).map(|t| 1.7e18 + 1e8 * t as f64));
        assert!(matches!(ns[..], [Narrowed { fatal: true, .. }]), "{ns:?}");
        for offset in [0.0, 0.1, 3.0, 100.1] {
            assert_eq!(watched((0..1000).map(|t| offset + path(t))), [], "{offset}");
        }
    }

    #[test]
    fn what_has_nothing_to_lose_is_let_be() {
        let noise = |t: usize| f64::from((t as u32).wrapping_mul(2_654_435_761) >> 8) / 16_777_216.0;
        // Exact in f32, constant, f64's own rounding.
        assert_eq!(watched((0..1000).map(|t| 16_000_000.0 + (t % 7) as f64)), []);
        assert_eq!(watched((0..1000).map(|_| 1_700_000_000.123)), []);
        assert_eq!(watched((0..1000).map(|t| 501_234.1 + 1e-10 * noise(t))), []);
        // A locked joint's noise: said, and no reason to refuse.
        let found = watched((0..1000).map(|t| 1.57 + 1e-6 * noise(t)));
        assert!(matches!(found[..], [Narrowed { fatal: false, .. }]), "{found:?}");
        // A motion that comes to rest.
        assert_eq!(watched((0..1000).map(|t| 0.3 + (-(t as f64) / 20.0).exp())), []);
        assert_eq!(watched([f64::NAN, 1e300, 0.1].into_iter()), []);
        assert_eq!(Watch::new(3).narrowed("obs"), []);
    }

    #[test]
    fn few_digits_are_shown() {
        for (x, text) in [
            (0.5, "0.5"),
            (128.0, "128"),
            (1.7e9, "1.70e9"),
            (0.0, "0"),
            (2.0 / 3.0, "0.667"),
            (-12.0, "-12"),
        ] {
            assert_eq!(digits(x), text);
        }
    }
}
