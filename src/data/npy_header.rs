//! The header of a .npy file (NEP 1): a Python dictionary of an element type, an order and a shape. Read here rather than by a library:
//! the text comes from anywhere, so its length is bounded, nothing in it is recursive, and products of extents are checked.

use std::io::{self, Read};

/// Longest header that is read, bytes; numpy itself reads 10,000.
const LONGEST: usize = 1 << 16;

/// What a .npy file says of its array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The element type, as `<f4`; of records the whole text.
    pub descr: String,
    /// Whether the first axis is the fastest.
    pub fortran: bool,
    /// Length of every axis.
    pub shape: Vec<u64>,
}

impl Header {
    /// Reads up to the first element.
    pub fn read(reader: &mut impl Read) -> Result<Header, String> {
        let short = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => "the header is truncated".to_string(),
            _ => e.to_string(),
        };
        let (mut start, mut length) = ([0u8; 8], [0u8; 4]);
        reader.read_exact(&mut start).map_err(short)?;
        if !start.starts_with(b"\x93NUMPY") {
            return Err("it does not start as .npy files do".into());
        }
        let width = match start[6] {
            1 => 2,
            2 | 3 => 4,
            other => return Err(format!("found version {other}, needed 1, 2 or 3")),
        };
        reader.read_exact(&mut length[..width]).map_err(short)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(format!("found a header of {length} bytes, needed at most {LONGEST}"));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(short)?;
        Header::parse(&String::from_utf8_lossy(&text))
    }

    /// The element type as kind and bytes, and whether it is big-endian: `('f', 4, false)` of `<f4`. None if it is a record
    /// or has no size.
    pub fn element(&self) -> Option<(char, usize, bool)> {
        let mut rest = self.descr.chars();
        let order = rest.next()?;
        let kind = rest.next()?;
        let size = rest.as_str().parse().ok()?;
        let big = match order {
            '<' | '|' => false,
            '>' => true,
            '=' => cfg!(target_endian = "big"),
            _ => return None,
        };
        Some((kind, size, big))
    }

    fn parse(text: &str) -> Result<Header, String> {
        let bad = || "the header is no dictionary of descr, fortran_order and shape".to_string();
        let inside = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(bad)?;
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        for entry in parts(inside) {
            let (key, value) = split(entry).ok_or_else(bad)?;
            match key {
                "descr" => descr = Some(quoted(value).unwrap_or(value).to_string()),
                "fortran_order" => {
                    fortran = Some(match value {
                        "True" => true,
                        "False" => false,
                        _ => return Err(bad()),
                    });
                }
                "shape" => shape = Some(extents(value).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Header { descr, fortran, shape }),
            _ => Err(bad()),
        }
    }
}

/// The parts between the commas that lie in no bracket and no quotes, white space around them dropped, empty ones left out.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quote) = (0usize, None);
    let ends = move |c: char| {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') => return depth == 0,
            _ => {}
        }
        false
    };
    text.split(ends).map(str::trim).filter(|part| !part.is_empty())
}

/// A quoted key and the value after its colon.
fn split(entry: &str) -> Option<(&str, &str)> {
    let quote = entry.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (key, rest) = entry[1..].split_once(quote)?;
    Some((key, rest.trim_start().strip_prefix(':')?.trim()))
}

fn quoted(value: &str) -> Option<&str> {
    let strip = |q: char| value.strip_prefix(q)?.strip_suffix(q);
    strip('\'').or_else(|| strip('"')).filter(|inner| !inner.contains(['\'', '"']))
}

/// `(3, 2)`; Python 2 wrote `(3L, 2L)`.
fn extents(value: &str) -> Option<Vec<u64>> {
    let inside = value.strip_prefix('(')?.strip_suffix(')')?;
    parts(inside).map(|part| part.trim_end_matches('L').parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_writer_are_read() {
        let read = |text: &str| Header::parse(text).unwrap();
        let header = read("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }      \n");
        assert_eq!(header, Header { descr: "<f4".into(), fortran: false, shape: vec![3, 2] });
        assert_eq!(header.element(), Some(('f', 4, false)));
        assert_eq!(read("{'shape':(),'fortran_order':True,'descr':\">i8\"}").element(), Some(('i', 8, true)));
        assert_eq!(read("{'descr': '|u1', 'fortran_order': False, 'shape': (7L,)}").shape, [7]);
        let record =
            read("{'descr': [('a, b', '<f4'), ('c', '<i2', (2,))], 'fortran_order': False, 'shape': (1,)}");
        assert_eq!(record.element(), None);
        assert_eq!(read("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}").element(), None);
    }

    #[test]
    fn other_texts_are_errors() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': [1]}",
            "{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}",
            "{é: 1}",
        ] {
            assert!(Header::parse(text).is_err(), "{text}");
        }
        let nested = format!("{{'descr': {}, 'fortran_order': False, 'shape': ()}}", "(".repeat(60_000));
        assert!(Header::parse(&nested).is_err());
    }

    #[test]
    fn a_header_of_any_claimed_length_takes_little() {
        let mut file = b"\x93NUMPY\x02\x00".to_vec();
        file.extend(u32::MAX.to_le_bytes());
        let text = Header::read(&mut file.as_slice()).unwrap_err();
        assert_eq!(text, "found a header of 4294967295 bytes, needed at most 65536");
        assert!(Header::read(&mut &b"\x93NUMPY\x09\x00"[..]).unwrap_err().contains("version 9"));
        assert!(Header::read(&mut &b"\x93NUMPY\x01\x00\x40"[..]).unwrap_err().contains("truncated"));
    }
}
