//! metrics.jsonl: one line each few steps.

use super::{Result, TrainError};
use crate::data::inspect::Warning;
use crate::data::{Aside, write_aside};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// Steps completed.
    pub step: u64,
    /// Mean training loss since the line before.
    pub loss: f64,
    /// Loss of the moving average on held-out windows, where it was computed.
    pub val_loss: Option<f64>,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Gradient norm of the last step, before clipping.
    pub grad_norm: f64,
    /// Steps per second since the line before, validations and checkpoints not counted.
    pub steps_per_s: f64,
}

/// A line that says what in the data may ruin the policy; it stands before the run's first line of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarningLine {
    /// Steps completed when it was said.
    pub step: u64,
    /// Its kind, as `advect data inspect --json` has it.
    pub warning: String,
    /// The warning.
    pub text: String,
}

/// Appends whole lines to a file.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    /// Opened at the first line, so that a run that comes to nothing leaves the file of an earlier run alone.
    file: Option<File>,
    /// Whole lines that wait for [`MetricsWriter::publish`]; `None`: lines are written as they come.
    held: Option<String>,
    /// Lines that go before the next one of numbers.
    noted: String,
}

impl MetricsWriter {
    /// A writer for `path`, whose folder must take files. `resume_at`: the lines up to this step (of a stopped run) stay
    /// and the rest goes; `None`: the first line starts the file anew.
    pub fn open(path: &Path, resume_at: Option<u64>) -> Result<MetricsWriter> {
        let fail = |e: std::io::Error| TrainError::Metrics { path: path.into(), reason: e.to_string() };
        if path.is_dir() {
            return Err(fail(std::io::ErrorKind::IsADirectory.into()));
        }
        drop(Aside::create(path)?);
        let mut writer = MetricsWriter { path: path.into(), file: None, held: None, noted: String::new() };
        if let Some(step) = resume_at {
            let kept = lines_until(path, step).map_err(fail)?;
            write_aside(path, |file| kept.iter().try_for_each(|line| writeln!(file, "{line}")))?;
            writer.file = Some(OpenOptions::new().append(true).open(path).map_err(fail)?);
        }
        Ok(writer)
    }

    /// From here on lines wait, and the file of an earlier run stays as it is, until [`MetricsWriter::publish`].
    pub(super) fn hold(&mut self) {
        self.held = Some(String::new());
    }

    /// Removes the file of an earlier run, if lines wait to take its place.
    pub(super) fn forget(&self) -> Result<()> {
        if self.held.is_none() {
            return Ok(());
        }
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(TrainError::Metrics { path: self.path.clone(), reason: e.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Writes the lines that waited.
    pub(super) fn publish(&mut self) -> Result<()> {
        match self.held.take() {
            Some(text) => self.append(&text),
            None => Ok(()),
        }
    }

    /// Has warnings about the data written before the next line of numbers. Those that the file of a resumed run has are not repeated.
    ///
    /// # Errors
    /// [`TrainError::Metrics`] if that file cannot be read.
    pub fn note(&mut self, step: u64, warnings: &[Warning]) -> Result<()> {
        let fail = |reason: String| TrainError::Metrics { path: self.path.clone(), reason };
        let there = match self.file {
            Some(_) => lines_until(&self.path, u64::MAX).map_err(|e| fail(e.to_string()))?,
            None => Vec::new(),
        };
        let said: Vec<WarningLine> = there.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
        for warning in warnings.iter().filter(|w| !said.iter().any(|line| line.text == w.text)) {
            let line = WarningLine { step, warning: warning.kind.into(), text: warning.text.clone() };
            self.noted += &(serde_json::to_string(&line).map_err(|e| fail(e.to_string()))? + "\n");
        }
        Ok(())
    }

    /// Appends a line.
    pub fn write(&mut self, line: &MetricsLine) -> Result<()> {
        let fail = |reason: String| TrainError::Metrics { path: self.path.clone(), reason };
        let text = serde_json::to_string(line).map_err(|e| fail(e.to_string()))? + "\n";
        let text = std::mem::take(&mut self.noted) + &text;
        match &mut self.held {
            Some(held) => {
                held.push_str(&text);
                Ok(())
            }
            None => self.append(&text),
        }
    }

    fn append(&mut self, text: &str) -> Result<()> {
        let fail = |e: std::io::Error| TrainError::Metrics { path: self.path.clone(), reason: e.to_string() };
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::create(&self.path).map_err(fail)?,
        };
        let before = file.metadata().map_err(fail)?.len();
        // One write call: a reader never sees half a line. A disk that is full takes half of it, which must not stay.
        if let Err(e) = file.write_all(text.as_bytes()) {
            let _ = file.set_len(before);
            return Err(fail(e));
        }
        self.file = Some(file);
        Ok(())
    }
}

/// The whole lines of metrics.jsonl; none if there is no such file.
///
/// # Errors
/// [`TrainError::Metrics`] if it cannot be read.
pub fn read(path: &Path) -> Result<Vec<MetricsLine>> {
    let lines = lines_until(path, u64::MAX)
        .map_err(|e| TrainError::Metrics { path: path.into(), reason: e.to_string() })?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The step of a line of whatever kind.
#[derive(Deserialize)]
struct At {
    #[serde(default)]
    step: u64,
}

/// The whole lines of a file up to a step, of kinds that are not known here too; none if there is no such file.
fn lines_until(path: &Path, step: u64) -> std::io::Result<Vec<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut kept = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        match serde_json::from_str::<At>(&line) {
            Ok(at) if at.step <= step => kept.push(line),
            _ => break,
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> MetricsLine {
        MetricsLine { step, loss: 0.1, val_loss: None, lr: 1e-3, grad_norm: 0.5, steps_per_s: 9.0 }
    }

    fn steps(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|l| serde_json::from_str::<MetricsLine>(l).unwrap().step).collect()
    }

    #[test]
    fn a_resumed_file_drops_what_came_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::open(&path, None).unwrap();
        assert!(!path.exists(), "nothing is written before the first line");
        (1..=4).for_each(|n| writer.write(&line(10 * n)).unwrap());
        drop(MetricsWriter::open(&path, None).unwrap());
        assert_eq!(steps(&path), [10, 20, 30, 40], "a run that comes to nothing changes nothing");
        // The process was killed inside a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\":50,\"lo").unwrap();
        let mut writer = MetricsWriter::open(&path, Some(25)).unwrap();
        writer.write(&line(30)).unwrap();
        assert_eq!(steps(&path), [10, 20, 30]);
        MetricsWriter::open(&path, None).unwrap().write(&line(5)).unwrap();
        assert_eq!(steps(&path), [5]);
        let mut writer = MetricsWriter::open(&path, None).unwrap();
        writer.hold();
        (6..=8).for_each(|n| writer.write(&line(n)).unwrap());
        assert_eq!(steps(&path), [5], "the earlier run's until there is a checkpoint of this one");
        writer.forget().unwrap();
        assert!(!path.exists());
        writer.publish().unwrap();
        writer.write(&line(9)).unwrap();
        assert_eq!(steps(&path), [6, 7, 8, 9]);
        // Warnings come before the numbers, once, and readers pass over them and over lines of other kinds.
        let warning = Warning { kind: "wraps", fatal: false, text: "action 0: wraps".into() };
        let mut writer = MetricsWriter::open(&path, None).unwrap();
        writer.note(0, std::slice::from_ref(&warning)).unwrap();
        assert_eq!(steps(&path), [6, 7, 8, 9], "not before there is a line of numbers");
        writer.write(&line(1)).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"note\":\"x\"}\n").unwrap();
        let mut writer = MetricsWriter::open(&path, Some(1)).unwrap();
        writer.note(1, &[warning]).unwrap();
        writer.write(&line(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted = "{\"step\":0,\"warning\":\"wraps\",\"text\":\"action 0: wraps\"}\n{\"step\":1,";
        assert!(text.starts_with(wanted) && text.lines().count() == 4, "{text}");
        assert_eq!(read(&path).unwrap().iter().map(|l| l.step).collect::<Vec<_>>(), [1, 2]);
        assert!(MetricsWriter::open(folder.path(), None).unwrap_err().to_string().contains("directory"));
        assert!(MetricsWriter::open(&folder.path().join("no/m.jsonl"), None).is_err());
    }
}
