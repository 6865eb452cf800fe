//! The cache folder: what is worth keeping from one start to the next, a file for each adapter and purpose. A file holds for
//! one driver and one set of shaders, which it names; what it says of others counts for nothing.

use super::AdapterReport;
use crate::data::{WriteError, write_aside};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

#[path = "../../build/fnv.rs"]
mod fnv;

/// The variable that names the folder.
pub const VARIABLE: &str = "ADVECT_CACHE_DIR";
/// The hash of all shaders of this build.
const SHADERS: &str = env!("ADVECT_SHADERS");

/// The folder that `ADVECT_CACHE_DIR` names, else the user's cache folder of this platform. None if the variable is empty or `off`,
/// or if the platform has none.
pub fn folder() -> Option<PathBuf> {
    folder_by(&|name| std::env::var_os(name))
}

fn folder_by(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(asked) = variable(VARIABLE) {
        return (!asked.is_empty() && asked != "off").then(|| asked.into());
    }
    // A relative path would mean another folder after every `cd`.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
    };
    Some(base?.join("advect"))
}

/// The file of an adapter for a purpose: readable, and different for adapters and drivers of different names.
pub(super) fn file(folder: &Path, purpose: &str, report: &AdapterReport, extension: &str) -> PathBuf {
    let identity = [report.name.as_str(), report.backend, &report.driver].join("\n");
    let mut name: String = report
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    name.truncate(40);
    let hash = hash(identity.as_bytes()) as u32;
    folder.join(format!("{purpose}-{}-{hash:08x}.{extension}", name.trim_matches('-')))
}

/// What a file holds for besides its adapter: the driver's version and the shaders of this build.
pub(super) fn stamp(report: &AdapterReport) -> String {
    format!("driver {} {}, shaders {SHADERS}", report.driver, report.driver_info)
}

/// FNV-1a: against damage, not against malice.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    fnv::fnv1a(fnv::FNV_START, bytes)
}

/// Makes the folder of a file if it is missing.
pub(super) fn make(folder: &Path, path: &Path) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(|source| WriteError::Folder {
        path: path.to_owned(),
        folder: folder.to_owned(),
        source,
    })
}

/// Writes a whole file or none, and the folder if it is missing.
pub(super) fn write(path: &Path, parts: &[&[u8]]) -> Result<(), WriteError> {
    if let Some(folder) = path.parent() {
        make(folder, path)?;
    }
    write_aside(path, |file| parts.iter().try_for_each(|part| file.write_all(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_first() {
        let with = |set: &[(&str, &str)]| {
            folder_by(&|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
        };
        let home = if cfg!(windows) { ("LOCALAPPDATA", "C:\\Users\\a") } else { ("HOME", "/home/a") };
        assert_eq!(with(&[(VARIABLE, "here"), home]), Some("here".into()));
        assert_eq!(with(&[(VARIABLE, ""), home]), None);
        assert_eq!(with(&[(VARIABLE, "off"), home]), None);
        assert!(with(&[home]).is_some_and(|f| f.is_absolute() && f.ends_with("advect")));
        assert_eq!(with(&[]), None);
        if cfg!(all(unix, not(target_os = "macos"))) {
            assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/c")]), Some("/c/advect".into()));
            assert_eq!(with(&[home, ("XDG_CACHE_HOME", "relative")]), Some("/home/a/.cache/advect".into()));
        }
    }

    #[test]
    fn hashes_are_those_of_the_reference() {
        // Test vectors of the FNV authors.
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
