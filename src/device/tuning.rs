//! Choices that were measured on a device: by question (a kernel and the bucket of its shape, in words that the kernels make), which
//! variant was fastest. A plan asks here before it guesses.
//!
//! The file is JSON, for people too: it says how long the guess and the fastest took. It holds for one driver and one set of shaders.

use super::{AdapterReport, cache};
use crate::data::{WriteError, WriteLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another process may take to add its choices to a file.
const PATIENCE: Duration = Duration::from_secs(30);

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

    /// Adds these choices to those that an adapter has, as far as they still hold; of two answers to a question the newer counts. Where.
    ///
    /// Only one process at a time does this: no answer of two that measure at once is lost.
    ///
    /// # Errors
    /// [`WriteError`] if the folder takes no file, or another process keeps this one from its turn.
    pub fn add_to(&self, folder: &Path, report: &AdapterReport) -> Result<PathBuf, WriteError> {
        let path = Tuning::path(folder, report);
        cache::make(folder, &path)?;
        let fail = |source: std::io::Error| WriteError::File { path: path.clone(), source };
        let begun = Instant::now();
        let _ours = loop {
            match WriteLock::take(&path).map_err(fail)? {
                Some(lock) => break lock,
                None if begun.elapsed() > PATIENCE => {
                    return Err(fail(std::io::Error::new(
                        std::io::ErrorKind::TimedOut,
                        "another process has been writing it for half a minute",
                    )));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        // What is damaged or outdated counts for nothing; opening the device has said so.
        let mut all = Tuning::load(folder, report).ok().flatten().unwrap_or_default();
        self.choices.iter().for_each(|(question, tuned)| all.insert(question.clone(), tuned.clone()));
        all.save(folder, report)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::AdapterKind;
    use crate::device::choice::tests::fake;

    fn answer(ms: f64) -> Tuned {
        Tuned { guess: "a".into(), guess_ms: 2.0, best: "b".into(), best_ms: ms }
    }

    fn one(question: &str, ms: f64) -> Tuning {
        let mut tuning = Tuning::default();
        tuning.insert(question.into(), answer(ms));
        tuning
    }

    #[test]
    fn processes_that_tune_at_once_lose_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        // It is made if it is missing.
        let cache = folder.path().join("cache");
        let report = fake(0, "GPU", AdapterKind::Discrete, "vulkan");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, report) = (&cache, &report);
                scope.spawn(move || {
                    for n in 0..5 {
                        one(&format!("{thread} {n}"), 1.0).add_to(cache, report).unwrap();
                    }
                });
            }
        });
        assert_eq!(Tuning::load(&cache, &report).unwrap().unwrap().measured(), 20);
        one("0 0", 0.5).add_to(&cache, &report).unwrap();
        let all = Tuning::load(&cache, &report).unwrap().unwrap();
        let newer = all.iter().find(|(question, _)| *question == "0 0").unwrap().1;
        assert_eq!((all.measured(), newer), (20, &answer(0.5)));
        // What is damaged counts for nothing, and nothing but the file stays.
        std::fs::write(Tuning::path(&cache, &report), "{").unwrap();
        let path = one("0 0", 1.0).add_to(&cache, &report).unwrap();
        assert_eq!(Tuning::load(&cache, &report).unwrap().unwrap().measured(), 1);
        let names: Vec<_> = cache.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, [path]);
    }
}
