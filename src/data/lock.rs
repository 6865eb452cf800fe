//! Locks on files, held by the process for as long as it lives: who holds one cannot have been killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The right to write a file, which one process at a time has: a lock on `.NAME.lock` beside it. That file goes when the right is
/// given up; one that a killed process left is taken over. Where the file system knows no locks nobody is kept out.
#[derive(Debug)]
pub struct WriteLock {
    path: PathBuf,
    file: Option<File>,
}

impl WriteLock {
    /// Takes the right to write `path`; `None` if another process has it.
    ///
    /// # Errors
    /// The folder takes no file.
    pub fn take(path: &Path) -> io::Result<Option<WriteLock>> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let path = path.with_file_name(format!(".{name}.lock"));
        loop {
            let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
                Ok(file) => file,
                // Windows, while its holder removes it.
                Err(e) if cfg!(windows) && e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
                Err(e) => return Err(e),
            };
            match file.try_lock() {
                // Its holder may have removed it in between: then another process may hold the next one.
                Ok(()) if still_named(&file, &path) => return Ok(Some(WriteLock { path, file: Some(file) })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => return Ok(Some(WriteLock { path, file: None })),
            }
        }
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // While it is still held, so that nobody else holds a file that is about to go.
        let _ = std::fs::remove_file(&self.path);
        drop(self.file.take());
    }
}

/// Marks a file that was just made as being written. False: [`if_abandoned`] took it away in between.
pub(super) fn hold(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Ok(()) => still_named(file, path),
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => true,
    }
}

/// Does something if nobody holds the file.
pub(super) fn if_abandoned(path: &Path, then: impl FnOnce()) {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    if file.try_lock().is_ok() {
        then();
    }
}

/// Whether the open file is still the one of this name.
#[cfg(unix)]
fn still_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |meta: io::Result<std::fs::Metadata>| meta.ok().map(|m| (m.dev(), m.ino()));
    let own = number(file.metadata());
    own.is_some() && own == number(path.metadata())
}

/// Elsewhere an open file's name is not given to another before it is closed.
#[cfg(not(unix))]
fn still_named(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        // What a killed process left behind.
        std::fs::write(folder.path().join(".p.lock"), b"").unwrap();
        let first = WriteLock::take(&path).unwrap().expect("nobody has it");
        assert!(WriteLock::take(&path).unwrap().is_none());
        assert!(WriteLock::take(&folder.path().join("q")).unwrap().is_some());
        drop(first);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(WriteLock::take(&path).unwrap().is_some());
        assert!(WriteLock::take(&folder.path().join("none/p")).is_err());
    }

    #[test]
    fn two_that_race_for_it_never_both_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, holders) = (folder.path().join("p"), std::sync::atomic::AtomicUsize::new(0));
        use std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Some(lock) = WriteLock::take(&path).unwrap() {
                            assert_eq!(holders.fetch_add(1, SeqCst), 0);
                            assert_eq!(holders.fetch_sub(1, SeqCst), 1);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
