//! The records of an MCAP file: schemas, channels, messages, and chunks of them, packed by zstd, lz4 or not at all. A recording that
//! was cut off is read as far as it goes.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

use super::malformed;
use crate::data::budget::Budget;
use crate::data::error::DataError;

/// What a file begins with.
const MAGIC: &[u8] = b"\x89MCAP0\r\n";

/// How messages of a kind are laid out.
#[derive(Debug)]
pub struct Schema {
    /// Its number.
    pub id: u16,
    /// The message's name.
    pub name: String,
    /// The language of `text`.
    pub encoding: String,
    /// The definition.
    pub text: String,
}

/// A topic.
#[derive(Debug)]
pub struct Channel {
    schema: u16,
    /// Its name.
    pub topic: String,
    /// How its messages are stored.
    pub encoding: String,
}

/// What a message is given to: its channel, schema, time in nanoseconds and bytes.
pub type Take<'t> = dyn FnMut(&Channel, Option<&Schema>, u64, &[u8], &mut Budget) -> Result<(), String> + 't;

#[derive(Default)]
struct Known {
    schemas: BTreeMap<u16, Schema>,
    channels: BTreeMap<u16, Channel>,
}

/// Gives every message of a file to `take`, in the file's order.
pub fn each(path: &Path, budget: &mut Budget, take: &mut Take<'_>) -> Result<(), DataError> {
    let read = |source| DataError::Read { path: path.into(), source };
    let bad = |reason: String| malformed(path, reason);
    let mut file = BufReader::new(crate::data::aside::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(read)?;
    if magic != MAGIC {
        return Err(bad("the file does not begin as MCAP does".into()));
    }
    let mut known = Known::default();
    loop {
        let mut head = [0; 9];
        match file.read_exact(&mut head) {
            Ok(()) => {}
            // The recorder was killed: what it wrote before is whole.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(read(error)),
        }
        let (code, length) = (
            head[0],
            u64::from_le_bytes([head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8]]),
        );
        // Data end, or the footer: what follows repeats what was before.
        if matches!(code, 0x02 | 0x0f) {
            return Ok(());
        }
        budget.take("a record", length).map_err(|source| DataError::Budget { path: path.into(), source })?;
        let mut body = Vec::new();
        file.by_ref().take(length).read_to_end(&mut body).map_err(read)?;
        if (body.len() as u64) < length {
            return Ok(());
        }
        record(&mut known, code, &body, false, budget, take).map_err(bad)?;
        budget.give(length);
    }
}

fn record(
    known: &mut Known,
    code: u8,
    body: &[u8],
    inside: bool,
    budget: &mut Budget,
    take: &mut Take<'_>,
) -> Result<(), String> {
    let mut part = Part(body);
    match code {
        0x03 => {
            let schema =
                Schema { id: part.u16()?, name: part.text()?, encoding: part.text()?, text: part.text()? };
            known.schemas.insert(schema.id, schema);
        }
        0x04 => {
            let (id, schema) = (part.u16()?, part.u16()?);
            let channel = Channel { schema, topic: part.text()?, encoding: part.text()? };
            known.channels.insert(id, channel);
        }
        0x05 => {
            let (channel, _, time, _) = (part.u16()?, part.u32()?, part.u64()?, part.u64()?);
            let channel = known
                .channels
                .get(&channel)
                .ok_or_else(|| format!("a message of the unknown channel {channel}"))?;
            take(channel, known.schemas.get(&channel.schema), time, part.0, budget)?;
        }
        0x06 if !inside => {
            let (_, _, size, _) = (part.u64()?, part.u64()?, part.u64()?, part.u32()?);
            let compression = part.text()?;
            let length = part.u64()?;
            let packed = usize::try_from(length)
                .ok()
                .and_then(|length| part.0.get(..length))
                .ok_or("a chunk ends early")?;
            budget.take("a chunk", size).map_err(|e| e.to_string())?;
            let most = usize::try_from(size).unwrap_or(usize::MAX);
            let unpacked;
            let records = match compression.as_str() {
                "" => packed,
                "zstd" => {
                    unpacked = zstd::bulk::decompress(packed, most).map_err(|e| format!("a chunk: {e}"))?;
                    &unpacked
                }
                "lz4" => {
                    let mut out = Vec::new();
                    let decoder = lz4_flex::frame::FrameDecoder::new(packed);
                    decoder.take(size + 1).read_to_end(&mut out).map_err(|e| format!("a chunk: {e}"))?;
                    unpacked = out;
                    &unpacked
                }
                other => return Err(format!("a chunk is packed by '{other}', needed zstd, lz4 or nothing")),
            };
            if records.len() as u64 != size {
                return Err(format!("a chunk: found {} bytes, needed {size}", records.len()));
            }
            let mut part = Part(records);
            while !part.0.is_empty() {
                let code = part.bytes(1)?[0];
                let length = usize::try_from(part.u64()?).map_err(|_| "a record ends early")?;
                record(known, code, part.bytes(length)?, true, budget, take)?;
            }
            budget.give(size);
        }
        _ => {}
    }
    Ok(())
}

/// Bytes that are read from the front.
struct Part<'a>(&'a [u8]);

impl<'a> Part<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a record ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self, count: usize) -> Result<u64, String> {
        Ok(self.bytes(count)?.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
    }

    fn u16(&mut self) -> Result<u16, String> {
        Ok(self.word(2)? as u16)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(self.word(4)? as u32)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.word(8)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u32()? as usize;
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }
}
