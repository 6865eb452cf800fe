//! Whole files or none: written beside the target and renamed over it once complete.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a file could not be written. Nothing is left behind, and an older file of the name is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No file can be made in the folder: it is missing, is no folder, or is not writable.
    #[error("cannot write {}: folder {}: {source}", path.display(), folder.display())]
    Folder {
        /// The file that was to be written.
        path: PathBuf,
        /// The folder that refused.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing, flushing or renaming failed (a full disk, or a folder that has the file's name).
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller wrote another amount of data than announced.
    #[error("cannot write {}: found {found} values, needed {needed}", path.display())]
    Count {
        /// The file that was to be written.
        path: PathBuf,
        /// Values given.
        found: usize,
        /// Values that the shape needs.
        needed: usize,
    },
}

/// A file being written beside its target. It takes the target's name at [`Aside::commit`]; dropped before that, it
/// leaves nothing.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    writer: BufWriter<NamedTempFile>,
}

impl Aside {
    /// Opens a temporary file in the folder of `path`.
    ///
    /// # Errors
    /// [`WriteError::Folder`] if the folder does not take a file; [`WriteError::File`] if `path` names no file.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, WriteError> {
        let path = path.as_ref().to_path_buf();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
            return Err(WriteError::File { path, source });
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp");
        // A temporary file is private by default; the finished file shall have the mode of any other, by the umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        match builder.tempfile_in(&folder) {
            Ok(file) => Ok(Self { path, writer: BufWriter::new(file) }),
            // The system's error without the temporary name that tempfile adds: the folder is what matters.
            Err(error) => Err(WriteError::Folder { path, folder, source: error.kind().into() }),
        }
    }

    /// The target's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file in the target's place once its bytes are on the disk.
    ///
    /// # Errors
    /// [`WriteError::File`] if flushing or renaming fails.
    pub fn commit(self) -> Result<(), WriteError> {
        let Self { path, writer } = self;
        let place = |path: &Path| -> io::Result<()> {
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(path).map(drop).map_err(|error| error.error)
        };
        place(&path).map_err(|source| WriteError::File { path, source })
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl io::Seek for Aside {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.writer.seek(to)
    }
}

/// Writes a file whole or not at all: `write` fills a temporary file beside `path`, which is then renamed to `path`.
///
/// # Errors
/// [`WriteError`] if the folder takes no file, or `write`, flushing or renaming fails. No partial file stays.
pub fn write_aside(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut Aside) -> io::Result<()>,
) -> Result<(), WriteError> {
    let mut file = Aside::create(path)?;
    match write(&mut file) {
        Ok(()) => file.commit(),
        Err(source) => Err(WriteError::File { path: file.path().to_path_buf(), source }),
    }
}

/// Opens a file for reading, telling a missing one from an unreadable one.
pub(super) fn open(path: &Path) -> Result<File, super::DataError> {
    use super::DataError;
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => DataError::NotFound { path: path.to_path_buf() },
        _ => DataError::Read { path: path.to_path_buf(), source },
    })?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        let source = io::ErrorKind::IsADirectory.into();
        return Err(DataError::Read { path: path.to_path_buf(), source });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_whole_files_and_leaves_nothing_on_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_aside(&path, |w| w.write_all(b"one")).unwrap();
        write_aside(&path, |w| w.write_all(b"two")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let failed = write_aside(&path, |w| {
            w.write_all(b"partial")?;
            Err(io::Error::other("disk on fire"))
        });
        assert!(failed.unwrap_err().to_string().ends_with("a.bin: disk on fire"));
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(entries(folder.path()), ["a.bin"]);
    }

    #[test]
    fn names_the_folder_that_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("a.bin");
        let text = write_aside(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(text.contains("none: entity not found") && !text.contains('\n'), "{text}");
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let inside = write_aside(folder.path().join("file").join("a.bin"), |_| Ok(()));
        assert!(matches!(inside, Err(WriteError::Folder { .. })));
        assert!(matches!(write_aside("..", |_| Ok(())), Err(WriteError::File { .. })));
    }

    #[test]
    fn a_folder_of_the_targets_name_is_an_error_without_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), b"").unwrap();
        assert!(matches!(write_aside(&path, |_| Ok(())), Err(WriteError::File { .. })));
        assert_eq!(entries(folder.path()), ["taken"]);
    }

    #[cfg(unix)]
    #[test]
    fn finished_files_are_not_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (aside, plain) = (folder.path().join("a"), folder.path().join("b"));
        write_aside(&aside, |_| Ok(())).unwrap();
        std::fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&aside), mode(&plain));
    }
}
