//! Where the files of a store lie: in a folder, or in a zip archive (`.zarr.zip`).

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use npyz::zip::ZipArchive;
use npyz::zip::result::ZipError;

use super::malformed;
use crate::data::aside::open;
use crate::data::budget::read_file;
use crate::data::error::DataError;

/// What every replay buffer has, in format 2 or 3.
const ENDS: [&str; 2] = ["meta/episode_ends/.zarray", "meta/episode_ends/zarr.json"];
/// How deep folders are looked into.
const DEEPEST: usize = 10;

/// Files by name, `data/state/0.0`.
pub struct Store {
    path: PathBuf,
    zip: Option<Zip>,
}

struct Zip {
    archive: RefCell<ZipArchive<BufReader<File>>>,
    /// What stands before every name, where a folder was packed with its own name.
    root: String,
    /// Bytes of the archive.
    size: u64,
}

impl Store {
    /// Opens a folder or an archive.
    pub fn open(path: &Path) -> Result<Store, DataError> {
        if path.is_dir() {
            return Ok(Store { path: path.into(), zip: None });
        }
        let file = open(path)?;
        let size = file.metadata().map_or(0, |meta| meta.len());
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| malformed(path, e.to_string()))?;
        let roots =
            archive.file_names().filter_map(|name| ENDS.iter().find_map(|end| name.strip_suffix(end)));
        let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|root| root.len());
        let root = root.unwrap_or_default().to_owned();
        Ok(Store { path: path.into(), zip: Some(Zip { archive: RefCell::new(archive), root, size }) })
    }

    /// Where a file is, for people.
    pub fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        match &self.zip {
            None => self.path.join(name).is_file(),
            Some(zip) => zip.archive.borrow_mut().by_name(&format!("{}{name}", zip.root)).is_ok(),
        }
    }

    /// A file of `most` bytes at most; none where there is no such file.
    pub fn read(&self, name: &str, what: &str, most: u64) -> Result<Option<Vec<u8>>, DataError> {
        let bad = |reason: String| malformed(&self.place(name), reason);
        let Some(zip) = &self.zip else {
            let path = self.path.join(name);
            return match path.is_file() {
                true => read_file(&path, what, most).map(Some).map_err(|e| bad(e.to_string())),
                false => Ok(None),
            };
        };
        let mut archive = zip.archive.borrow_mut();
        let entry = match archive.by_name(&format!("{}{name}", zip.root)) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(bad(error.to_string())),
        };
        let mut bytes = Vec::new();
        entry.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
        match bytes.len() as u64 > most {
            true => Err(bad(format!("{what}: found more than {most} bytes, needed at most that"))),
            false => Ok(Some(bytes)),
        }
    }

    /// The folders within a folder, by name, ascending.
    pub fn folders(&self, below: &str) -> Vec<String> {
        let mut names: Vec<String> = match &self.zip {
            None => {
                let entries = std::fs::read_dir(self.path.join(below)).into_iter().flatten().flatten();
                let folders = entries.filter(|entry| entry.path().is_dir());
                folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            }
            Some(zip) => {
                let before = format!("{}{below}/", zip.root);
                let archive = zip.archive.borrow();
                let inner = archive.file_names().filter_map(|name| name.strip_prefix(before.as_str()));
                inner.filter_map(|rest| rest.split_once('/')).map(|(name, _)| name.to_owned()).collect()
            }
        };
        names.sort();
        names.dedup();
        names
    }

    /// Bytes of some folders' files; of an archive, all that it has.
    pub fn stored_bytes(&self, folders: &[&str]) -> u64 {
        fn below(folder: &Path, depth: usize) -> u64 {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_file() => meta.len(),
                    Ok(meta) if meta.is_dir() && depth < DEEPEST => below(&entry.path(), depth + 1),
                    _ => 0,
                })
                .sum()
        }
        match &self.zip {
            None => folders.iter().map(|folder| below(&self.path.join(folder), 0)).sum(),
            Some(zip) => zip.size,
        }
    }
}

/// Whether a zip archive holds a replay buffer.
pub fn is_zip(path: &Path) -> bool {
    let archive = File::open(path).ok().and_then(|file| ZipArchive::new(BufReader::new(file)).ok());
    archive.is_some_and(|zip| zip.file_names().any(|name| ENDS.iter().any(|end| name.ends_with(end))))
}
