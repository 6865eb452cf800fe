//! One array of a zarr store: what its metadata says, and its chunks.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::malformed;
use crate::data::budget::{Budget, product, read_file};
use crate::data::error::DataError;
use crate::data::number::Number;

/// Most bytes of an array's metadata.
const MOST_METADATA: u64 = 1 << 20;
/// Most chunks of an array.
const MOST_CHUNKS: usize = 1 << 22;

/// Whether a folder is an array.
pub fn is_array(folder: &Path) -> bool {
    folder.join(".zarray").is_file()
        || metadata(&folder.join("zarr.json")).is_ok_and(|value| value["node_type"] == "array")
}

/// What is done to a chunk's bytes when it is written, undone from the last to the first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Codec {
    Blosc,
    Zstd,
    Zlib,
    Gzip,
    /// A length of 4 bytes, and a block.
    Lz4,
    /// A checksum of 4 bytes at the end.
    Crc32c,
}

/// An array of a store.
#[derive(Debug)]
pub struct Array {
    folder: PathBuf,
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type as the metadata has it.
    pub dtype: String,
    /// Its type, where it is a number, and whether it is big-endian.
    pub number: Option<(Number, bool)>,
    chunks: Vec<usize>,
    fill: f64,
    fortran: bool,
    codecs: Vec<Codec>,
    /// What stands before a chunk's numbers, and between them.
    key: (&'static str, String),
}

fn metadata(path: &Path) -> Result<Value, DataError> {
    let bytes = read_file(path, "metadata of a zarr array", MOST_METADATA)
        .map_err(|e| malformed(path, e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| malformed(path, e.to_string()))
}

impl Array {
    /// Reads the metadata.
    pub fn open(folder: &Path, name: &str) -> Result<Array, DataError> {
        match folder.join(".zarray") {
            path if path.is_file() => Self::v2(folder, name, &metadata(&path)?),
            _ => Self::v3(folder, name, &metadata(&folder.join("zarr.json"))?),
        }
    }

    fn v2(folder: &Path, name: &str, meta: &Value) -> Result<Array, DataError> {
        let dtype = meta["dtype"].as_str().unwrap_or("a structure").to_owned();
        let mut codecs = Vec::new();
        if !meta["compressor"].is_null() {
            let id = meta["compressor"]["id"].as_str().unwrap_or_default();
            codecs.push(
                codec(id).ok_or_else(|| malformed(folder, format!("compressed with '{id}', {NEEDED}")))?,
            );
        }
        if meta["filters"].as_array().is_some_and(|filters| !filters.is_empty()) {
            return Err(malformed(folder, "found filters, needed none".into()));
        }
        let fortran = meta["order"] == "F";
        let separator = meta["dimension_separator"].as_str().unwrap_or(".").to_owned();
        let number = by_descr(&dtype);
        let parts = (dtype, number, &meta["chunks"], &meta["fill_value"]);
        Self::checked(folder, name, meta, parts, fortran, codecs, ("", separator))
    }

    fn v3(folder: &Path, name: &str, meta: &Value) -> Result<Array, DataError> {
        let dtype = meta["data_type"].as_str().unwrap_or("a structure").to_owned();
        let (mut codecs, mut big) = (Vec::new(), false);
        for step in meta["codecs"].as_array().into_iter().flatten() {
            match step["name"].as_str().unwrap_or_default() {
                "bytes" => big = step["configuration"]["endian"] == "big",
                other => codecs.push(
                    codec(other)
                        .ok_or_else(|| malformed(folder, format!("stored with '{other}', {NEEDED}")))?,
                ),
            }
        }
        if meta["chunk_grid"]["name"] != "regular" {
            return Err(malformed(folder, "found chunks of several sizes, needed a regular grid".into()));
        }
        let encoding = &meta["chunk_key_encoding"];
        let plain = encoding["name"] == "v2";
        let separator =
            encoding["configuration"]["separator"].as_str().unwrap_or(if plain { "." } else { "/" });
        let key = (if plain { "" } else { "c" }, separator.to_owned());
        let number = by_name(&dtype).map(|number| (number, big));
        let chunks = &meta["chunk_grid"]["configuration"]["chunk_shape"];
        Self::checked(folder, name, meta, (dtype, number, chunks, &meta["fill_value"]), false, codecs, key)
    }

    fn checked(
        folder: &Path,
        name: &str,
        meta: &Value,
        (dtype, number, chunks, fill): (String, Option<(Number, bool)>, &Value, &Value),
        fortran: bool,
        codecs: Vec<Codec>,
        key: (&'static str, String),
    ) -> Result<Array, DataError> {
        let extents = |value: &Value| -> Option<Vec<usize>> {
            value.as_array()?.iter().map(|extent| usize::try_from(extent.as_u64()?).ok()).collect()
        };
        let (shape, chunks) = match (extents(&meta["shape"]), extents(chunks)) {
            (Some(shape), Some(chunks))
                if shape.len() == chunks.len() && shape.len() <= 8 && !chunks.contains(&0) =>
            {
                (shape, chunks)
            }
            _ => {
                return Err(malformed(
                    folder,
                    format!("found the shape {} in chunks of {chunks}", meta["shape"]),
                ));
            }
        };
        if product(&shape).is_none() || !matches!(key.1.as_str(), "." | "/") {
            return Err(malformed(folder, format!("found the shape {shape:?}, chunks named by '{}'", key.1)));
        }
        let fill = match fill {
            Value::Number(number) => number.as_f64().unwrap_or(0.0),
            Value::Bool(flag) => (*flag).into(),
            Value::String(text) if text.contains("NaN") => f64::NAN,
            Value::String(text) if text.starts_with("-Inf") => f64::NEG_INFINITY,
            Value::String(text) if text.contains("Inf") => f64::INFINITY,
            _ => 0.0,
        };
        let number = number.filter(|(number, _)| number.is_known());
        Ok(Array {
            folder: folder.into(),
            name: name.into(),
            shape,
            dtype,
            number,
            chunks,
            fill,
            fortran,
            codecs,
            key,
        })
    }

    /// Bytes of all its files.
    pub fn stored_bytes(&self) -> u64 {
        fn below(folder: &Path, depth: usize) -> u64 {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_file() => meta.len(),
                    Ok(meta) if meta.is_dir() && depth < 10 => below(&entry.path(), depth + 1),
                    _ => 0,
                })
                .sum()
        }
        below(&self.folder, 0)
    }

    /// All values, row-major.
    pub fn read(&self, budget: &mut Budget, mut take: impl FnMut(f64)) -> Result<(), DataError> {
        let Some((number, big)) = self.number else {
            return Err(malformed(&self.folder, format!("found {}, needed numbers", self.dtype)));
        };
        let over = |source| DataError::Budget { path: self.folder.clone(), source };
        let bad = |reason: String| malformed(&self.folder, reason);
        let elements = product(&self.shape).unwrap_or(usize::MAX);
        let per_chunk = product(&self.chunks).unwrap_or(usize::MAX);
        let chunk_bytes = per_chunk.saturating_mul(number.size());
        let what = format!("array '{}'", self.name);
        // The values as f64 until they are taken, f32 for good; one chunk.
        budget.take(&what, (elements as u64).saturating_mul(12)).map_err(over)?;
        budget.take("a chunk", (chunk_bytes as u64).saturating_mul(2)).map_err(over)?;
        let counts: Vec<usize> =
            self.shape.iter().zip(&self.chunks).map(|(extent, chunk)| extent.div_ceil(*chunk)).collect();
        let chunks = product(&counts).filter(|count| *count <= MOST_CHUNKS);
        let chunks = chunks.ok_or_else(|| bad(format!("more than {MOST_CHUNKS} chunks")))?;
        let mut values = vec![self.fill; elements];
        for chunk in 0..chunks {
            let at = split(chunk, &counts);
            let numbers: Vec<String> = at.iter().map(usize::to_string).collect();
            let mut name = numbers.join(&self.key.1);
            if !self.key.0.is_empty() {
                name = [self.key.0, name.as_str()]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(&self.key.1);
            } else if name.is_empty() {
                name = "0".into();
            }
            let path = self.folder.join(&name);
            if !path.is_file() {
                continue;
            }
            // What does not pack grows by a header and a little.
            let most = 2 * chunk_bytes as u64 + (1 << 16);
            let mut bytes = read_file(&path, "a chunk", most).map_err(|e| malformed(&path, e.to_string()))?;
            for codec in self.codecs.iter().rev() {
                bytes = codec.undo(bytes, chunk_bytes).map_err(|reason| malformed(&path, reason))?;
            }
            if bytes.len() != chunk_bytes {
                return Err(malformed(&path, format!("found {} bytes, needed {chunk_bytes}", bytes.len())));
            }
            self.place(&at, &bytes, number, big, &mut values);
        }
        values.into_iter().for_each(&mut take);
        budget.give((elements as u64).saturating_mul(8));
        budget.give((chunk_bytes as u64).saturating_mul(2));
        Ok(())
    }

    /// Copies what of a chunk lies within the array.
    fn place(&self, chunk: &[usize], bytes: &[u8], number: Number, big: bool, values: &mut [f64]) {
        let size = number.size();
        for (n, bytes) in bytes.chunks_exact(size).enumerate() {
            let mut inner = match self.fortran {
                false => split(n, &self.chunks),
                true => {
                    let reversed: Vec<usize> = self.chunks.iter().rev().copied().collect();
                    let mut index = split(n, &reversed);
                    index.reverse();
                    index
                }
            };
            let mut within = true;
            for axis in 0..inner.len() {
                inner[axis] += chunk[axis] * self.chunks[axis];
                within &= inner[axis] < self.shape[axis];
            }
            if within {
                let flat = inner.iter().zip(&self.shape).fold(0, |flat, (at, extent)| flat * extent + at);
                values[flat] = number.value(bytes, big);
            }
        }
    }
}

/// The index of the n-th element of a shape, row-major.
fn split(mut n: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = n % shape[axis];
        n /= shape[axis];
    }
    index
}

const NEEDED: &str = "needed blosc, zstd, zlib, gzip, lz4 or nothing";

fn codec(name: &str) -> Option<Codec> {
    Some(match name {
        "blosc" => Codec::Blosc,
        "zstd" => Codec::Zstd,
        "zlib" => Codec::Zlib,
        "gzip" => Codec::Gzip,
        "lz4" => Codec::Lz4,
        "crc32c" => Codec::Crc32c,
        _ => return None,
    })
}

impl Codec {
    /// What was packed, `most` bytes of it at most, for any step but the last a little more.
    fn undo(self, bytes: Vec<u8>, most: usize) -> Result<Vec<u8>, String> {
        let most = most + 4;
        let unpack = |reader: &mut dyn Read| -> Result<Vec<u8>, String> {
            let mut out = Vec::new();
            reader.take(most as u64 + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
            Ok(out)
        };
        match self {
            Codec::Blosc => super::blosc::unpack(&bytes, most),
            Codec::Zstd => zstd::bulk::decompress(&bytes, most).map_err(|e| e.to_string()),
            Codec::Zlib => unpack(&mut flate2::read::ZlibDecoder::new(&bytes[..])),
            Codec::Gzip => unpack(&mut flate2::read::MultiGzDecoder::new(&bytes[..])),
            Codec::Lz4 => {
                let (size, block) = bytes.split_first_chunk::<4>().ok_or("the chunk ends early")?;
                let size = u32::from_le_bytes(*size) as usize;
                if size > most {
                    return Err(format!("found {size} bytes, needed at most {most}"));
                }
                lz4_flex::block::decompress(block, size).map_err(|e| e.to_string())
            }
            Codec::Crc32c => {
                let mut bytes = bytes;
                bytes.truncate(bytes.len().saturating_sub(4));
                Ok(bytes)
            }
        }
    }
}

/// numpy's names: `<f4`, `|u1`.
fn by_descr(dtype: &str) -> Option<(Number, bool)> {
    let mut marks = dtype.chars();
    let (order, kind) = (marks.next()?, marks.next()?);
    let size = marks.as_str().parse().ok()?;
    let number = match kind {
        'f' => Number::Float(size),
        'i' => Number::Int(size),
        'u' | 'b' => Number::Uint(size),
        _ => return None,
    };
    Some((number, order == '>'))
}

/// Zarr 3's names: `float32`, `uint8`, `bool`.
fn by_name(dtype: &str) -> Option<Number> {
    let bits = |name: &str| name.parse::<usize>().ok().filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
    match dtype {
        "bool" => Some(Number::Uint(1)),
        _ if dtype.starts_with("float") => bits(&dtype[5..]).map(Number::Float),
        _ if dtype.starts_with("uint") => bits(&dtype[4..]).map(Number::Uint),
        _ if dtype.starts_with("int") => bits(&dtype[3..]).map(Number::Int),
        _ => None,
    }
}
