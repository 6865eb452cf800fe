//! Blosc's container, version 1: blocks of the data, each packed by one of several methods, its bytes sorted by their place in
//! an element before.

use std::io::Read;

/// Bytes of a header.
const HEADER: usize = 16;
/// Elements larger than this are not split.
const MOST_SPLITS: usize = 16;
/// Streams smaller than this are not split.
const LEAST_SPLIT: usize = 128;

/// Unpacks a container of `most` bytes at most.
pub fn unpack(bytes: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let early = || "the chunk ends early".to_owned();
    let word = |at: usize| -> Result<usize, String> {
        let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk::<4>()).ok_or_else(early)?;
        Ok(u32::from_le_bytes(*word) as usize)
    };
    let header = bytes.first_chunk::<HEADER>().ok_or_else(early)?;
    let (flags, size) = (header[2], usize::from(header[3]).max(1));
    let (total, block) = (word(4)?, word(8)?);
    if header[0] > 2 {
        return Err(format!("found blosc of version {}, needed 1 or 2", header[0]));
    }
    if total > most || (block == 0 && total > 0) || block > total {
        return Err(format!("found {total} bytes in blocks of {block}, needed at most {most}"));
    }
    if flags & 2 != 0 {
        return Ok(bytes.get(HEADER..HEADER + total).ok_or_else(early)?.to_vec());
    }
    if flags & 4 != 0 {
        return Err("found bits that are shuffled, needed bytes that are or nothing".into());
    }
    let mut out = Vec::with_capacity(total);
    for n in 0..total.div_ceil(block.max(1)) {
        let length = block.min(total - n * block);
        let whole = length == block;
        // Each byte of the elements may be a stream of its own.
        let split = flags & 16 == 0 && whole && size <= MOST_SPLITS && block / size >= LEAST_SPLIT;
        let streams = if split && length % size == 0 { size } else { 1 };
        let mut at = word(HEADER + 4 * n)?;
        let mut unpacked = Vec::with_capacity(length);
        for _ in 0..streams {
            let packed = word(at)?;
            let data = at
                .checked_add(4)
                .and_then(|from| bytes.get(from..from.checked_add(packed)?))
                .ok_or_else(early)?;
            at += 4 + packed;
            stream(data, length / streams, flags >> 5, &mut unpacked)?;
        }
        if flags & 1 != 0 && size > 1 {
            let count = length / size;
            let (sorted, rest) = unpacked.split_at(count * size);
            out.extend((0..count * size).map(|i| sorted[(i % size) * count + i / size]));
            out.extend(rest);
        } else {
            out.extend(unpacked);
        }
    }
    Ok(out)
}

/// One stream; what did not pack is stored as it was.
fn stream(data: &[u8], length: usize, method: u8, out: &mut Vec<u8>) -> Result<(), String> {
    if data.len() == length {
        out.extend(data);
        return Ok(());
    }
    let found = match method {
        1 => lz4_flex::block::decompress(data, length).map_err(|e| e.to_string())?,
        3 => {
            let mut found = Vec::new();
            let decoder = flate2::read::ZlibDecoder::new(data);
            decoder.take(length as u64 + 1).read_to_end(&mut found).map_err(|e| e.to_string())?;
            found
        }
        4 => zstd::bulk::decompress(data, length).map_err(|e| e.to_string())?,
        _ => {
            let name = if method == 0 { "blosclz" } else { "snappy" };
            return Err(format!("packed by blosc with {name}, needed lz4, lz4hc, zlib or zstd"));
        }
    };
    if found.len() != length {
        return Err(format!("a stream of blosc: found {} bytes, needed {length}", found.len()));
    }
    out.extend(found);
    Ok(())
}
