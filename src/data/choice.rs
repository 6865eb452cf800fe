//! Which episodes of a data set are used: by number, by least length, by success.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::DataError;

/// Episodes by number, from 0: single ones and ranges `first..end`, as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpisodeChoice {
    /// First episode and the one after the last; no end: all from there on.
    ranges: Vec<(usize, Option<usize>)>,
}

/// What a choice may look like.
const NEEDED: &str = "numbers and ranges as \"0:50,60\" (50 not included), or a list of numbers";

impl EpisodeChoice {
    /// The episodes meant, of a data set that has `count`, in ascending order, each once.
    ///
    /// # Errors
    /// [`DataError::OutOfRange`] if one does not exist, [`DataError::NoEpisodes`] if none is meant.
    pub fn of(&self, count: usize) -> Result<Vec<usize>, DataError> {
        let mut chosen = vec![false; count];
        for &(first, end) in &self.ranges {
            let last = end.map_or(first, |end| end.saturating_sub(1));
            if first.max(last) >= count {
                let index = if first >= count { first } else { last };
                return Err(DataError::OutOfRange { what: "data.episodes: episode", index, count });
            }
            chosen[first..end.unwrap_or(count)].fill(true);
        }
        let chosen: Vec<usize> = (0..count).filter(|&episode| chosen[episode]).collect();
        match chosen.is_empty() {
            true => Err(DataError::NoEpisodes { what: "data.episodes".into() }),
            false => Ok(chosen),
        }
    }
}

impl FromStr for EpisodeChoice {
    type Err = String;

    /// `0:50,60`, `40:`, `[0, 5, 7]`.
    fn from_str(text: &str) -> Result<EpisodeChoice, String> {
        let fail = || format!("found {text:?}, needed {NEEDED}");
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| fail());
        let inner = text.trim();
        let inner = inner.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(inner);
        let range = |part: &str| match part.split_once(':') {
            None => number(part).map(|n| (n, n.checked_add(1))),
            Some((first, end)) => {
                let first = if first.trim().is_empty() { 0 } else { number(first)? };
                let end = if end.trim().is_empty() { None } else { Some(number(end)?) };
                match end {
                    Some(end) if end <= first => Err(fail()),
                    end => Ok((first, end)),
                }
            }
        };
        let ranges = inner.split(',').map(range).collect::<Result<_, _>>()?;
        Ok(EpisodeChoice { ranges })
    }
}

impl fmt::Display for EpisodeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(first, end): &(usize, Option<usize>)| match end {
            Some(end) if *end == first + 1 => first.to_string(),
            Some(end) => format!("{first}:{end}"),
            None => format!("{first}:"),
        };
        f.write_str(&self.ranges.iter().map(one).collect::<Vec<_>>().join(","))
    }
}

impl Serialize for EpisodeChoice {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EpisodeChoice {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<EpisodeChoice, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Numbers(Vec<usize>),
            One(usize),
        }
        let wrong = |_| serde::de::Error::custom(format!("needed {NEEDED}"));
        let one = |n: usize| (n, n.checked_add(1));
        match Written::deserialize(d).map_err(wrong)? {
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Written::Numbers(numbers) => Ok(EpisodeChoice { ranges: numbers.into_iter().map(one).collect() }),
            Written::One(number) => Ok(EpisodeChoice { ranges: vec![one(number)] }),
        }
    }
}

/// `3`, `3 and 5`, `3, 5 and 9 more`: numbers for a person, cut short where they are many.
pub(super) fn listed(items: &[String]) -> String {
    const MOST: usize = 8;
    match items {
        [] => "none".into(),
        [one] => one.clone(),
        all if all.len() > MOST => {
            format!("{} and {} more", all[..MOST - 1].join(", "), all.len() - (MOST - 1))
        }
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        let of = |text: &str, count| text.parse::<EpisodeChoice>().unwrap().of(count).unwrap();
        assert_eq!(of("0:3,5", 9), [0, 1, 2, 5]);
        assert_eq!(of("[4, 1,1]", 9), [1, 4]);
        assert_eq!(of("7:", 9), [7, 8]);
        assert_eq!(of(":2", 9), [0, 1]);
        for text in ["", "a", "3:3", "5:2", "-1", "1.5", "0::2", "1,,2"] {
            assert!(text.parse::<EpisodeChoice>().is_err(), "{text}");
        }
        assert_eq!("0:50, 60,70:".parse::<EpisodeChoice>().unwrap().to_string(), "0:50,60,70:");
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let fault = |text: &str| text.parse::<EpisodeChoice>().unwrap().of(9).unwrap_err().to_string();
        assert_eq!(fault("3,9"), "data.episodes: episode 9 does not exist: there are 9");
        assert_eq!(fault("3:12"), "data.episodes: episode 11 does not exist: there are 9");
        assert_eq!(fault("20:"), "data.episodes: episode 20 does not exist: there are 9");
        assert_eq!(fault("0:18446744073709551615").split(':').count(), 3);
    }

    #[test]
    fn toml_takes_text_and_lists() {
        #[derive(Deserialize)]
        struct Table {
            episodes: EpisodeChoice,
        }
        let read = |text: &str| toml::from_str::<Table>(text).map(|t| t.episodes.of(9).unwrap());
        assert_eq!(read("episodes = [0, 3]").unwrap(), [0, 3]);
        assert_eq!(read("episodes = '0:2,8'").unwrap(), [0, 1, 8]);
        assert_eq!(read("episodes = 4").unwrap(), [4]);
        assert!(read("episodes = [-1]").is_err());
        assert!(read("episodes = 'x'").is_err());
        assert!(toml::from_str::<Table>("episodes = []").unwrap().episodes.of(9).is_err());
    }

    #[test]
    fn long_lists_are_cut() {
        let list = |n: usize| listed(&(0..n).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!([list(1), list(2), list(3)], ["0", "0 and 1", "0, 1 and 2"]);
        assert_eq!(list(12), "0, 1, 2, 3, 4, 5, 6 and 5 more");
    }
}
