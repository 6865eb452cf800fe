//! The arrays of a numpy archive, read within a budget.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::zip::read::ZipFile;
use npyz::zip::result::ZipError;

use crate::data::aside::open;
use crate::data::budget::{Budget, product};
use crate::data::error::DataError;
use crate::data::narrow::Watch;
use crate::data::npy::{Decoded, Element, decode};
use crate::data::npy_header::Header;
use crate::data::source::Caution;

/// Bytes of an array of names.
const MOST_TEXT: usize = 1 << 22;

/// An array's header, and what follows it.
fn entry<'z>(
    npz: &'z mut NpzArchive<BufReader<File>>,
    what: &str,
    array: &str,
) -> Result<Option<(Header, ZipFile<'z>)>, DataError> {
    let bad = |reason: String| DataError::NotNpy { what: what.to_string(), reason };
    let mut entry = match npz.zip_archive().by_name(&format!("{array}.npy")) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let header = Header::read(&mut entry).map_err(bad)?;
    Ok(Some((header, entry)))
}

/// An open archive.
pub struct Archive<'a> {
    pub path: &'a Path,
    pub npz: NpzArchive<BufReader<File>>,
    /// Memory of all arrays together.
    budget: Budget,
    /// What f32 does not keep of the arrays read so far.
    pub cautions: Vec<Caution>,
}

impl<'a> Archive<'a> {
    /// Opens it, or says what it is in place of an archive.
    pub fn open(path: &'a Path) -> Result<Self, DataError> {
        let mut file = open(path)?;
        let read = |source| DataError::Read { path: path.to_path_buf(), source };
        let mut magic = Vec::new();
        file.by_ref().take(6).read_to_end(&mut magic).map_err(read)?;
        file.rewind().map_err(read)?;
        let budget = Budget::of(&file);
        let npz = NpzArchive::new(BufReader::new(file)).map_err(|error| {
            // The directory of a zip lies at its end, so a copy cut short still starts like one.
            let reason = match magic.as_slice() {
                [] => "the file is empty".to_string(),
                [b'P', b'K', 3, 4, ..] => format!("the zip is truncated or damaged ({error})"),
                b"\x93NUMPY" => "it is a single .npy array".to_string(),
                _ => "it does not begin as a zip archive does".to_string(),
            };
            DataError::NotNpz { path: path.to_path_buf(), reason }
        })?;
        Ok(Self { path, npz, budget, cautions: vec![] })
    }

    /// How errors name an array.
    fn called(&self, array: &str) -> String {
        format!("{}: array '{array}'", self.path.display())
    }

    /// An array of any shape; none where there is no such array.
    pub fn read<T: Element>(&mut self, array: &str) -> Result<Option<Decoded<T>>, DataError> {
        let what = self.called(array);
        let (path, budget) = (self.path, &mut self.budget);
        let Some((header, entry)) = entry(&mut self.npz, &what, array)? else { return Ok(None) };
        let over = |source| DataError::Budget { path: path.to_path_buf(), source };
        let mut room = |count| budget.vec(&format!("array '{array}'"), count).map_err(over);
        decode(&what, &header, entry, &mut room).map(Some)
    }

    /// Whether an array's type holds more than f32 does.
    pub fn is_wide(&mut self, array: &str) -> Result<bool, DataError> {
        let what = self.called(array);
        let Some((header, _)) = entry(&mut self.npz, &what, array)? else { return Ok(false) };
        Ok(matches!(header.element(), Some(('f', 8, _) | ('i' | 'u', 4 | 8, _))))
    }

    /// What is said where an array has to be there.
    pub fn missing(&self, array: &str) -> DataError {
        let mut present: Vec<String> = self.npz.array_names().map(str::to_string).collect();
        present.sort();
        DataError::MissingArray { path: self.path.to_path_buf(), array: array.to_string(), present }
    }

    /// An array [T, dim] and dim; what f32 does not keep of it is remembered.
    pub fn matrix(&mut self, array: &str) -> Result<(Vec<f32>, usize), DataError> {
        let (shape, data) = if self.is_wide(array)? {
            let (shape, data) = self.read::<f64>(array)?.ok_or_else(|| self.missing(array))?;
            let mut watch = Watch::new(shape.last().copied().unwrap_or(1));
            let over = |source| DataError::Budget { path: self.path.to_path_buf(), source };
            let mut narrow = self.budget.vec(&format!("array '{array}'"), data.len()).map_err(over)?;
            narrow.extend(data.iter().map(|&value| watch.narrow(value)));
            self.budget.give(8 * data.len() as u64);
            self.cautions.extend(watch.narrowed(array).into_iter().map(Caution::Narrowed));
            (shape, narrow)
        } else {
            self.read(array)?.ok_or_else(|| self.missing(array))?
        };
        match shape[..] {
            [_, dim] if dim > 0 => Ok((data, dim)),
            [episodes, steps, dim] if episodes * steps * dim > 0 => {
                let found = format!("the shape [{episodes}, {steps}, {dim}]");
                let needed = "[steps, values] with the episodes end to end; if this is [episodes, steps, values], store \
                    a.reshape(-1, a.shape[-1]) and episode_len = np.full(len(a), a.shape[1])";
                Err(DataError::Value { what: format!("array '{array}'"), found, needed })
            }
            _ => Err(DataError::Shape { array: array.to_string(), found: shape, needed: "[steps, values]" }),
        }
    }

    /// An array of texts; none where there is no such array.
    pub fn texts(&mut self, array: &str) -> Result<Option<Vec<String>>, DataError> {
        let what = self.called(array);
        let Some((header, entry)) = entry(&mut self.npz, &what, array)? else { return Ok(None) };
        let wrong = |header: &Header| {
            let reason =
                format!("found {} {:?}, needed a list of texts (numpy's <U)", header.descr, header.shape);
            Err(DataError::NotNpy { what: what.clone(), reason })
        };
        // Characters of 4 bytes each: `<U12`.
        let (Some(('U', length, big)), &[count]) = (header.element(), &header.shape[..]) else {
            return wrong(&header);
        };
        let size = usize::try_from(count).ok().and_then(|count| product(&[count, length, 4]));
        let Some(size) = size.filter(|size| length > 0 && *size <= MOST_TEXT) else { return wrong(&header) };
        let mut bytes = Vec::new();
        let bad = |reason: String| DataError::NotNpy { what: what.clone(), reason };
        entry.take(size as u64).read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
        if bytes.len() < size {
            return Err(DataError::Truncated { what, found: bytes.len() as u64, needed: size as u64 });
        }
        let character = |b: &[u8; 4]| {
            let code = if big { u32::from_be_bytes(*b) } else { u32::from_le_bytes(*b) };
            char::from_u32(code)
        };
        let text = |row: &[u8]| {
            let text: Option<String> = row.as_chunks().0.iter().map(character).collect();
            text.map(|text| text.trim_end_matches('\0').to_string())
        };
        let texts: Option<Vec<String>> = bytes.chunks_exact(4 * length).map(text).collect();
        texts.map(Some).ok_or_else(|| bad("it holds what is no character".into()))
    }

    /// An array of one axis.
    pub fn optional_vector(&mut self, array: &str) -> Result<Option<Vec<f64>>, DataError> {
        match self.read(array)? {
            Some((shape, _)) if shape.len() != 1 => {
                Err(DataError::Shape { array: array.to_string(), found: shape, needed: "[episodes]" })
            }
            found => Ok(found.map(|(_, data)| data)),
        }
    }

    /// An array of one value.
    pub fn optional_scalar(&mut self, array: &str) -> Result<Option<f64>, DataError> {
        match self.read::<f64>(array)? {
            None => Ok(None),
            Some((shape, data)) => match data[..] {
                [value] => Ok(Some(value)),
                _ => Err(DataError::Shape { array: array.to_string(), found: shape, needed: "one number" }),
            },
        }
    }
}
