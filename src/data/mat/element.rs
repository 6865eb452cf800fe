//! Elements: a tag (type, bytes) and its data padded to 8 bytes; numbers of any type in them.

use super::{COMPRESSED, Parsed};
use crate::data::budget::Budget;

/// Bytes still to be read.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub bytes: &'a [u8],
    pub little: bool,
}

impl<'a> Input<'a> {
    pub fn take(&mut self, n: usize) -> Parsed<&'a [u8]> {
        match self.bytes.split_at_checked(n) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(format!("truncated: found {} bytes, needed {n}", self.bytes.len()).into()),
        }
    }

    pub fn u32(&mut self) -> Parsed<u32> {
        let bytes = self.take(4)?.first_chunk::<4>().copied().unwrap_or_default();
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// The next element: its type and its data. Small ones have both in their tag.
    pub fn element(&mut self) -> Parsed<(u32, Input<'a>)> {
        let word = self.u32()?;
        let little = self.little;
        if word >> 16 != 0 {
            let size = (word >> 16) as usize;
            let data = self.take(4)?;
            let bytes = data.get(..size).ok_or_else(|| format!("a small element of {size} bytes"))?;
            return Ok((word & 0xffff, Input { bytes, little }));
        }
        let size = self.u32()? as usize;
        let bytes = self.take(size)?;
        if word != COMPRESSED {
            // The last element of a file may lack its padding.
            let padding = size.wrapping_neg() % 8;
            self.take(padding.min(self.bytes.len()))?;
        }
        Ok((word, Input { bytes, little }))
    }

    /// An element of numbers of any type.
    pub fn numbers(&mut self, budget: &mut Budget) -> Parsed<Vec<f64>> {
        let (kind, data) = self.element()?;
        let little = self.little;
        macro_rules! read {
            ($type:ty, $size:literal) => {{
                let items = data.bytes.as_chunks::<$size>().0;
                let mut out: Vec<f64> = budget.vec("an array of numbers", items.len())?;
                let one =
                    |b: &[u8; $size]| if little { <$type>::from_le_bytes(*b) } else { <$type>::from_be_bytes(*b) } as f64;
                out.extend(items.iter().map(one));
                out
            }};
        }
        Ok(match kind {
            1 => read!(i8, 1),
            2 | 16 => read!(u8, 1),
            3 => read!(i16, 2),
            4 | 17 => read!(u16, 2),
            5 => read!(i32, 4),
            6 | 18 => read!(u32, 4),
            7 => read!(f32, 4),
            9 => read!(f64, 8),
            12 => read!(i64, 8),
            13 => read!(u64, 8),
            other => return Err(format!("numbers of the unknown type {other}").into()),
        })
    }

    pub fn text(&mut self, budget: &mut Budget) -> Parsed<String> {
        // The codes go again, and what stays is half of them at most.
        Ok(characters(&self.numbers(budget)?))
    }
}

fn characters(codes: &[f64]) -> String {
    let character = |c: &f64| char::from_u32(*c as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    codes.iter().map(character).collect()
}
