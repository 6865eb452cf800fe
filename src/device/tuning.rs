//! Choices that were measured on a device: by question (a kernel and the bucket of its shape, in words that the kernels make), which
//! variant was fastest. A plan asks here before it guesses.
//!
//! The file is JSON, for people too: it says how long the guess and the fastest took. It holds for one driver and one set of shaders.

use super::{AdapterReport, cache};
use crate::data::WriteError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a file begins with.
const FORMAT: &str = "advect tuning 1";

/// One measured choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// The guess without a measurement.
    pub guess: String,
    /// Its time, milliseconds.
    pub guess_ms: f64,
    /// What is taken: the fastest, or the guess where nothing was clearly faster.
    pub best: String,
    /// Its time, milliseconds.
    pub best_ms: f64,
}

/// Why a file of tuned choices does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuningError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no such file, or is damaged.
    #[error("{} is no file of tuned choices: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was measured with another driver or other shaders.
    #[error("{} holds for {found}, needed {needed}: run `advect tune` again", path.display())]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What it holds for.
        found: String,
        /// What this machine and build have.
        needed: String,
    },
}

/// Tuned choices by question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    choices: BTreeMap<String, Tuned>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    device: String,
    holds_for: String,
    choices: BTreeMap<String, Tuned>,
}

impl Tuning {
    /// What was measured to be faster than the guess. None also where the guess won: it may differ within a bucket.
    pub fn choice(&self, question: &str) -> Option<&str> {
        self.choices.get(question).filter(|t| t.best != t.guess).map(|t| t.best.as_str())
    }

    /// Adds a measurement; a newer one replaces an older one.
    pub fn insert(&mut self, question: String, tuned: Tuned) {
        self.choices.insert(question, tuned);
    }

    /// All measurements, by question.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tuned)> {
        self.choices.iter().map(|(question, tuned)| (question.as_str(), tuned))
    }

    /// Questions measured.
    pub fn measured(&self) -> usize {
        self.choices.len()
    }

    /// Questions of which the answer is not the guess.
    pub fn changed(&self) -> usize {
        self.choices.values().filter(|t| t.best != t.guess).count()
    }

    /// Where an adapter's choices are kept.
    pub fn path(folder: &Path, report: &AdapterReport) -> PathBuf {
        cache::file(folder, "tuning", report, "json")
    }

    /// Reads an adapter's choices; none if there is no file.
    ///
    /// # Errors
    /// [`TuningError`] if there is one that does not count.
    pub fn load(folder: &Path, report: &AdapterReport) -> Result<Option<Tuning>, TuningError> {
        let path = Tuning::path(folder, report);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TuningError::Read { path, source }),
        };
        let document: Document = match serde_json::from_slice(&text) {
            Ok(document) => document,
            Err(error) => return Err(TuningError::Damaged { path, reason: error.to_string() }),
        };
        if document.format != FORMAT {
            let reason = format!("found format {:?}, needed {FORMAT:?}", document.format);
            return Err(TuningError::Damaged { path, reason });
        }
        let needed = cache::stamp(report);
        match document.holds_for == needed {
            true => Ok(Some(Tuning { choices: document.choices })),
            false => Err(TuningError::Outdated { path, found: document.holds_for, needed }),
        }
    }

    /// Writes an adapter's choices in the place of those that it had: a whole file or none. Where.
    ///
    /// # Errors
    /// [`WriteError`] if the folder takes no file.
    pub fn save(&self, folder: &Path, report: &AdapterReport) -> Result<PathBuf, WriteError> {
        let path = Tuning::path(folder, report);
        let document = Document {
            format: FORMAT.into(),
            device: report.describe(),
            holds_for: cache::stamp(report),
            choices: self.choices.clone(),
        };
        let text = serde_json::to_vec_pretty(&document)
            .map_err(|error| WriteError::File { path: path.clone(), source: error.into() })?;
        cache::write(&path, &[&text, b"\n"])?;
        Ok(path)
    }
}
