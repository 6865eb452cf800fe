//! What a command reads and what it writes, compared before anything is written: one file under two names (`./`, a symbolic or a
//! hard link, another case) is still one file, and whoever writes it destroys what is read.

use super::errors::Usage;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The files of one command.
#[derive(Default)]
pub struct Files {
    read: Vec<Named>,
    written: Vec<Named>,
    /// Folders that a command fills with files of its own names.
    filled: Vec<Named>,
}

/// A path, the option that gave it, and where it leads.
struct Named {
    option: String,
    given: PathBuf,
    place: Place,
}

impl Files {
    /// Adds a file, or a folder with all that is in it (a data set), that is read.
    pub fn reads(mut self, option: &str, path: &Path) -> Files {
        self.read.push(Named::new(option, path));
        self
    }

    /// Adds a file that is written, or a folder that is made.
    pub fn writes(mut self, option: &str, path: &Path) -> Files {
        self.written.push(Named::new(option, path));
        self
    }

    /// Adds a folder into which files are written.
    pub fn fills(mut self, option: &str, path: &Path) -> Files {
        self.filled.push(Named::new(option, path));
        self
    }

    /// # Errors
    /// [`Usage`] if what is written is also read, or written twice.
    pub fn check(&self) -> anyhow::Result<()> {
        let refuse = |text: String| Err(Usage(text).into());
        for out in &self.written {
            for input in &self.read {
                if out.place.is(&input.place) {
                    return refuse(format!("{out} is the file that {input} reads; needed another name"));
                }
                if out.place.is_inside(&input.place) || input.place.is_folder() && input.holds(&out.place) {
                    return refuse(format!(
                        "{out} is inside the folder that {input} reads; needed a place outside it"
                    ));
                }
                if input.place.is_inside(&out.place) {
                    return refuse(format!("{out} holds the file that {input} reads; needed another name"));
                }
            }
        }
        for folder in &self.filled {
            for input in &self.read {
                let same = folder.place.is(&input.place);
                if same || input.place.is_inside(&folder.place) || folder.place.is_inside(&input.place) {
                    let how =
                        if same || folder.place.is_inside(&input.place) { "is inside" } else { "holds" };
                    return refuse(format!("{folder} {how} what {input} reads; needed another folder"));
                }
            }
        }
        for (n, out) in self.written.iter().enumerate() {
            if let Some(other) = self.written[..n].iter().find(|other| out.place.may_become(&other.place)) {
                return refuse(format!("{other} and {out} are one file; needed a name for each"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.option, self.given.display())
    }
}

impl Named {
    fn new(option: &str, path: &Path) -> Named {
        Named { option: option.into(), given: path.into(), place: Place::of(path) }
    }

    /// Whether a file of this folder is `file` under another name, as a hard or symbolic link makes it.
    fn holds(&self, file: &Place) -> bool {
        fn any(folder: &Path, file: &Place, depth: usize) -> bool {
            let Ok(entries) = std::fs::read_dir(folder) else { return false };
            entries.flatten().any(|entry| {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => depth > 0 && any(&path, file, depth - 1),
                    _ => Place::of(&path).is(file),
                }
            })
        }
        file.identity.is_some() && any(&self.place.path, file, 8)
    }
}

/// Where a path leads: links followed as far as the file exists, and the file's own number where the system has one.
struct Place {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Place {
    fn of(path: &Path) -> Place {
        let path = resolve(path, 40);
        let identity = identity(&path);
        Place { path, identity }
    }

    fn is(&self, other: &Place) -> bool {
        self.path == other.path || self.identity.is_some() && self.identity == other.identity
    }

    /// As [`is`](Place::is), or, of files that are not there yet, once a file system that ignores case has made them.
    fn may_become(&self, other: &Place) -> bool {
        let lower = |path: &Path| path.to_string_lossy().to_lowercase();
        let new = !(self.path.exists() && other.path.exists());
        self.is(other) || new && lower(&self.path) == lower(&other.path)
    }

    fn is_folder(&self) -> bool {
        self.path.is_dir()
    }

    fn is_inside(&self, folder: &Place) -> bool {
        self.path != folder.path && self.path.starts_with(&folder.path) && !folder.path.is_file()
    }
}

/// The path without links and dots. What does not exist yet keeps its name in the folder that does.
fn resolve(path: &Path, links: usize) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path };
    let parent = resolve(parent, links);
    let path = parent.join(name);
    // A link to a file that does not exist yet leads to that file.
    match std::fs::read_link(&path) {
        Ok(to) if links > 0 => resolve(&parent.join(to), links - 1),
        _ => path,
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Elsewhere the canonical path has to do: it has the case that the disk has.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<(u64, u64)> {
    None
}

/// The files of a folder that end so: what a command that is given the folder reads of it.
pub fn ending_in(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|p| p.extension().and_then(OsStr::to_str).is_some_and(|e| endings.contains(&e))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(files: Files) -> String {
        files.check().expect_err("one file twice").to_string()
    }

    #[test]
    fn one_file_under_two_names_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("e.npz"), b"x").unwrap();
        std::fs::create_dir(at("sub")).unwrap();
        let mut names = vec![at("e.npz"), at("./e.npz"), at("sub/../e.npz"), at("sub/../sub/.././e.npz")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("e.npz"), at("link")).unwrap();
            std::os::unix::fs::symlink("../link", at("sub/second")).unwrap();
            std::os::unix::fs::symlink(at("sub"), at("folder")).unwrap();
            std::fs::hard_link(at("e.npz"), at("hard")).unwrap();
            names.extend([at("link"), at("sub/second"), at("folder/second"), at("hard")]);
        }
        for name in &names {
            let text = refused(Files::default().reads("--data", &at("e.npz")).writes("--out", name));
            assert!(text.contains("--out") && text.contains("--data") && text.contains("e.npz"), "{text}");
        }
        let fine = Files::default().reads("--data", &at("e.npz")).writes("--out", &at("p"));
        fine.writes("--metrics", &at("m")).check().unwrap();
    }

    #[test]
    fn outputs_that_are_not_there_yet_are_compared_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut names = vec![at("a"), at("./a"), at("A")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a", at("dangling")).unwrap();
            names.push(at("dangling"));
        }
        for name in &names {
            refused(Files::default().writes("--out", &at("a")).writes("--log-prob", name));
        }
        Files::default().writes("--out", &at("a")).writes("--log-prob", &at("b")).check().unwrap();
    }

    #[test]
    fn folders_guard_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("set/meta")).unwrap();
        std::fs::write(at("set/meta/info.json"), b"{}").unwrap();
        let out = |name: &str| Files::default().reads("--data", &at("set")).writes("--out", &at(name));
        for name in ["set", "set/p.safetensors", "set/meta/info.json", "set/new/p", "./set/meta/../p"] {
            refused(out(name));
        }
        out("set.safetensors").check().unwrap();
        #[cfg(unix)]
        {
            std::fs::hard_link(at("set/meta/info.json"), at("hard")).unwrap();
            refused(out("hard"));
        }
        let into = |name: &str| {
            Files::default().reads("--task", &at("set/meta/info.json")).fills("--out", &at(name))
        };
        refused(into("set"));
        refused(into("set/meta"));
        into("other").check().unwrap();
    }
}
