//! One array of a zarr store: what its metadata says, and its chunks.

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

use super::malformed;
use super::shards::Shards;
use super::store::Store;
use crate::data::budget::{Budget, product};
use crate::data::error::DataError;
use crate::data::number::Number;

/// Most bytes of an array's metadata.
const MOST_METADATA: u64 = 1 << 20;
/// Most chunks of an array.
pub(super) const MOST_CHUNKS: usize = 1 << 22;

/// Whether a folder of a store is an array.
pub fn is_array(store: &Store, folder: &str) -> bool {
    store.has(&format!("{folder}/.zarray"))
        || metadata(store, &format!("{folder}/zarr.json"))
            .is_ok_and(|value| value.is_some_and(|value| value["node_type"] == "array"))
}

/// What is done to a chunk's bytes when it is written, undone from the last to the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Codec {
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
pub struct Array<'s> {
    store: &'s Store,
    /// Where it lies in the store.
    folder: String,
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
    /// The chunks within a chunk's file, where there are several.
    shards: Option<Shards>,
    /// What stands before a chunk's numbers, and between them.
    key: (&'static str, String),
}

fn metadata(store: &Store, name: &str) -> Result<Option<Value>, DataError> {
    let Some(bytes) = store.read(name, "metadata of a zarr array", MOST_METADATA)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| malformed(&store.place(name), e.to_string()))
}

/// What the metadata say of how an array is stored.
struct Stored<'m> {
    dtype: String,
    number: Option<(Number, bool)>,
    chunks: &'m Value,
    fortran: bool,
    codecs: Vec<Codec>,
    shards: Option<Shards>,
    key: (&'static str, String),
}

impl<'s> Array<'s> {
    /// Reads the metadata of an array that [`is_array`].
    pub fn open(store: &'s Store, folder: &str, name: &str) -> Result<Array<'s>, DataError> {
        let bad = |reason: String| malformed(&store.place(folder), reason);
        if let Some(meta) = metadata(store, &format!("{folder}/.zarray"))? {
            let stored = Self::v2(&meta).map_err(bad)?;
            return Self::checked(store, folder, name, &meta, stored);
        }
        let meta =
            metadata(store, &format!("{folder}/zarr.json"))?.ok_or_else(|| bad("no metadata".into()))?;
        let stored = Self::v3(&meta).map_err(bad)?;
        Self::checked(store, folder, name, &meta, stored)
    }

    fn v2(meta: &Value) -> Result<Stored<'_>, String> {
        let dtype = meta["dtype"].as_str().unwrap_or("a structure").to_owned();
        let mut codecs = Vec::new();
        if !meta["compressor"].is_null() {
            let id = meta["compressor"]["id"].as_str().unwrap_or_default();
            codecs.push(codec(id).ok_or_else(|| format!("compressed with '{id}', {NEEDED}"))?);
        }
        let filters = meta["filters"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !filters.is_empty() {
            let names: Vec<&str> = filters.iter().map(|f| f["id"].as_str().unwrap_or("?")).collect();
            return Err(format!("found the filter {}, needed none", names.join(", ")));
        }
        let separator = meta["dimension_separator"].as_str().unwrap_or(".").to_owned();
        Ok(Stored {
            number: by_descr(&dtype),
            dtype,
            chunks: &meta["chunks"],
            fortran: meta["order"] == "F",
            codecs,
            shards: None,
            key: ("", separator),
        })
    }

    fn v3(meta: &Value) -> Result<Stored<'_>, String> {
        let dtype = meta["data_type"].as_str().unwrap_or("a structure").to_owned();
        if meta["chunk_grid"]["name"] != "regular" {
            return Err("found chunks of several sizes, needed a regular grid".into());
        }
        let chunks = &meta["chunk_grid"]["configuration"]["chunk_shape"];
        let (codecs, big, shards) = match meta["codecs"].as_array().map(Vec::as_slice) {
            Some([only]) if only["name"] == "sharding_indexed" => {
                let (shards, big) = Shards::of(&only["configuration"], chunks)?;
                (Vec::new(), big, Some(shards))
            }
            steps => {
                let (codecs, big) = codecs(steps.unwrap_or_default())?;
                (codecs, big, None)
            }
        };
        let encoding = &meta["chunk_key_encoding"];
        let plain = encoding["name"] == "v2";
        let separator =
            encoding["configuration"]["separator"].as_str().unwrap_or(if plain { "." } else { "/" });
        let key = (if plain { "" } else { "c" }, separator.to_owned());
        let number = by_name(&dtype).map(|number| (number, big));
        Ok(Stored { dtype, number, chunks, fortran: false, codecs, shards, key })
    }

    fn checked(
        store: &'s Store,
        folder: &str,
        name: &str,
        meta: &Value,
        stored: Stored<'_>,
    ) -> Result<Array<'s>, DataError> {
        let bad = |reason: String| malformed(&store.place(folder), reason);
        let Stored { dtype, number, chunks, fortran, codecs, shards, key } = stored;
        let (shape, chunks) = match (extents(&meta["shape"]), extents(chunks)) {
            (Some(shape), Some(chunks))
                if shape.len() == chunks.len() && shape.len() <= 8 && !chunks.contains(&0) =>
            {
                (shape, chunks)
            }
            _ => return Err(bad(format!("found the shape {} in chunks of {chunks}", meta["shape"]))),
        };
        if product(&shape).is_none() || !matches!(key.1.as_str(), "." | "/") {
            return Err(bad(format!("found the shape {shape:?}, chunks named by '{}'", key.1)));
        }
        let fill = match &meta["fill_value"] {
            Value::Number(number) => number.as_f64().unwrap_or(0.0),
            Value::Bool(flag) => (*flag).into(),
            Value::String(text) if text.contains("NaN") => f64::NAN,
            Value::String(text) if text.starts_with("-Inf") => f64::NEG_INFINITY,
            Value::String(text) if text.contains("Inf") => f64::INFINITY,
            _ => 0.0,
        };
        let number = number.filter(|(number, _)| number.is_known());
        Ok(Array {
            store,
            folder: folder.into(),
            name: name.into(),
            shape,
            dtype,
            number,
            chunks,
            fill,
            fortran,
            codecs,
            shards,
            key,
        })
    }

    /// Where it lies in its store.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Where it lies, for people.
    fn place_of(&self) -> PathBuf {
        self.store.place(&self.folder)
    }

    /// All values, row-major.
    pub fn read(&self, budget: &mut Budget, mut take: impl FnMut(f64)) -> Result<(), DataError> {
        let Some((number, big)) = self.number else {
            return Err(malformed(&self.place_of(), format!("found {}, needed numbers", self.dtype)));
        };
        let over = |source| DataError::Budget { path: self.place_of(), source };
        let bad = |reason: String| malformed(&self.place_of(), reason);
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
            let name = format!("{}/{name}", self.folder);
            let index = self.shards.as_ref().map_or(0, Shards::index_bytes);
            // What does not pack grows by a header and a little.
            let most = (2 * chunk_bytes as u64).saturating_add(1 << 16).saturating_add(index as u64);
            let Some(bytes) = self.store.read(&name, "a chunk", most)? else { continue };
            let bad = |reason: String| malformed(&self.store.place(&name), reason);
            let mut put = |at: &[usize], chunk: &[usize], codecs: &[Codec], bytes: Vec<u8>| {
                let size = product(chunk).unwrap_or(usize::MAX).saturating_mul(number.size());
                let mut bytes = bytes;
                for codec in codecs.iter().rev() {
                    bytes = codec.undo(bytes, size)?;
                }
                if bytes.len() != size {
                    return Err(format!("found {} bytes, needed {size}", bytes.len()));
                }
                self.place(at, chunk, &bytes, (number, big), &mut values);
                Ok(())
            };
            match &self.shards {
                None => put(&at, &self.chunks, &self.codecs, bytes).map_err(bad)?,
                Some(shards) => {
                    shards
                        .each(&at, &bytes, |at, part| put(at, &shards.chunk, &shards.codecs, part))
                        .map_err(bad)?;
                }
            }
        }
        values.into_iter().for_each(&mut take);
        budget.give((elements as u64).saturating_mul(8));
        budget.give((chunk_bytes as u64).saturating_mul(2));
        Ok(())
    }

    /// Copies what of a chunk, of a shape and at its place among its like, lies within the array.
    fn place(
        &self,
        at: &[usize],
        chunk: &[usize],
        bytes: &[u8],
        (number, big): (Number, bool),
        values: &mut [f64],
    ) {
        let size = number.size();
        for (n, bytes) in bytes.chunks_exact(size).enumerate() {
            let mut inner = match self.fortran {
                false => split(n, chunk),
                true => {
                    let reversed: Vec<usize> = chunk.iter().rev().copied().collect();
                    let mut index = split(n, &reversed);
                    index.reverse();
                    index
                }
            };
            let mut within = true;
            for axis in 0..inner.len() {
                inner[axis] += at[axis] * chunk[axis];
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
pub(super) fn split(mut n: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = n % shape[axis];
        n /= shape[axis];
    }
    index
}

const NEEDED: &str = "needed blosc, zstd, zlib, gzip, lz4 or nothing";

/// The lengths of all axes.
pub(super) fn extents(value: &Value) -> Option<Vec<usize>> {
    value.as_array()?.iter().map(|extent| usize::try_from(extent.as_u64()?).ok()).collect()
}

/// Steps of format 3, and whether numbers are big-endian.
pub(super) fn codecs(steps: &[Value]) -> Result<(Vec<Codec>, bool), String> {
    let (mut codecs, mut big) = (Vec::new(), false);
    for step in steps {
        match step["name"].as_str().unwrap_or_default() {
            "bytes" => big = step["configuration"]["endian"] == "big",
            other => codecs.push(codec(other).ok_or_else(|| format!("stored with '{other}', {NEEDED}"))?),
        }
    }
    Ok((codecs, big))
}

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
