//! Which episodes there are, in which files: meta/episodes.jsonl and meta/tasks.jsonl (v2), or their parquet files (v3).

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{LeRobotError, Result};
use super::info::{Info, Layout, lines};
use super::table::Table;

/// Most episodes of a data set.
const MOST: usize = 1 << 24;

/// What the list of episodes says. It is bookkeeping: rows carry the number of their episode, and those decide.
#[derive(Debug, PartialEq)]
pub struct Listing {
    /// The list: a file or a folder.
    pub path: PathBuf,
    /// The episodes in order; none where there is no list.
    pub episodes: Option<Vec<Listed>>,
    /// The file, of `files`, that each is said to lie in, where that is said.
    pub places: Vec<Option<usize>>,
    /// The data files that the list names, in the order of their episodes.
    pub files: Vec<PathBuf>,
    /// The data files that it does not name, in the order of their names.
    pub others: Vec<PathBuf>,
}

/// An episode as the list of episodes has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its number.
    #[serde(rename = "episode_index")]
    pub index: usize,
    /// Its frames.
    pub length: usize,
}

/// Reads the list of episodes.
pub fn listing(folder: &Path, info: &Info) -> Result<Listing> {
    match info.layout {
        Layout::V2 => v2(folder, info),
        Layout::V3 => v3(folder, info),
    }
}

fn v2(folder: &Path, info: &Info) -> Result<Listing> {
    let path = folder.join("meta/episodes.jsonl");
    let mut listed: Vec<Listed> = lines(&path)?;
    listed.sort_by_key(|episode| episode.index);
    check(&path, &listed)?;
    let file = |episode: &Listed| {
        let numbers = [("episode_chunk", episode.index / info.chunks_size), ("episode_index", episode.index)];
        info.data_file(folder, &numbers)
    };
    let files = listed.iter().map(file).collect::<Result<_>>()?;
    let places = (0..listed.len()).map(Some).collect();
    Ok(Listing { path, episodes: Some(listed), places, files, others: vec![] })
}

fn v3(folder: &Path, info: &Info) -> Result<Listing> {
    let path = folder.join("meta/episodes");
    let there = info.data_files(folder)?;
    let lists = if path.is_dir() { parquet_files(&path)? } else { vec![] };
    // lerobot writes the list when ten episodes are buffered or when the recording is finalized, whichever is first.
    if lists.is_empty() || lists.iter().any(|list| cut_off(list)) {
        return Ok(Listing { path, episodes: None, places: vec![], files: vec![], others: there });
    }
    let mut all: Vec<(Listed, Option<[usize; 2]>)> = Vec::new();
    for path in &lists {
        let table = Table::open(path)?;
        let whole = |column: &str| -> Result<Vec<usize>> {
            let numbers = table.integers(column)?.into_iter().enumerate();
            let whole = |(row, n): (usize, i64)| {
                usize::try_from(n).map_err(|_| LeRobotError::Setting {
                    path: path.clone(),
                    key: format!("column '{column}', row {row}"),
                    found: n.to_string(),
                    needed: "a whole number, at least 0",
                })
            };
            numbers.map(whole).collect()
        };
        let (index, length) = (whole("episode_index")?, whole("length")?);
        // Where an episode lies is a hint: a column that is absent, null or absurd leaves it to the rows.
        let hint = |column: &str| match table.has(column) {
            true => table.integers(column).ok().filter(|found| found.len() == index.len()),
            false => None,
        };
        let (chunk, file) = (hint("data/chunk_index"), hint("data/file_index"));
        let place = |row: usize| -> Option<[usize; 2]> {
            let number = |of: &Option<Vec<i64>>| usize::try_from(*of.as_ref()?.get(row)?).ok();
            Some([number(&chunk)?, number(&file)?])
        };
        let rows = index.iter().zip(length).enumerate();
        all.extend(rows.map(|(row, (&index, length))| (Listed { index, length }, place(row))));
    }
    all.sort_by_key(|(episode, _)| episode.index);
    let episodes: Vec<Listed> = all.iter().map(|(episode, _)| *episode).collect();
    check(&path, &episodes)?;
    let (mut files, mut numbered) = (Vec::new(), HashMap::new());
    let mut places = Vec::new();
    for (_, place) in all {
        let Some(place) = place else {
            places.push(None);
            continue;
        };
        let at = match numbered.get(&place) {
            Some(&at) => at,
            None => {
                let numbers = [("chunk_index", place[0]), ("file_index", place[1])];
                files.push(info.data_file(folder, &numbers)?);
                numbered.insert(place, files.len() - 1);
                files.len() - 1
            }
        };
        places.push(Some(at));
    }
    let others = there.into_iter().filter(|path| !files.contains(path)).collect();
    Ok(Listing { path, episodes: Some(episodes), places, files, others })
}

/// Whether a parquet file begins as one and has no footer: its writer was never closed.
pub fn cut_off(path: &Path) -> bool {
    let ends = || -> std::io::Result<[[u8; 4]; 2]> {
        let mut file = std::fs::File::open(path)?;
        let mut ends = [[0; 4]; 2];
        file.read_exact(&mut ends[0])?;
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut ends[1])?;
        Ok(ends)
    };
    ends().is_ok_and(|[head, tail]| head == *b"PAR1" && tail != *b"PAR1")
}

/// That there are episodes, not absurdly many, each once.
fn check(path: &Path, listed: &[Listed]) -> Result<()> {
    let setting = |key: String, found: String, needed| {
        Err(LeRobotError::Setting { path: path.into(), key, found, needed })
    };
    if listed.is_empty() || listed.len() > MOST {
        return setting("episodes".into(), listed.len().to_string(), "1 to 16,777,216");
    }
    if let Some(pair) = listed.windows(2).find(|pair| pair[0].index == pair[1].index) {
        return setting(format!("episode {}", pair[0].index), "it twice".into(), "each episode once");
    }
    Ok(())
}

/// chunk-*/file-*.parquet below a folder, in order.
fn parquet_files(root: &Path) -> Result<Vec<PathBuf>> {
    let fault =
        |e: std::io::Error| LeRobotError::Parquet { path: root.into(), column: None, reason: e.to_string() };
    let entries = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
        let mut paths =
            std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let mut files = Vec::new();
    for folder in entries(root).map_err(fault)?.into_iter().filter(|path| path.is_dir()) {
        let parquet = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "parquet");
        files.extend(entries(&folder).map_err(fault)?.into_iter().filter(parquet));
    }
    Ok(files)
}

/// The tasks by number; none where the data set has no list of them.
pub fn tasks(folder: &Path, info: &Info) -> Result<Option<Vec<String>>> {
    #[derive(Deserialize)]
    struct Task {
        task_index: i64,
        task: String,
    }
    let (path, list): (_, Vec<Task>) = match info.layout {
        Layout::V2 => {
            let path = folder.join("meta/tasks.jsonl");
            if !path.exists() {
                return Ok(None);
            }
            let list = lines(&path)?;
            (path, list)
        }
        Layout::V3 => {
            let path = folder.join("meta/tasks.parquet");
            if !path.exists() {
                return Ok(None);
            }
            let table = Table::open(&path)?;
            // pandas keeps the index, which is the text, under a name of its own unless it has one.
            let text = if table.has("task") { "task" } else { "__index_level_0__" };
            let pairs = table.integers("task_index")?.into_iter().zip(table.texts(text)?);
            (path, pairs.map(|(task_index, task)| Task { task_index, task }).collect())
        }
    };
    let mut by_number = vec![None; list.len()];
    for task in list {
        let place = usize::try_from(task.task_index).ok().and_then(|n| by_number.get_mut(n));
        match place {
            Some(place @ None) => *place = Some(task.task),
            _ => {
                let (key, found) = ("task_index".into(), task.task_index.to_string());
                return Err(LeRobotError::Setting { path, key, found, needed: "each number from 0 once" });
            }
        }
    }
    Ok(Some(by_number.into_iter().flatten().collect()))
}
