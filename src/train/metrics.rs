//! metrics.jsonl: one line each few steps.

use super::{Result, TrainError};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Steps per second since the line before.
    pub steps_per_s: f64,
}

/// Appends lines to a file, each flushed whole.
pub struct MetricsWriter {
    file: File,
    path: PathBuf,
}

impl MetricsWriter {
    /// Opens a file. `resume_at`: keep the lines up to this step (of a stopped run) and drop the rest; `None`: start anew.
    pub fn open(path: &Path, resume_at: Option<u64>) -> Result<MetricsWriter> {
        let fail = |e: std::io::Error| TrainError::Config { path: path.into(), reason: format!("cannot write metrics: {e}") };
        let mut kept = Vec::new();
        if let (Some(step), Ok(old)) = (resume_at, File::open(path)) {
            for line in BufReader::new(old).lines() {
                let line = line.map_err(fail)?;
                match serde_json::from_str::<MetricsLine>(&line) {
                    Ok(m) if m.step <= step => kept.push(line),
                    _ => break,
                }
            }
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(path).map_err(fail)?;
        for line in kept {
            writeln!(file, "{line}").map_err(fail)?;
        }
        Ok(MetricsWriter { file, path: path.into() })
    }

    /// Appends a line.
    pub fn write(&mut self, line: &MetricsLine) -> Result<()> {
        let fail = |reason: String| TrainError::Config { path: self.path.clone(), reason };
        let text = serde_json::to_string(line).map_err(|e| fail(e.to_string()))?;
        writeln!(self.file, "{text}").map_err(|e| fail(format!("cannot write metrics: {e}")))
    }
}
