//! Numbers as files store them: some bytes of a type, in one of two orders.

use half::f16;

/// A type of number, with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// IEEE 754, of 2, 4 or 8 bytes.
    Float(usize),
    /// Two's complement, of 1, 2, 4 or 8 bytes.
    Int(usize),
    /// Without sign, or a flag, of 1, 2, 4 or 8 bytes.
    Uint(usize),
}

impl Number {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Number::Float(size) | Number::Int(size) | Number::Uint(size) => size,
        }
    }

    /// Whether it is a type of a size that there is.
    #[cfg(any(test, feature = "hdf5", feature = "zarr"))]
    pub fn is_known(self) -> bool {
        match self {
            Number::Float(size) => matches!(size, 2 | 4 | 8),
            Number::Int(size) | Number::Uint(size) => matches!(size, 1 | 2 | 4 | 8),
        }
    }

    /// One of them as f64; `bytes` are as many as [`Number::size`]. Integers beyond 2^53 are rounded.
    pub fn value(self, bytes: &[u8], big_endian: bool) -> f64 {
        let mut word = [0u8; 8];
        for (at, slot) in word.iter_mut().take(bytes.len()).enumerate() {
            *slot = if big_endian { bytes[bytes.len() - 1 - at] } else { bytes[at] };
        }
        let word = u64::from_le_bytes(word);
        match self {
            Number::Float(2) => f16::from_bits(word as u16).to_f64(),
            Number::Float(4) => f32::from_bits(word as u32).into(),
            Number::Float(_) => f64::from_bits(word),
            Number::Int(size) => {
                let unused = 64 - 8 * size.clamp(1, 8) as u32;
                (((word << unused) as i64) >> unused) as f64
            }
            Number::Uint(_) => word as f64,
        }
    }

    /// All of `bytes`, in order; what is left over is not looked at.
    #[cfg(feature = "hdf5")]
    pub fn each(self, bytes: &[u8], big_endian: bool, mut take: impl FnMut(f64)) {
        for one in bytes.chunks_exact(self.size()) {
            take(self.value(one, big_endian));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_in_both_orders() {
        for (number, little, value) in [
            (Number::Float(2), &[0x00, 0xc1][..], -2.5),
            (Number::Float(4), &(-2.5f32).to_le_bytes(), -2.5),
            (Number::Float(8), &1e300f64.to_le_bytes(), 1e300),
            (Number::Int(1), &[0x80], -128.0),
            (Number::Int(2), &(-300i16).to_le_bytes(), -300.0),
            (Number::Int(4), &(-70_000i32).to_le_bytes(), -70_000.0),
            (Number::Int(8), &(-(1i64 << 40)).to_le_bytes(), -1_099_511_627_776.0),
            (Number::Uint(1), &[200], 200.0),
            (Number::Uint(2), &60_000u16.to_le_bytes(), 60_000.0),
            (Number::Uint(4), &4_000_000_000u32.to_le_bytes(), 4e9),
            (Number::Uint(8), &(1u64 << 63).to_le_bytes(), 9_223_372_036_854_775_808.0),
        ] {
            let mut big = little.to_vec();
            big.reverse();
            assert!(number.is_known() && number.size() == little.len());
            assert_eq!(number.value(little, false), value, "{number:?}");
            assert_eq!(number.value(&big, true), value, "{number:?}");
        }
        assert!(!Number::Float(1).is_known() && !Number::Int(3).is_known() && !Number::Uint(16).is_known());
    }
}
