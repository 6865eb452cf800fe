//! The data sets of a run: opened, their episodes chosen, judged together, and then made into one.

use std::path::{Path, PathBuf};

use super::choice::listed;
use super::episodes::Episodes;
use super::error::DataError;
use super::source::{Loaded, Source};
use super::spec::DataSpec;
use super::windows::WindowSpec;

/// One of them.
#[derive(Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    pub source: Source,
    /// The number that every episode has in the data set itself.
    pub numbers: Vec<usize>,
}

/// Data sets, with the episodes that [`DataSpec`] chooses; what they hold is not yet known to serve.
#[derive(Debug)]
pub struct DataSets {
    pub(super) parts: Vec<Part>,
    spec: DataSpec,
    /// What was left out on the way.
    notes: Vec<String>,
}

impl DataSets {
    /// Reads them and chooses the episodes that `spec` names: by number, by least length, by success.
    ///
    /// # Errors
    /// [`DataError::In`] if one cannot be read; [`DataError`] if an episode that is named does not exist, only successful ones are
    /// wanted and a data set does not say which they are, or no episode is left.
    pub fn open<P: AsRef<Path>>(paths: &[P], spec: &DataSpec) -> Result<DataSets, DataError> {
        let mut sources = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let within = |source| DataError::In { path: path.into(), source: Box::new(source) };
            sources.push((path.into(), Source::open(path, spec).map_err(within)?));
        }
        DataSets::of(sources, spec)
    }

    /// As [`DataSets::open`], of sources that were read already.
    pub(super) fn of(sources: Vec<(PathBuf, Source)>, spec: &DataSpec) -> Result<DataSets, DataError> {
        if let Some(0) = spec.min_episode {
            let (what, found) = ("data.min_episode".into(), "0".into());
            return Err(DataError::Value { what, found, needed: "at least 1 step" });
        }
        let mut parts = Vec::new();
        for (path, source) in sources {
            if spec.successful_only && source.arrays.success.is_none() {
                let array = source.labels[3].clone();
                let source = Box::new(DataError::NoSuccessArray { array });
                return Err(DataError::In { path, source });
            }
            let numbers = (0..source.arrays.lengths.len()).collect();
            parts.push(Part { path, source, numbers });
        }
        let mut sets = DataSets { parts, spec: spec.clone(), notes: Vec::new() };
        sets.choose()?;
        Ok(sets)
    }

    /// What a lone source holds, with errors that do not name it.
    pub(super) fn alone(path: &Path, source: Source, spec: &DataSpec) -> Result<Loaded, DataError> {
        let loaded = DataSets::of(vec![(path.into(), source)], spec).and_then(|sets| sets.load(None));
        loaded.map_err(|error| match error {
            DataError::In { source, .. } => *source,
            error => error,
        })
    }

    fn choose(&mut self) -> Result<(), DataError> {
        let count = self.parts.iter().map(|part| part.numbers.len()).sum();
        if let Some(choice) = &self.spec.episodes {
            let chosen = choice.of(count)?;
            let mut start = 0;
            for part in &mut self.parts {
                let end = start + part.numbers.len();
                let of = |n: usize| chosen.binary_search(&(start + n)).is_ok();
                part.retain(|_, n| of(n));
                start = end;
            }
            self.notes.push(format!("{} of {count} episodes chosen (data.episodes)", chosen.len()));
        }
        if self.spec.successful_only {
            let before = self.count();
            for part in &mut self.parts {
                part.retain(|source, n| {
                    source.arrays.success.as_ref().and_then(|flags| flags.get(n)).copied().unwrap_or(true)
                });
            }
            if self.count() == 0 && before > 0 {
                return Err(DataError::NoSuccessfulEpisode { episodes: before });
            }
        }
        if let Some(least) = self.spec.min_episode {
            self.leave_short(least, &format!("fewer than {least} steps (data.min_episode)"))?;
        }
        Ok(())
    }

    /// Leaves out episodes of fewer steps, with a note that names them and says why.
    fn leave_short(&mut self, least: usize, why: &str) -> Result<(), DataError> {
        let (count, several) = (self.count(), self.parts.len() > 1);
        let mut short = Vec::new();
        for part in self.parts.iter().filter(|part| part.source.is_whole()) {
            let lengths = part.source.arrays.lengths.iter().zip(&part.numbers);
            let of_set = if several { format!(" of {}", part.path.display()) } else { String::new() };
            short.extend(
                lengths
                    .filter(|(length, _)| **length < least)
                    .map(|(length, n)| format!("episode {n}{of_set} ({length})")),
            );
        }
        if short.is_empty() {
            return Ok(());
        }
        if short.len() == count {
            let longest = self.parts.iter().flat_map(|p| p.source.arrays.lengths.iter().copied()).max();
            return Err(DataError::AllShort {
                episodes: count,
                longest: longest.unwrap_or(0),
                needed: least,
            });
        }
        for part in &mut self.parts {
            part.retain(|source, n| source.arrays.lengths[n] >= least);
        }
        self.notes.push(format!("left out {} of {count} episodes, {why}: {}", short.len(), listed(&short)));
        Ok(())
    }

    /// Episodes of all data sets.
    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| part.numbers.len()).sum()
    }

    /// The demonstrations as one, in the order of the data sets, once they are known to serve. Episodes too short for one of `windows`
    /// are left out ([`Loaded::short`]). Where there are several data sets, notes and errors name them.
    ///
    /// # Errors
    /// [`DataError::In`] as [`Source::episodes`], [`DataError::AllShort`], or as [`Episodes::join`].
    pub fn load(mut self, windows: Option<&WindowSpec>) -> Result<Loaded, DataError> {
        let mut short = None;
        if let Some(windows) = windows {
            let (least, before) = (windows.least_steps(), self.notes.len());
            self.leave_short(least, &format!("shorter than the {least} steps of a window"))?;
            short = self.notes.drain(before..).next();
        } else {
            self.leave_short(1, "without a step")?;
        }
        let several = self.parts.len() > 1;
        let (mut notes, mut loaded) = (Vec::new(), Vec::new());
        for part in self.parts {
            let name = part.path.display().to_string();
            let lines = part.source.lines().into_iter();
            notes.extend(lines.map(|line| if several { format!("{name}: {line}") } else { line }));
            if part.numbers.is_empty() && part.source.is_whole() && several {
                notes.push(format!("{name}: no episode of it is left"));
                continue;
            }
            let episodes = part.source.episodes(&DataSpec { successful_only: false, ..self.spec.clone() });
            let within = |source| DataError::In { path: part.path, source: Box::new(source) };
            loaded.push((name, episodes.map_err(within)?));
        }
        notes.extend(self.notes);
        Ok(Loaded { episodes: Episodes::join(loaded)?, notes, short })
    }

    /// What was left out so far, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Part {
    /// Keeps the episodes of which `keep` says so, by their places in the source. A source whose counts contradict each other stays
    /// as it is: what is wrong with it is said later.
    fn retain(&mut self, keep: impl Fn(&Source, usize) -> bool) {
        if !self.source.is_whole() {
            return;
        }
        let kept: Vec<usize> = (0..self.numbers.len()).filter(|&n| keep(&self.source, n)).collect();
        if kept.len() < self.numbers.len() {
            self.source.keep(&kept, &self.numbers);
            self.numbers = kept.iter().map(|&n| self.numbers[n]).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::episodes::tests::sample;
    use super::super::save::write_npz;
    use super::*;

    /// Two archives of episodes of 3, 1 and 4 steps, of which the first and the last succeeded.
    fn two() -> (tempfile::TempDir, [PathBuf; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.npz", "b.npz"].map(|name| folder.path().join(name));
        for path in &paths {
            write_npz(path, &Episodes::from_arrays(sample()).unwrap()).unwrap();
        }
        (folder, paths)
    }

    fn spec(text: &str) -> DataSpec {
        toml::from_str(text).unwrap()
    }

    fn window(horizon: usize) -> WindowSpec {
        WindowSpec { history: 1, horizon, action_offset: 0, pad_after: 7 }
    }

    #[test]
    fn short_episodes_are_left_out_and_named_all_at_once() {
        let (_folder, paths) = two();
        let load = |paths: &[PathBuf], spec: &DataSpec, horizon| {
            DataSets::open(paths, spec).unwrap().load(Some(&window(horizon)))
        };
        let one = load(&paths[..1], &spec(""), 3).unwrap();
        assert_eq!(one.episodes.lengths(), [3, 4]);
        assert_eq!(one.episodes.action()[3], 400.0, "rows go with their episodes");
        let note = "left out 1 of 3 episodes, shorter than the 3 steps of a window: episode 1 (1)";
        assert_eq!((one.short.as_deref(), one.notes.len()), (Some(note), 0));
        let both = load(&paths, &spec(""), 4).unwrap();
        assert_eq!(both.episodes.lengths(), [4, 4]);
        let short = both.short.unwrap();
        assert!(short.starts_with("left out 4 of 6 episodes") && short.contains("b.npz (1)"), "{short}");
        assert_eq!(load(&paths, &spec(""), 1).unwrap().short, None);
        let none = load(&paths, &spec(""), 9).unwrap_err().to_string();
        assert_eq!(none, "all 6 episodes are too short: found at most 4 steps, needed 9");
        assert_eq!(load(&paths[..1], &spec("min_episode = 2"), 1).unwrap().episodes.lengths(), [3, 4]);
        assert!(DataSets::open(&paths, &spec("min_episode = 0")).is_err());
        assert!(DataSets::open(&paths, &spec("min_episode = 5")).is_err());
    }

    #[test]
    fn episodes_are_chosen_by_number_and_success() {
        let (_folder, paths) = two();
        let lengths = |text: &str| {
            let loaded = DataSets::open(&paths, &spec(text)).unwrap().load(None).unwrap();
            loaded.episodes.lengths().to_vec()
        };
        assert_eq!(lengths(""), [3, 1, 4, 3, 1, 4]);
        assert_eq!(lengths("episodes = '2:5'"), [4, 3, 1], "counted through both sets");
        assert_eq!(lengths("episodes = [5]"), [4], "a set of which nothing is left does not matter");
        assert_eq!(lengths("successful_only = true"), [3, 4, 3, 4]);
        assert_eq!(lengths("successful_only = true\nepisodes = '0:2'"), [3]);
        let text = DataSets::open(&paths, &spec("episodes = [6]")).unwrap_err().to_string();
        assert_eq!(text, "data.episodes: episode 6 does not exist: there are 6");
        let none = DataSets::open(&paths, &spec("successful_only = true\nepisodes = [1]")).unwrap_err();
        assert!(matches!(none, DataError::NoSuccessfulEpisode { episodes: 1 }), "{none}");
    }
}
