//! The rows of one or several data sets, end to end, and where each of them lies.

use std::borrow::Cow;
use std::ops::Range;

use super::column::Place;
use crate::data::copies;
use crate::data::episodes::EpisodeArrays;
use crate::data::source::Source;

/// A data set as the warnings see it.
#[derive(Clone, Copy)]
pub struct Set<'a> {
    /// How a person knows it; empty where there is but one.
    pub name: &'a str,
    pub source: &'a Source,
    /// The numbers of its episodes.
    pub numbers: &'a [usize],
}

/// An episode: its rows, its number in its data set, and which data set that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    pub rows: Range<usize>,
    pub number: usize,
    pub set: usize,
}

/// The rows that belong to episodes.
#[derive(Default)]
pub struct Rows<'a> {
    pub obs: Cow<'a, [f32]>,
    pub action: Cow<'a, [f32]>,
    pub obs_dim: usize,
    pub action_dim: usize,
    /// Rows that both arrays have.
    pub count: usize,
    /// The episodes that lie within them.
    pub episodes: Vec<Episode>,
    /// The names of the data sets, where there are several.
    pub sets: Vec<String>,
}

impl<'a> Rows<'a> {
    /// Those of one data set, or of several of the same dimensions.
    pub fn of(sets: &[Set<'a>]) -> Rows<'a> {
        let dims = sets.first().map_or((1, 1), |s| (s.source.arrays.obs_dim, s.source.arrays.action_dim));
        let mut rows = Rows { obs_dim: dims.0.max(1), action_dim: dims.1.max(1), ..Rows::default() };
        for (at, set) in sets.iter().enumerate() {
            let arrays = &set.source.arrays;
            let start = rows.count;
            rows.count += common(arrays);
            let mut end = start;
            for (n, &length) in arrays.lengths.iter().enumerate() {
                let begin = end;
                end = end.saturating_add(length);
                if end > rows.count {
                    break;
                }
                let number = set.numbers.get(n).copied().unwrap_or(n);
                rows.episodes.push(Episode { rows: begin..end, number, set: at });
            }
            if sets.len() == 1 {
                rows.obs = Cow::Borrowed(&arrays.obs);
                rows.action = Cow::Borrowed(&arrays.action);
            } else {
                let whole = |data: &'a [f32], dim: usize| &data[..common(arrays) * dim];
                rows.obs.to_mut().extend_from_slice(whole(&arrays.obs, rows.obs_dim));
                rows.action.to_mut().extend_from_slice(whole(&arrays.action, rows.action_dim));
                rows.sets.push(set.name.to_owned());
            }
        }
        rows
    }

    pub fn place(&self, row: usize) -> Place {
        match self.episode_of(row) {
            Some(e) => Place { row, episode: Some(e.number), step: Some(row - e.rows.start) },
            None => Place { row, episode: None, step: None },
        }
    }

    /// The episode that a row belongs to.
    pub fn episode_of(&self, row: usize) -> Option<&Episode> {
        let at = self.episodes.partition_point(|episode| episode.rows.start <= row).checked_sub(1)?;
        self.episodes.get(at).filter(|episode| episode.rows.contains(&row))
    }

    /// ` of b.npz`, where there are several data sets.
    fn of_set(&self, set: usize) -> String {
        self.sets.get(set).map(|name| format!(" of {name}")).unwrap_or_default()
    }

    /// `episode 3, step 4`, with the data set where there are several.
    pub fn at(&self, row: usize) -> String {
        match self.episode_of(row) {
            Some(e) => format!("{}, step {}", self.label(e), row - e.rows.start),
            None => format!("row {row}"),
        }
    }

    /// `episode 3`, with the data set where there are several.
    pub fn label(&self, episode: &Episode) -> String {
        format!("episode {}{}", episode.number, self.of_set(episode.set))
    }

    pub fn obs_row(&self, row: usize) -> &[f32] {
        &self.obs[row * self.obs_dim..(row + 1) * self.obs_dim]
    }

    pub fn action_row(&self, row: usize) -> &[f32] {
        &self.action[row * self.action_dim..(row + 1) * self.action_dim]
    }

    /// Whether a row is the one before again, bit for bit; not to be asked of the first.
    pub fn repeats(&self, row: usize) -> bool {
        let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits());
        same(self.action_row(row), self.action_row(row - 1)) && same(self.obs_row(row), self.obs_row(row - 1))
    }

    /// For each episode the first one that is equal to it in every bit: itself, or an earlier one.
    pub fn firsts(&self) -> Vec<usize> {
        let episodes: Vec<Range<usize>> = self.episodes.iter().map(|episode| episode.rows.clone()).collect();
        copies::firsts(&episodes, [(&self.obs, self.obs_dim), (&self.action, self.action_dim)])
    }
}

/// Rows that both arrays have.
fn common(arrays: &EpisodeArrays) -> usize {
    let rows = |data: &[f32], dim: usize| data.len().checked_div(dim).unwrap_or(0);
    rows(&arrays.obs, arrays.obs_dim).min(rows(&arrays.action, arrays.action_dim))
}
