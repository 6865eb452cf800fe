//! How much memory a file may take while it is read. A file says how large its contents are, and a damaged or hostile one says
//! anything: a few kilobytes that unpack to gigabytes, a list of a billion values. Every reader asks its budget before it takes
//! memory, so what such a file gets is an error with two numbers, not the machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What any file may take, bytes: small files may well unpack to many times their size.
pub const FLOOR: u64 = 256 << 20;
/// What a larger file may take, in its own sizes. Demonstrations pack to a twentieth at best, and a byte may become an f64.
pub const FACTOR: u64 = 64;

/// Largest checkpoint that is read into memory, bytes.
pub const MOST_FILE: u64 = 64 << 30;

/// Memory that is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// More than a file of this size may take.
    #[error(
        "{what} needs {needed} bytes of memory, and a file of {file} bytes may take {limit} (found in use: {used})"
    )]
    Over {
        /// What the memory is for.
        what: String,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that the file has in use already.
        used: u64,
        /// Bytes that it may have in all.
        limit: u64,
        /// The file's own size, bytes.
        file: u64,
    },
    /// More than the system gives.
    #[error("{what} needs {needed} bytes of memory: the system gives no more")]
    System {
        /// What the memory is for.
        what: String,
        /// Bytes that it needs.
        needed: u64,
    },
    /// A file that is larger than any of its kind.
    #[error("{what}: found more than {most} bytes, needed at most that")]
    File {
        /// The kind of file.
        what: String,
        /// The most bytes that are read.
        most: u64,
    },
}

/// The memory of one file's contents.
#[derive(Clone, Debug)]
pub struct Budget {
    file: u64,
    limit: u64,
    used: u64,
}

impl Budget {
    /// For a file of so many bytes: [`FACTOR`] times that, and [`FLOOR`] at least.
    pub fn of_size(file: u64) -> Budget {
        Budget { file, limit: file.saturating_mul(FACTOR).max(FLOOR), used: 0 }
    }

    /// For an open file. What has no size (a pipe) gets the floor.
    pub fn of(file: &File) -> Budget {
        Budget::of_size(file.metadata().map_or(0, |meta| meta.len()))
    }

    /// Bytes that may still be taken.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// Counts memory that is about to be taken.
    ///
    /// # Errors
    /// [`BudgetError::Over`] if the file may not have so much; then nothing is counted.
    pub fn take(&mut self, what: &str, bytes: u64) -> Result<(), BudgetError> {
        if bytes > self.left() {
            let (used, limit, file) = (self.used, self.limit, self.file);
            return Err(BudgetError::Over { what: what.into(), needed: bytes, used, limit, file });
        }
        self.used += bytes;
        Ok(())
    }

    /// Gives back what is no longer in use.
    pub fn give(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Room for `count` values of a shape's product, none if the shape overflows.
    ///
    /// # Errors
    /// [`BudgetError`] if the file may not have so much, or the system does not give it.
    pub fn vec<T>(&mut self, what: &str, count: usize) -> Result<Vec<T>, BudgetError> {
        let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
        self.take(what, bytes)?;
        let mut out = Vec::new();
        match out.try_reserve_exact(count) {
            Ok(()) => Ok(out),
            Err(_) => {
                self.give(bytes);
                Err(BudgetError::System { what: what.into(), needed: bytes })
            }
        }
    }

    /// Reads to the end what unpacks to an unknown size. Memory grows with what comes.
    ///
    /// # Errors
    /// [`BudgetError`] as an [`io::Error`] of the kind `OutOfMemory` if it is more than the file may have; what the reader says.
    pub fn read_to_end(&mut self, what: &str, reader: impl Read) -> io::Result<Vec<u8>> {
        let (mut out, most) = (Vec::new(), self.left());
        reader.take(most.saturating_add(1)).read_to_end(&mut out)?;
        self.take(what, out.len() as u64).map_err(|e| io::Error::new(io::ErrorKind::OutOfMemory, e))?;
        Ok(out)
    }
}

/// The elements of a shape; none if their number overflows.
pub fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent))
}

/// Reads a file of which no more than `most` bytes are expected, whatever size the system says it has.
///
/// # Errors
/// What the system says; [`BudgetError::File`] as an [`io::Error`] of the kind `FileTooLarge` if it is longer.
pub fn read_file(path: &Path, what: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let file = File::open(path)?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    if size <= most {
        out.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
        file.take(most.saturating_add(1)).read_to_end(&mut out)?;
    }
    if size > most || out.len() as u64 > most {
        let error = BudgetError::File { what: what.into(), most };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(out)
}

/// As [`read_file`], a text in UTF-8.
///
/// # Errors
/// As [`read_file`]; an error of the kind `InvalidData` if it is no UTF-8.
pub fn read_text(path: &Path, what: &str, most: u64) -> io::Result<String> {
    let bytes = read_file(path, what, most)?;
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_before_it_is_taken() {
        let mut budget = Budget::of_size(1000);
        assert_eq!(budget.left(), FLOOR);
        assert_eq!(Budget::of_size(1 << 30).left(), FACTOR << 30);
        let values: Vec<f64> = budget.vec("a", 1000).unwrap();
        assert_eq!((values.capacity(), budget.left()), (1000, FLOOR - 8000));
        let error = budget.vec::<f32>("array 'obs'", 1 << 40).unwrap_err();
        let text = format!(
            "array 'obs' needs {} bytes of memory, and a file of 1000 bytes may take {FLOOR} (found in use: 8000)",
            4u64 << 40
        );
        assert_eq!(error.to_string(), text);
        assert!(budget.vec::<u64>("a", usize::MAX).is_err());
        budget.give(8000);
        assert_eq!(budget.left(), FLOOR);
        // What the budget gives and the system does not is an error too.
        let mut endless = Budget::of_size(u64::MAX);
        assert!(matches!(endless.vec::<u8>("a", isize::MAX as usize), Err(BudgetError::System { .. })));
        assert_eq!(endless.left(), u64::MAX);
    }

    #[test]
    fn what_unpacks_without_end_is_cut() {
        let mut budget = Budget { file: 10, limit: 100, used: 0 };
        assert_eq!(budget.read_to_end("a", &[1u8; 60][..]).unwrap().len(), 60);
        let error = budget.read_to_end("a", io::repeat(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(error.to_string().contains("needs 41 bytes"), "{error}");
    }

    #[test]
    fn files_are_read_up_to_their_kinds_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, [b'x'; 10]).unwrap();
        assert_eq!(read_text(&path, "a", 10).unwrap(), "x".repeat(10));
        let error = read_file(&path, "a configuration", 9).unwrap_err();
        assert_eq!(error.to_string(), "a configuration: found more than 9 bytes, needed at most that");
        #[cfg(unix)]
        assert_eq!(
            read_file(Path::new("/dev/zero"), "a", 1000).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(read_file(&folder.path().join("none"), "a", 1).is_err());
    }

    #[test]
    fn products_do_not_overflow() {
        assert_eq!((product(&[]), product(&[3, 4]), product(&[usize::MAX, 2])), (Some(1), Some(12), None));
        assert_eq!(product(&[usize::MAX, 2, 0]), None);
    }
}
