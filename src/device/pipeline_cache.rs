//! Compiled pipelines on disk, where the driver gives them out (Vulkan): a second start compiles only what the first did not.
//!
//! The file is one line (format, driver, shaders, length and hash of the rest) and then what the driver gave. Nothing here
//! fails a program: a file that cannot be read, or is damaged, or belongs to another driver or build, is told and replaced.

use super::counters::add;
use super::{AdapterReport, Gpu, cache};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

/// The first words of a file.
const FORMAT: &str = "advect pipelines 1";
/// Bytes that a compiled kernel adds at least. SwiftShader keeps none, and yet gives out a header more than it was given.
const LEAST: usize = 64;

/// The driver's cache of one device, and its file.
#[derive(Debug)]
pub(super) struct PipelineCache {
    raw: wgpu::PipelineCache,
    path: PathBuf,
    stamp: String,
    kept: Mutex<Kept>,
}

/// What the file has.
#[derive(Debug, Default)]
struct Kept {
    /// Bytes from the driver.
    bytes: usize,
    /// Pipelines that this device had created by then.
    pipelines: u64,
}

impl Gpu {
    /// Takes the cache in `folder` into use, if the device has one.
    pub(super) fn open_pipeline_cache(&self, folder: &Path) {
        if !self.inner.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return;
        }
        let (path, stamp) = place(folder, self.report());
        let data = read(&path, &stamp).unwrap_or_else(|reason| {
            tracing::warn!("the compiled kernels in {} are not used: {reason}", path.display());
            None
        });
        let opened = self.scoped("pipeline cache", |device| {
            let desc = wgpu::PipelineCacheDescriptor {
                label: Some("advect"),
                data: data.as_deref(),
                fallback: true,
            };
            // SAFETY: the data must come from `get_data` on such a device. Only `PipelineCache::keep` writes these files; a hash
            // in front of the data finds what a disk or another program did to them, and wgpu and the driver compare
            // their own headers. The folder is the user's own: who can write there on purpose can also replace the program.
            unsafe { device.create_pipeline_cache(&desc) }
        });
        match opened {
            Ok(raw) => {
                // A driver that did not want the data starts from nothing, and so does the file.
                let taken = || raw.get_data().map_or(0, |now| now.len());
                let kept = Kept { bytes: data.map_or(0, |d| d.len().min(taken())), pipelines: 0 };
                add(&self.inner.counters.pipeline_bytes_loaded, kept.bytes as u64);
                // A device is opened once, so nothing is there yet.
                let _ = self.inner.pipelines.cache.set(PipelineCache { raw, path, stamp, kept: kept.into() });
            }
            Err(error) => tracing::warn!("no pipeline cache: {error}"),
        }
    }

    /// Writes what was compiled since the last call into the cache folder. Sessions call it once their kernels are there, so
    /// that a process that is killed leaves them to the next.
    pub fn keep_pipelines(&self) {
        if let Some(cache) = self.inner.pipelines.cache.get() {
            cache.keep(self.inner.counters.pipelines_created.load(Relaxed));
        }
    }
}

impl PipelineCache {
    pub(super) fn raw(&self) -> &wgpu::PipelineCache {
        &self.raw
    }

    /// Writes the file if the driver has more than it, `created` pipelines after the start.
    fn keep(&self, created: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.pipelines == created {
            return;
        }
        kept.pipelines = created;
        let Some(data) = self.raw.get_data() else { return };
        // A driver only adds; about the same length means that it had everything from the file (or that it never adds: llvmpipe).
        if data.len() < kept.bytes + if kept.bytes > 0 { LEAST } else { 1 } {
            return;
        }
        let head = header(&self.stamp, &data);
        match cache::write(&self.path, &[head.as_bytes(), &data]) {
            Ok(()) => {
                tracing::debug!("kept {} bytes of compiled kernels in {}", data.len(), self.path.display());
                kept.bytes = data.len();
            }
            Err(error) => tracing::warn!("compiled kernels are not kept: {error}"),
        }
    }
}

/// The file, and what it must hold for.
fn place(folder: &Path, report: &AdapterReport) -> (PathBuf, String) {
    let stamp = format!("advect {}, {}", env!("CARGO_PKG_VERSION"), cache::stamp(report));
    (cache::file(folder, "pipelines", report, "bin"), stamp.replace('\n', " "))
}

fn header(stamp: &str, data: &[u8]) -> String {
    format!("{FORMAT}; {stamp}; {} bytes {:016x}\n", data.len(), cache::hash(data))
}

/// The driver's part of a file; none if there is no file, or if it is of another driver or build. What is wrong with it, if it
/// is damaged.
fn read(path: &Path, stamp: &str) -> Result<Option<Vec<u8>>, String> {
    let mut file = match std::fs::read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let end = file.iter().position(|b| *b == b'\n').ok_or("the first line is missing")?;
    let data = file.split_off(end + 1);
    let ours = format!("{FORMAT}; {stamp}; ");
    if !file.starts_with(ours.as_bytes()) {
        return match file.starts_with(FORMAT.as_bytes()) {
            true => Ok(None),
            false => Err(format!("found another format, needed '{FORMAT}'")),
        };
    }
    match file == header(stamp, &data).as_bytes() {
        true => Ok(Some(data)),
        false => Err("length or hash differ from what the first line says".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("pipelines.bin");
        assert_eq!(read(&path, "a"), Ok(None), "no file");
        let data = b"bytes\nof a driver";
        cache::write(&path, &[header("a", data).as_bytes(), data]).unwrap();
        assert_eq!(read(&path, "a"), Ok(Some(data.to_vec())));
        assert_eq!(read(&path, "b"), Ok(None), "another driver");
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(read(&path, "a").is_err(), "cut to {cut} bytes");
        }
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(!matches!(read(&path, "a"), Ok(Some(_))), "byte {at} differs");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read(&path, "a").is_err(), "a folder");
    }
}
