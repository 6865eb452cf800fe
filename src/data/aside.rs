//! Whole files or none: written beside the target and renamed over it once complete. A writer holds a lock on its temporary file, so
//! what a killed one left is known by having none, and goes when the same file is next written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use super::lock;

/// Characters that make a temporary name unique.
const UNIQUE: usize = 6;
/// What a temporary folder holds, locked, while it is filled.
const HELD: &str = "held";

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
    writer: BufWriter<Temporary>,
}

/// The temporary file. Its errors are the system's own: tempfile would add the temporary name, which is gone when they are read.
#[derive(Debug)]
struct Temporary(NamedTempFile);

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_file_mut().flush()
    }
}

impl io::Seek for Temporary {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.as_file_mut().seek(to)
    }
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
        let refuse = |kind: io::ErrorKind, text: &str| Err(io::Error::new(kind, text));
        let taken = match path.metadata() {
            // Renaming over a device (/dev/null) would take it away from every program.
            Ok(meta) if !meta.is_file() && !meta.is_dir() => {
                refuse(io::ErrorKind::InvalidInput, "it is a device or a pipe, needed a file")
            }
            _ => Ok(()),
        };
        if let Err(source) = taken {
            return Err(WriteError::File { path, source });
        }
        sweep(&path);
        let folder = folder_of(&path);
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".tmp").rand_bytes(UNIQUE);
        // A temporary file is private by default; the finished file shall have the mode of any other, by the umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        loop {
            match builder.tempfile_in(&folder) {
                // Else another process took it for an abandoned one before it was locked.
                Ok(file) if !lock::hold(file.as_file(), file.path()) => {}
                Ok(file) => return Ok(Self { path, writer: BufWriter::new(Temporary(file)) }),
                // The system's error without the temporary name that tempfile adds: the folder is what matters.
                Err(error) => return Err(WriteError::Folder { path, folder, source: error.kind().into() }),
            }
        }
    }

    /// The target's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has what was written on the disk, so that a full one is known before any file is replaced.
    ///
    /// # Errors
    /// [`WriteError::File`] if the disk refuses.
    pub fn settle(&mut self) -> Result<(), WriteError> {
        let settled = self.writer.flush().and_then(|()| self.writer.get_ref().0.as_file().sync_all());
        settled.map_err(|source| WriteError::File { path: self.path.clone(), source })
    }

    /// Puts the file in the target's place once its bytes are on the disk.
    ///
    /// # Errors
    /// [`WriteError::File`] if flushing or renaming fails.
    pub fn commit(mut self) -> Result<(), WriteError> {
        self.settle()?;
        let Self { path, writer } = self;
        let place = |path: &Path| -> io::Result<()> {
            let Temporary(file) = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.persist(path).map(drop).map_err(|error| error.error)?;
            sync_folder(&folder_of(path))
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

/// Fills a folder beside `path` and renames it to `path`, which must not exist.
///
/// # Errors
/// [`WriteError`] as of a file, or with the reason that `fill` gave. No partial folder stays.
pub(super) fn folder_aside(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), WriteError> {
    let fail = |source: io::Error| WriteError::File { path: path.into(), source };
    if path.exists() {
        return Err(fail(io::ErrorKind::AlreadyExists.into()));
    }
    let Some(name) = path.file_name() else {
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "the path names no folder")));
    };
    sweep(path);
    let folder = folder_of(path);
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp").rand_bytes(UNIQUE);
    let (aside, held): (TempDir, File) = loop {
        let aside = builder.tempdir_in(&folder).map_err(|e| WriteError::Folder {
            path: path.into(),
            folder: folder.clone(),
            source: e.kind().into(),
        })?;
        // Else another process took it for an abandoned one before it was locked.
        let held = aside.path().join(HELD);
        match File::create(&held) {
            Ok(file) if lock::hold(&file, &held) => break (aside, file),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(fail(e)),
        }
    };
    // A temporary folder is private; one made inside has the usual mode, and is what is renamed.
    let inner = aside.path().join("set");
    std::fs::create_dir(&inner).map_err(fail)?;
    // By the names that the files would have had: the temporary ones are gone when they are read.
    let lasting = |reason: String| reason.replace(&*inner.display().to_string(), &path.display().to_string());
    fill(&inner).map_err(|reason| fail(io::Error::other(lasting(reason))))?;
    sync_all(&inner).map_err(fail)?;
    std::fs::rename(&inner, path).map_err(fail)?;
    sync_folder(&folder).map_err(fail)?;
    drop(held);
    Ok(())
}

/// Removes what killed writers of `path` left beside it.
pub fn sweep(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let prefix = format!(".{}.", name.to_string_lossy());
    let Ok(entries) = std::fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let unique = name.to_str().and_then(|n| n.strip_prefix(&prefix)?.strip_suffix(".tmp"));
        let ours = |u: &str| u.len() == UNIQUE && u.bytes().all(|b| b.is_ascii_alphanumeric());
        if !unique.is_some_and(ours) {
            continue;
        }
        let path = entry.path();
        // What cannot be removed does no harm.
        match entry.file_type() {
            Ok(kind) if kind.is_file() => lock::if_abandoned(&path, || drop(std::fs::remove_file(&path))),
            Ok(kind) if kind.is_dir() && !path.join(HELD).exists() => drop(std::fs::remove_dir(&path)),
            Ok(kind) if kind.is_dir() => {
                lock::if_abandoned(&path.join(HELD), || drop(std::fs::remove_dir_all(&path)));
            }
            _ => {}
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Has the folder's list of names on the disk: only then does a renamed file survive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        // Elsewhere folders cannot be opened as files; their lists are journalled by the file system.
        return Ok(());
    }
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network and user-space file systems cannot.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Has a folder and all that is in it on the disk.
fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_all(&entry.path())?,
            false => std::fs::OpenOptions::new().write(true).open(entry.path())?.sync_all()?,
        }
    }
    sync_folder(folder)
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

    #[test]
    fn what_killed_writers_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Of killed writers: two files, a folder that was being filled, one that was just made.
        std::fs::write(at(".a.bin.AbC123.tmp"), b"half").unwrap();
        std::fs::write(at(".a.bin.zzzzzz.tmp"), b"").unwrap();
        std::fs::create_dir_all(at(".a.bin.folder.tmp/set/data")).unwrap();
        std::fs::write(at(".a.bin.folder.tmp/held"), b"").unwrap();
        std::fs::create_dir(at(".a.bin.empty1.tmp")).unwrap();
        // Not ours.
        let others =
            [".a.bin.backup-1.tmp", ".b.bin.AbC123.tmp", "a.bin.AbC123.tmp", ".a.bin.AbC123", ".a.bin..tmp"];
        others.iter().for_each(|name| std::fs::write(at(name), b"x").unwrap());
        let alive = Aside::create(at("a.bin")).unwrap();
        let mut second = Aside::create(at("a.bin")).unwrap();
        second.write_all(b"second").unwrap();
        second.commit().unwrap();
        assert_eq!(entries(folder.path()).len(), others.len() + 2, "{:?}", entries(folder.path()));
        alive.commit().unwrap();
        assert_eq!(entries(folder.path()).len(), others.len() + 1);
    }

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        let file = |at: &Path| std::fs::write(at.join("x"), b"x").map_err(|e| e.to_string());
        let failed = folder_aside(&path, |at| file(at).and(Err("disk on fire".into())));
        assert!(failed.unwrap_err().to_string().ends_with("set: disk on fire"));
        assert!(entries(folder.path()).is_empty());
        folder_aside(&path, |at| {
            file(at)?;
            sweep(&path);
            file(at)
        })
        .unwrap();
        assert_eq!((entries(folder.path()), entries(&path)), (vec!["set".into()], vec!["x".into()]));
        assert!(folder_aside(&path, file).is_err(), "it is there");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_replaced() {
        let text = Aside::create("/dev/null").unwrap_err().to_string();
        assert!(text.contains("/dev/null: it is a device"), "{text}");
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
