//! Shards of format 3: a file holds many chunks, and an index that says where each of them lies in it.

use serde_json::Value;

use super::array::{Codec, codecs, extents, split};
use crate::data::budget::product;

/// How a shard is divided.
pub struct Shards {
    /// The shape of a chunk.
    pub chunk: Vec<usize>,
    /// What is done to a chunk's bytes.
    pub codecs: Vec<Codec>,
    /// Chunks along each axis of a shard.
    counts: Vec<usize>,
    /// Whether the index stands before the chunks, rather than behind them.
    first: bool,
    /// Whether a checksum follows the index.
    checksum: bool,
}

impl Shards {
    /// Of a codec's configuration and the shape of a shard; and whether numbers are big-endian.
    pub fn of(configuration: &Value, shard: &Value) -> Result<(Shards, bool), String> {
        let (shard, chunk) = (extents(shard), extents(&configuration["chunk_shape"]));
        let (Some(shard), Some(chunk)) = (shard, chunk) else {
            return Err(format!("found shards in chunks of {}", configuration["chunk_shape"]));
        };
        let divides =
            shard.len() == chunk.len() && shard.iter().zip(&chunk).all(|(s, c)| *c > 0 && s % c == 0);
        let counts: Vec<usize> = shard.iter().zip(&chunk).filter(|_| divides).map(|(s, c)| s / c).collect();
        let few = product(&counts).is_some_and(|count| count <= super::array::MOST_CHUNKS);
        if !divides || !few {
            return Err(format!("found shards of {shard:?} in chunks of {chunk:?}, needed whole chunks"));
        }
        let steps = |key: &str| configuration[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let (codecs, big) = codecs(steps("codecs"))?;
        let checksum = match self::codecs(steps("index_codecs"))? {
            (index, false) if index.is_empty() => false,
            (index, false) if index == [Codec::Crc32c] => true,
            _ => return Err("found an index that is packed, needed bytes and crc32c".into()),
        };
        let first = configuration["index_location"] == "start";
        Ok((Shards { chunk, codecs, counts, first, checksum }, big))
    }

    /// Bytes of the index: where each chunk begins and how long it is, 8 bytes each.
    pub fn index_bytes(&self) -> usize {
        let count = product(&self.counts).unwrap_or(0);
        16 * count + if self.checksum { 4 } else { 0 }
    }

    /// Gives each chunk that is there, with its place among all chunks of the array. `at` is that of the shard among its like.
    pub fn each(
        &self,
        at: &[usize],
        bytes: &[u8],
        mut take: impl FnMut(&[usize], Vec<u8>) -> Result<(), String>,
    ) -> Result<(), String> {
        let early = || "the shard ends early".to_owned();
        let size = self.index_bytes();
        let start = if self.first { 0 } else { bytes.len().checked_sub(size).ok_or_else(early)? };
        let index = bytes.get(start..start + size).ok_or_else(early)?;
        let (words, _) = index.as_chunks::<16>();
        for (n, word) in words.iter().enumerate() {
            let (offset, length) = word.split_at(8);
            let number = |half: &[u8]| half.first_chunk::<8>().map_or(0, |half| u64::from_le_bytes(*half));
            let (offset, length) = (number(offset), number(length));
            // A chunk of nothing but fill value is not there.
            if (offset, length) == (u64::MAX, u64::MAX) {
                continue;
            }
            let end = offset.checked_add(length).and_then(|end| usize::try_from(end).ok());
            let range = usize::try_from(offset).ok().zip(end).map(|(start, end)| start..end);
            let part = range.and_then(|range| bytes.get(range)).ok_or_else(early)?;
            let inner = split(n, &self.counts);
            let place: Vec<usize> =
                (0..at.len()).map(|axis| at[axis] * self.counts[axis] + inner[axis]).collect();
            take(&place, part.to_vec())?;
        }
        Ok(())
    }
}
