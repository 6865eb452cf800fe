//! Which episodes there are, in which files: meta/episodes.jsonl and meta/tasks.jsonl (v2), or their parquet files (v3).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{LeRobotError, Result};
use super::info::{Info, Layout, lines};
use super::table::Table;

/// Most episodes of a data set.
const MOST: usize = 1 << 24;

/// A data file, and the episodes that must lie in it: index and length, in order.
#[derive(Debug, PartialEq)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// The episodes.
    pub episodes: Vec<Listed>,
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

/// The data files in the order of their episodes.
pub fn files(folder: &Path, info: &Info) -> Result<Vec<DataFile>> {
    match info.layout {
        Layout::V2 => v2(folder, info),
        Layout::V3 => v3(folder, info),
    }
}

fn v2(folder: &Path, info: &Info) -> Result<Vec<DataFile>> {
    let path = folder.join("meta/episodes.jsonl");
    let mut listed: Vec<Listed> = lines(&path)?;
    listed.sort_by_key(|episode| episode.index);
    check(&path, &listed)?;
    let file = |episode: Listed| {
        let numbers = [("episode_chunk", episode.index / info.chunks_size), ("episode_index", episode.index)];
        Ok(DataFile { path: info.data_file(folder, &numbers)?, episodes: vec![episode] })
    };
    listed.into_iter().map(file).collect()
}

fn v3(folder: &Path, info: &Info) -> Result<Vec<DataFile>> {
    let mut all: Vec<(Listed, [usize; 2])> = Vec::new();
    let root = folder.join("meta/episodes");
    for path in parquet_files(&root)? {
        let table = Table::open(&path)?;
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
        let (chunk, file) = (whole("data/chunk_index")?, whole("data/file_index")?);
        let rows = index.into_iter().zip(length).zip(chunk.into_iter().zip(file));
        all.extend(rows.map(|((index, length), (chunk, file))| (Listed { index, length }, [chunk, file])));
    }
    all.sort_by_key(|(episode, _)| episode.index);
    check(&root, &all.iter().map(|(episode, _)| *episode).collect::<Vec<_>>())?;
    let mut files: Vec<([usize; 2], DataFile)> = Vec::new();
    for (episode, place) in all {
        match files.last_mut() {
            Some((last, file)) if *last == place => file.episodes.push(episode),
            _ => {
                let numbers = [("chunk_index", place[0]), ("file_index", place[1])];
                let path = info.data_file(folder, &numbers)?;
                files.push((place, DataFile { path, episodes: vec![episode] }));
            }
        }
    }
    Ok(files.into_iter().map(|(_, file)| file).collect())
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
