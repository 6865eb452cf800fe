//! What the pages of a parquet column claim, read before a decoder believes it. A page of 20 bytes may claim to unpack to 2 GB, and one
//! run of a run-length code may stand for a billion values; the decoder would take memory for both at once. Only the pages' headers are
//! read here (Thrift's compact protocol, of which a header uses little).

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::file::metadata::ParquetMetaData;

use super::super::budget::{Budget, BudgetError};

/// Memory of a value while it is decoded and after: itself, its levels, and its copy in the reader's array.
const VALUE: u64 = 24;
/// Longest header of a page; statistics of long texts are in it.
const HEADER: u64 = 1 << 20;
/// How deep a header's structures lie in each other.
const DEEPEST: usize = 6;

/// What the pages of a column claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Values of all pages.
    pub values: u64,
    /// Bytes that the largest page unpacks to.
    pub page: u64,
}

/// Why a column is not decoded.
pub enum Fault {
    /// Its pages cannot be followed.
    Bad(String),
    /// They claim more than the file may have.
    Over(BudgetError),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::Bad(format!("a page's header: {error}"))
    }
}

/// Follows the pages of all leaves below a root column, and counts what they claim.
pub fn claim(
    file: &File,
    metadata: &ParquetMetaData,
    root: usize,
    budget: &mut Budget,
) -> Result<Claim, Fault> {
    let schema = metadata.file_metadata().schema_descr();
    let mut all = Claim::default();
    let mut reader = BufReader::new(file);
    for group in metadata.row_groups() {
        for (leaf, column) in group.columns().iter().enumerate() {
            if leaf >= schema.num_columns() || schema.get_column_root_idx(leaf) != root {
                continue;
            }
            let place = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
            let bad = || Fault::Bad("a column lies outside the file".into());
            let data = place(Some(column.data_page_offset())).ok_or_else(bad)?;
            // The decoder panics at a negative one.
            let dictionary =
                column.dictionary_page_offset().map(|n| place(Some(n)).ok_or_else(bad)).transpose()?;
            let start = dictionary.filter(|n| *n > 0).unwrap_or(data).min(data);
            let length = place(Some(column.compressed_size())).ok_or_else(bad)?;
            let end = start.checked_add(length).ok_or_else(bad)?;
            let mut at = start;
            while at < end {
                reader.seek(SeekFrom::Start(at))?;
                let mut header = Header { input: Counted { inner: reader.by_ref().take(HEADER), read: 0 } };
                let page = header.page()?;
                let step = header.input.read.checked_add(page.packed).ok_or_else(bad)?;
                all.values = all.values.saturating_add(page.values);
                all.page = all.page.max(page.plain);
                at = at.checked_add(step).ok_or_else(bad)?;
            }
        }
    }
    let memory = all.values.saturating_mul(VALUE).saturating_add(all.page.saturating_mul(2));
    budget.take("a column", memory).map_err(Fault::Over)?;
    Ok(all)
}

/// A page's header, as far as it matters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    /// Bytes in memory.
    plain: u64,
    /// Bytes in the file.
    packed: u64,
    values: u64,
}

struct Counted<R> {
    inner: R,
    read: u64,
}

struct Header<R> {
    input: Counted<R>,
}

fn damaged() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "it is damaged")
}

impl<R: Read> Header<R> {
    fn byte(&mut self) -> std::io::Result<u8> {
        let mut byte = [0];
        self.input.inner.read_exact(&mut byte)?;
        self.input.read += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> std::io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    /// A number that must not be negative.
    fn count(&mut self) -> std::io::Result<u64> {
        let zigzag = self.varint()?;
        if zigzag & 1 == 1 { Err(damaged()) } else { Ok(zigzag >> 1) }
    }

    /// The next field's number and type; none at a structure's end.
    fn field(&mut self, last: &mut i64) -> std::io::Result<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *last = match i64::from(byte >> 4) {
            0 => {
                let zigzag = self.varint()?;
                (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
            }
            step => last.saturating_add(step),
        };
        Ok(Some((*last, byte & 0x0f)))
    }

    fn bytes(&mut self, n: u64) -> std::io::Result<()> {
        let skipped = std::io::copy(&mut self.input.inner.by_ref().take(n), &mut std::io::sink())?;
        self.input.read += skipped;
        if skipped == n { Ok(()) } else { Err(damaged()) }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> std::io::Result<()> {
        let Some(depth) = depth.checked_sub(1) else { return Err(damaged()) };
        match kind {
            1 | 2 => Ok(()),
            3 => self.bytes(1),
            4..=6 => self.varint().map(drop),
            7 => self.bytes(8),
            8 => {
                let n = self.varint()?;
                self.bytes(n)
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                // Flags in a list take a byte each.
                let kind = if head & 0x0f <= 2 { 3 } else { head & 0x0f };
                (0..n).try_for_each(|_| self.skip(kind, depth))
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(damaged()),
        }
    }

    fn page(&mut self) -> std::io::Result<Page> {
        let (mut page, mut last) = (Page::default(), 0);
        while let Some((id, kind)) = self.field(&mut last)? {
            match (id, kind) {
                (2, 5) => page.plain = self.count()?,
                (3, 5) => page.packed = self.count()?,
                // Data pages of both versions, and dictionaries, whose values are the first field.
                (5 | 7 | 8, 12) => {
                    let mut inner = 0;
                    while let Some((field, kind)) = self.field(&mut inner)? {
                        match (field, kind) {
                            (1, 5) => page.values = page.values.saturating_add(self.count()?),
                            _ => self.skip(kind, DEEPEST)?,
                        }
                    }
                }
                _ => self.skip(kind, DEEPEST)?,
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> std::io::Result<Page> {
        Header { input: Counted { inner: bytes, read: 0 } }.page()
    }

    #[test]
    fn headers_are_followed() {
        // type 0; 2000 bytes in memory, 500 in the file; a data page of 100 values with statistics that are skipped.
        let statistics = [0x18, 2, 9, 9, 0];
        let header = [
            &[0x15, 0x00, 0x15, 0xa0, 0x1f, 0x15, 0xe8, 0x07, 0x2c][..],
            &[0x15, 0xc8, 0x01, 0x15, 0, 0x15, 6, 0x15, 6, 0x1c],
            &statistics,
            &[0, 0],
        ]
        .concat();
        assert_eq!(read(&header).unwrap(), Page { plain: 2000, packed: 500, values: 100 });
        // A dictionary of 7 values.
        let header = [0x15, 4, 0x15, 8, 0x15, 8, 0x4c, 0x15, 14, 0x15, 0, 0, 0];
        assert_eq!(read(&header).unwrap(), Page { plain: 4, packed: 4, values: 7 });
        for damage in
            [&[][..], &[0x15], &[0x15, 0x01, 0x15, 0x01], &[0x1d], &[0x19, 0xff, 0xff, 0xff, 0xff, 0x0f]]
        {
            assert!(read(damage).is_err(), "{damage:?}");
        }
        assert!(read(&[0x1c; 100_000]).is_err());
    }
}
