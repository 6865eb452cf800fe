//! meta/info.json: version, rate, paths and features.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::budget::read_text;
use super::error::{LeRobotError, Result};

/// Where it lies in a data set's folder.
pub const INFO: &str = "meta/info.json";
/// Largest file of JSON lines that is read; of a line little is kept.
const MOST_BYTES: u64 = 1 << 28;
/// Largest JSON document that is read: in memory it takes up to forty times its size.
const MOST_DOCUMENT: u64 = 1 << 23;
/// Most values of a feature.
const MOST_VALUES: usize = 1 << 20;

/// The layout of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One parquet file per episode, lists in JSON lines (v2.0, v2.1).
    V2,
    /// Many episodes in a file, lists in parquet.
    V3,
}

/// What meta/info.json says.
#[derive(Debug)]
pub struct Info {
    /// The file.
    pub path: PathBuf,
    /// How the files lie.
    pub layout: Layout,
    /// Frames per second.
    pub fps: f64,
    /// Episodes.
    pub total_episodes: usize,
    /// Frames of all episodes.
    pub total_frames: usize,
    /// Files in a folder.
    pub chunks_size: usize,
    data_path: String,
    /// What a frame holds, in the file's order.
    pub features: Vec<Feature>,
}

/// A column of the data, or a video beside it.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// Its type: float32, int64, bool, image, video, ...
    pub dtype: String,
    /// Its shape; empty or [1] for a plain number.
    pub shape: Vec<usize>,
    /// Names of its values, if there is one for each.
    pub names: Option<Vec<String>>,
    /// What is wrong with the names that are written there.
    pub names_fault: Option<String>,
}

impl Feature {
    /// Whether it is pictures.
    pub fn is_image(&self) -> bool {
        matches!(self.dtype.as_str(), "image" | "video")
    }

    /// Its shape as `480x640x3`.
    pub fn size(&self) -> String {
        let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        sizes.join("x")
    }
}

#[derive(Deserialize)]
struct RawInfo {
    codebase_version: String,
    fps: f64,
    total_episodes: usize,
    total_frames: usize,
    chunks_size: Option<usize>,
    data_path: String,
    features: Map<String, Value>,
}

#[derive(Deserialize)]
struct RawFeature {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
}

impl Info {
    /// Reads the file of a data set's folder.
    pub fn read(folder: &Path) -> Result<Info> {
        let path = folder.join(INFO);
        let raw: RawInfo = document(&path)?;
        let layout = match raw.codebase_version.as_str() {
            "v2.0" | "v2.1" => Layout::V2,
            "v3.0" => Layout::V3,
            _ => return Err(LeRobotError::Version { path, found: raw.codebase_version }),
        };
        let setting = |key: &str, found: String, needed| {
            Err(LeRobotError::Setting { path: path.clone(), key: key.into(), found, needed })
        };
        if !(raw.fps.is_finite() && raw.fps > 0.0) {
            return setting("fps", raw.fps.to_string(), "a positive number of frames per second");
        }
        let chunks_size = raw.chunks_size.unwrap_or(1000);
        if chunks_size == 0 {
            return setting("chunks_size", "0".into(), "at least 1");
        }
        let mut features = Vec::new();
        for (name, value) in raw.features {
            let feature: RawFeature = serde_json::from_value(value).map_err(|e| LeRobotError::Json {
                path: path.clone(),
                line: None,
                reason: format!("feature '{name}': {e}"),
            })?;
            let image = matches!(feature.dtype.as_str(), "image" | "video");
            let size = feature.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
            let size = match size {
                Some(n) if image || (1..=MOST_VALUES).contains(&n) => n,
                _ => {
                    let key = format!("shape of the feature '{name}'");
                    return setting(&key, format!("{:?}", feature.shape), "1 to 1,048,576 values");
                }
            };
            let (names, names_fault) = match names(&feature.names) {
                Some(names) if names.len() == size => (Some(names), None),
                Some(found) if !image && feature.shape.len() < 2 => {
                    (None, Some(format!("{} for {size} values", found.len())))
                }
                _ => (None, None),
            };
            features.push(Feature { name, dtype: feature.dtype, shape: feature.shape, names, names_fault });
        }
        Ok(Info {
            path,
            layout,
            fps: raw.fps,
            total_episodes: raw.total_episodes,
            total_frames: raw.total_frames,
            chunks_size,
            data_path: raw.data_path,
            features,
        })
    }

    /// The feature of this name.
    pub fn feature(&self, name: &str) -> Result<&Feature> {
        self.features.iter().find(|feature| feature.name == name).ok_or_else(|| LeRobotError::MissingColumn {
            path: self.path.clone(),
            column: name.into(),
            present: self.features.iter().map(|feature| feature.name.clone()).collect(),
        })
    }

    /// All files of the folder that `data_path` could mean, in the order of their names; what is no file or link within the
    /// folder is passed over.
    pub fn data_files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        // That the template stays within the folder is checked first.
        let any = [("chunk_index", 0), ("file_index", 0), ("episode_index", 0), ("episode_chunk", 0)];
        self.data_file(folder, &any)?;
        let parts: Vec<&str> = self.data_path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let mut level = vec![folder.to_path_buf()];
        for part in parts {
            let mut next = Vec::new();
            for folder in level {
                let Ok(entries) = std::fs::read_dir(&folder) else { continue };
                let names = entries.flatten().map(|entry| entry.file_name());
                next.extend(
                    names
                        .filter(|name| could_be(part, &name.to_string_lossy()))
                        .map(|name| folder.join(name)),
                );
            }
            level = next;
        }
        level.retain(|path| path.is_file());
        level.sort();
        Ok(level)
    }

    /// The data file that `data_path` means with these numbers; it lies within the folder.
    pub fn data_file(&self, folder: &Path, numbers: &[(&str, usize)]) -> Result<PathBuf> {
        let bad = |needed| LeRobotError::Setting {
            path: self.path.clone(),
            key: "data_path".into(),
            found: format!("{:?}", self.data_path),
            needed,
        };
        let text = filled(&self.data_path, numbers)
            .ok_or_else(|| bad("a path with fields of the data's numbers, as {episode_index:06d}"))?;
        let relative = PathBuf::from(text);
        if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(bad("a path within the data set's folder"));
        }
        Ok(folder.join(relative))
    }
}

/// Whether a path could be a template of [`filled`] with some numbers in its fields.
fn could_be(template: &str, path: &str) -> bool {
    let Some((before, after)) = template.split_once('{') else { return template == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let Some((_, tail)) = after.split_once('}') else { return false };
    let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    number.len() < rest.len() && could_be(tail, number)
}

/// Reads a JSON document.
pub fn document<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = text(path, MOST_DOCUMENT)?;
    serde_json::from_str(&text).map_err(|e| LeRobotError::Json {
        path: path.into(),
        line: None,
        reason: e.to_string(),
    })
}

/// Reads a file of one JSON document a line; empty lines are nothing.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = text(path, MOST_BYTES)?;
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        out.push(serde_json::from_str(line).map_err(|e| LeRobotError::Json {
            path: path.into(),
            line: Some(at + 1),
            reason: e.to_string(),
        })?);
    }
    Ok(out)
}

fn text(path: &Path, most: u64) -> Result<String> {
    let fault =
        |e: std::io::Error| LeRobotError::Json { path: path.into(), line: None, reason: e.to_string() };
    let found = path.metadata().map_err(fault)?.len();
    if found > most {
        return Err(LeRobotError::TooLarge { path: path.into(), found, most });
    }
    read_text(path, "a JSON file", most).map_err(fault)
}

/// Names of values, however they were written: a list, a list in a list, a table of lists (`{"motors": [...]}`), or a table
/// of numbers (`{"x": 0, "y": 1}`).
fn names(value: &Value) -> Option<Vec<String>> {
    let texts = |list: &[Value]| -> Option<Vec<String>> {
        list.iter().map(|v| v.as_str().map(str::to_owned)).collect()
    };
    match value {
        Value::Array(list) if list.iter().all(Value::is_array) => {
            let inner: Option<Vec<_>> = list.iter().map(|v| texts(v.as_array()?)).collect();
            inner.map(|lists| lists.concat()).filter(|names| !names.is_empty())
        }
        Value::Array(list) => texts(list),
        Value::Object(table) if table.values().all(Value::is_array) => {
            let inner: Option<Vec<_>> = table.values().map(|v| texts(v.as_array()?)).collect();
            inner.map(|lists| lists.concat()).filter(|names| !names.is_empty())
        }
        Value::Object(table) => {
            let mut places: Vec<(u64, &String)> =
                table.iter().map(|(name, at)| Some((at.as_u64()?, name))).collect::<Option<_>>()?;
            places.sort();
            let whole = places.iter().enumerate().all(|(n, (at, _))| n as u64 == *at);
            whole.then(|| places.into_iter().map(|(_, name)| name.clone()).collect())
        }
        _ => None,
    }
}

/// Python's `{name}` and `{name:03d}` filled in; None if a field is unknown or the braces do not match.
fn filled(template: &str, numbers: &[(&str, usize)]) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, tail) = after.split_once('}')?;
        let (name, format) = field.split_once(':').unwrap_or((field, "d"));
        let number = numbers.iter().find(|(known, _)| *known == name)?.1;
        let width = format.strip_suffix('d').unwrap_or(format);
        let width: usize = if width.is_empty() { 0 } else { width.parse().ok().filter(|&w| w <= 20)? };
        out += before;
        out += &match format.starts_with('0') {
            true => format!("{number:0width$}"),
            false => format!("{number:width$}"),
        };
        rest = tail;
    }
    (!rest.contains('}')).then(|| out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_come_in_many_forms() {
        let xy = Some(vec!["x".to_string(), "y".to_string()]);
        for form in [
            json!(["x", "y"]),
            json!([["x", "y"]]),
            json!({"motors": ["x", "y"]}),
            json!({"left": ["x"], "right": ["y"]}),
            json!({"y": 1, "x": 0}),
        ] {
            assert_eq!(names(&form), xy, "{form}");
        }
        for form in [
            json!(null),
            json!("x"),
            json!([["x"], 1]),
            json!({"x": 1, "y": 2}),
            json!({"x": "y"}),
            json!([[]]),
        ] {
            assert_eq!(names(&form), None, "{form}");
        }
    }

    #[test]
    fn names_of_data_files_are_known() {
        let (template, fits) = ("file-{file_index:03d}.parquet", could_be);
        assert!(
            fits(template, "file-000.parquet") && fits(template, "file-1234.parquet") && fits("data", "data")
        );
        for other in ["file-.parquet", "file-000.parquet.bak", "old-file-000.parquet", "file-0a0.parquet", ""]
        {
            assert!(!fits(template, other), "{other}");
        }
    }

    #[test]
    fn paths_are_filled_as_python_does() {
        let numbers = [("episode_chunk", 0), ("episode_index", 12)];
        let fill = |template: &str| filled(template, &numbers);
        let template = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet";
        assert_eq!(fill(template).as_deref(), Some("data/chunk-000/episode_000012.parquet"));
        assert_eq!(fill("{episode_index}-{episode_index:4d}").as_deref(), Some("12-  12"));
        for bad in [
            "{x}",
            "{episode_index",
            "episode_index}",
            "{episode_index:09999999d}",
            "{episode_index:x}",
            "{}",
        ] {
            assert_eq!(fill(bad), None, "{bad}");
        }
    }
}
