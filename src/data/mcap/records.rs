//! The messages of an MCAP file, in the file's order, by the crate `mcap`: chunks are unpacked as they are read,
//! and their checksums are compared.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use mcap::records::{Channel, Record, op};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use mcap::{McapError, parse_record};

use super::malformed;
use crate::data::budget::Budget;
use crate::data::error::DataError;

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

/// What a message is given to: its channel, schema, time in nanoseconds and bytes.
pub type Take<'t> = dyn FnMut(&Channel, Option<&Schema>, u64, &[u8], &mut Budget) -> Result<(), String> + 't;

/// Whether a recording has its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was closed.
    Closed,
    /// It stops in the middle, as that of a recorder that was killed.
    CutOff,
}

/// Gives every message of a file to `take`.
pub fn each(path: &Path, budget: &mut Budget, take: &mut Take<'_>) -> Result<End, DataError> {
    let mut file = crate::data::aside::open(path)?;
    let bad = |reason: String| malformed(path, reason);
    let limit = usize::try_from(budget.left()).unwrap_or(usize::MAX);
    let options =
        LinearReaderOptions::default().with_validate_chunk_crcs(true).with_record_length_limit(limit);
    let mut reader = LinearReader::new_with_options(options);
    let mut schemas: BTreeMap<u16, Schema> = BTreeMap::new();
    let mut channels: BTreeMap<u16, Channel> = BTreeMap::new();
    let mut begun = false;
    while let Some(event) = reader.next_event() {
        let (opcode, data) = match event {
            Ok(LinearReadEvent::ReadRequest(bytes)) => {
                // A record may claim any length: what is read at once stays small.
                let bytes = bytes.min(READ);
                let count = file
                    .read(reader.insert(bytes))
                    .map_err(|source| DataError::Read { path: path.into(), source })?;
                reader.notify_read(count);
                continue;
            }
            Ok(LinearReadEvent::Record { opcode, data }) => (opcode, data),
            // The recorder was killed: what it wrote before is whole.
            Err(McapError::UnexpectedEof) if begun => return Ok(End::CutOff),
            Err(error) => return Err(bad(reason(&error))),
        };
        begun = true;
        // What follows repeats what was before.
        if matches!(opcode, op::DATA_END | op::FOOTER) {
            return Ok(End::Closed);
        }
        if !matches!(opcode, op::SCHEMA | op::CHANNEL | op::MESSAGE) {
            continue;
        }
        if !texts_fit(opcode, data) {
            return Err(bad("a record ends early".into()));
        }
        match parse_record(opcode, data).map_err(|error| bad(reason(&error)))? {
            Record::Schema { header, data } => {
                let text = String::from_utf8_lossy(&data).into_owned();
                let schema = Schema { id: header.id, name: header.name, encoding: header.encoding, text };
                schemas.insert(schema.id, schema);
            }
            Record::Channel(channel) => drop(channels.insert(channel.id, channel)),
            Record::Message { header, data } => {
                let channel = channels
                    .get(&header.channel_id)
                    .ok_or_else(|| bad(format!("a message of the unknown channel {}", header.channel_id)))?;
                let schema = schemas.get(&channel.schema_id);
                take(channel, schema, header.log_time, &data, budget).map_err(bad)?;
            }
            _ => {}
        }
    }
    Ok(End::Closed)
}

/// What is wrong with a file, where the crate's own words do not say what was needed.
fn reason(error: &McapError) -> String {
    match error {
        McapError::BadMagic => "the file does not begin as MCAP does".into(),
        McapError::UnsupportedCompression(found) => {
            format!("a chunk is packed by '{found}', needed zstd, lz4 or nothing")
        }
        McapError::RecordTooLarge { len, .. } | McapError::ChunkTooLarge(len) => {
            format!("a record claims {len} bytes, which is more than a file of this size may take")
        }
        McapError::BadChunkCrc { .. } => format!("a chunk is damaged: {error}"),
        _ => error.to_string(),
    }
}

/// What follows a text, if the text is there whole.
fn after_text(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk()?;
    rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

/// Whether a record's texts lie within it. The crate would take memory for as many bytes as a text claims.
fn texts_fit(opcode: u8, data: &[u8]) -> bool {
    let after_two = |data: &'_ [u8]| -> Option<usize> {
        let rest = after_text(after_text(data)?)?;
        Some(data.len() - rest.len())
    };
    match opcode {
        op::SCHEMA => data.get(2..).and_then(after_two).is_some(),
        op::CHANNEL => {
            let Some(mut map) = data.get(4..).and_then(|texts| texts.get(after_two(texts)? + 4..)) else {
                return false;
            };
            while !map.is_empty() {
                let Some(rest) = after_text(map) else { return false };
                map = rest;
            }
            true
        }
        _ => true,
    }
}

/// Most bytes that are asked of the file at once.
const READ: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_claim_more_than_their_record_are_not_parsed() {
        let text = |length: u32, bytes: &[u8]| [&length.to_le_bytes()[..], bytes].concat();
        let schema = |name: u32| [vec![1, 0], text(name, b"a/B"), text(7, b"ros2msg"), text(0, b"")].concat();
        assert!(texts_fit(op::SCHEMA, &schema(3)));
        assert!(!texts_fit(op::SCHEMA, &schema(u32::MAX)));
        let channel = |value: u32| {
            let map = [text(1, b"k"), text(value, b"v")].concat();
            [vec![0; 4], text(2, b"/t"), text(3, b"cdr"), text(map.len() as u32, &map)].concat()
        };
        assert!(texts_fit(op::CHANNEL, &channel(1)));
        assert!(!texts_fit(op::CHANNEL, &channel(2)) && !texts_fit(op::CHANNEL, &channel(1 << 31)));
        assert!(!texts_fit(op::CHANNEL, &channel(1)[..7]) && !texts_fit(op::SCHEMA, &[]));
    }
}
