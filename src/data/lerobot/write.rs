//! Writing LeRobot directories, v2.1 and v3.0, as the lerobot package does.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value, json};

use super::info::Layout;
use super::stats::Stats;
use super::{BOOKS, SUCCESS};
use crate::data::episodes::Episodes;
use crate::data::source::Tasks;

/// Files in a folder.
const CHUNK: usize = 1000;
/// Bytes of frames in a v3 data file, before compression.
const FILE_BYTES: usize = 100 << 20;

/// What is written.
pub struct Content<'a> {
    /// The demonstrations.
    pub episodes: &'a Episodes,
    /// Their rate.
    pub fps: f64,
    /// Their instructions.
    pub tasks: &'a Tasks,
}

/// A column of frames.
struct Column {
    name: String,
    dtype: &'static str,
    dim: usize,
    names: Value,
    values: Values,
}

enum Values {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    Flags(Vec<bool>),
}

impl Column {
    fn of(name: &str, dtype: &'static str, dim: usize, values: Values) -> Column {
        Column { name: name.into(), dtype, dim, names: Value::Null, values }
    }

    /// Rows as an Arrow array: plain where there is one value a row, as lerobot has it, else lists of fixed length.
    fn array(&self, rows: std::ops::Range<usize>) -> Result<ArrayRef, String> {
        let part = rows.start * self.dim..rows.end * self.dim;
        let flat: ArrayRef = match &self.values {
            Values::Floats(v) => Arc::new(Float32Array::from(v[part].to_vec())),
            Values::Integers(v) => Arc::new(Int64Array::from(v[part].to_vec())),
            Values::Flags(v) => Arc::new(BooleanArray::from(v[part].to_vec())),
        };
        if self.dim == 1 {
            return Ok(flat);
        }
        let field = Arc::new(Field::new("element", flat.data_type().clone(), true));
        let size = i32::try_from(self.dim).map_err(|e| e.to_string())?;
        Ok(Arc::new(FixedSizeListArray::try_new(field, size, flat, None).map_err(|e| e.to_string())?))
    }

    fn stats(&self, rows: std::ops::Range<usize>) -> Stats {
        let part = rows.start * self.dim..rows.end * self.dim;
        let values: Vec<f64> = match &self.values {
            Values::Floats(v) => v[part].iter().map(|&x| x.into()).collect(),
            Values::Integers(v) => v[part].iter().map(|&x| x as f64).collect(),
            Values::Flags(v) => v[part].iter().map(|&x| x.into()).collect(),
        };
        Stats::of(&values, self.dim)
    }
}

/// Writes a data set into an empty folder.
pub fn write(folder: &Path, content: &Content<'_>, layout: Layout) -> Result<(), String> {
    let columns = columns(content);
    let episodes = content.episodes;
    let ranges: Vec<_> = episodes.starts().iter().zip(episodes.lengths()).map(|(s, n)| *s..s + n).collect();
    let stats: Vec<Vec<Stats>> = {
        use rayon::prelude::*;
        ranges
            .par_iter()
            .map(|rows| columns.iter().map(|column| column.stats(rows.clone())).collect())
            .collect()
    };
    create(&folder.join("meta"))?;
    json_file(&folder.join(super::INFO), &info(content, &columns, layout))?;
    match layout {
        Layout::V2 => {
            for (episode, rows) in ranges.iter().enumerate() {
                let path = format!("data/chunk-{:03}/episode_{episode:06}.parquet", episode / CHUNK);
                frames(&folder.join(path), &columns, rows.clone())?;
            }
            let tasks = content.tasks.texts.iter().enumerate();
            let lines = tasks.map(|(n, text)| json!({"task_index": n, "task": text}));
            json_lines(&folder.join("meta/tasks.jsonl"), lines)?;
            let list = ranges.iter().enumerate().map(|(episode, rows)| {
                json!({"episode_index": episode, "tasks": tasks_of(content, rows), "length": rows.len()})
            });
            json_lines(&folder.join("meta/episodes.jsonl"), list)?;
            let stats = stats.iter().enumerate().map(|(episode, stats)| {
                let each = columns.iter().zip(stats).map(|(c, s)| (c.name.clone(), s.json(false)));
                json!({"episode_index": episode, "stats": each.collect::<Map<_, _>>()})
            });
            json_lines(&folder.join("meta/episodes_stats.jsonl"), stats)
        }
        Layout::V3 => {
            let bytes: usize = columns.iter().map(|c| c.dim * 8).sum();
            let mut files: Vec<std::ops::Range<usize>> = Vec::new();
            for (episode, rows) in ranges.iter().enumerate() {
                match files.last_mut() {
                    Some(file) if (rows.end - ranges[file.start].start) * bytes <= FILE_BYTES => {
                        file.end = episode + 1
                    }
                    _ => files.push(episode..episode + 1),
                }
            }
            for (n, file) in files.iter().enumerate() {
                let rows = ranges[file.start].start..ranges[file.end - 1].end;
                let path = format!("data/chunk-{:03}/file-{:03}.parquet", n / CHUNK, n % CHUNK);
                frames(&folder.join(path), &columns, rows)?;
            }
            tasks_table(&folder.join("meta/tasks.parquet"), &content.tasks.texts)?;
            let path = folder.join("meta/episodes/chunk-000/file-000.parquet");
            episodes_table(&path, content, &columns, &ranges, &files, &stats)?;
            let mut all = Map::new();
            for (n, column) in columns.iter().enumerate() {
                let parts: Vec<Stats> = stats.iter().map(|each| each[n].clone()).collect();
                if let Some(stats) = Stats::aggregate(&parts) {
                    all.insert(column.name.clone(), stats.json(true));
                }
            }
            json_file(&folder.join("meta/stats.json"), &Value::Object(all))
        }
    }
}

/// The frames' columns in lerobot's order: the data's own, then those that every data set has.
fn columns(content: &Content<'_>) -> Vec<Column> {
    let episodes = content.episodes;
    let (rows, width) = (episodes.steps(), episodes.obs_dim());
    let named = |names: Option<&[String]>| names.map_or(Value::Null, |names| json!(names));
    let mut columns = Vec::new();
    let mut from = 0;
    for input in episodes.obs_inputs() {
        let to = from + input.dim;
        let values =
            episodes.obs().chunks_exact(width).flat_map(|row| row[from..to].iter().copied()).collect();
        let mut column = Column::of(&input.column(), "float32", input.dim, Values::Floats(values));
        column.names = named(episodes.obs_names().map(|names| &names[from..to]));
        columns.push(column);
        from = to;
    }
    let mut action =
        Column::of("action", "float32", episodes.action_dim(), Values::Floats(episodes.action().to_vec()));
    action.names = named(episodes.action_names());
    columns.push(action);
    let frames = || episodes.lengths().iter().flat_map(|&n| 0..n as i64);
    if let Some(success) = episodes.success() {
        let last = episodes
            .lengths()
            .iter()
            .zip(success)
            .flat_map(|(&n, &won)| (0..n).map(move |t| won && t + 1 == n));
        columns.push(Column::of(SUCCESS, "bool", 1, Values::Flags(last.collect())));
    }
    let whole = |at: usize, values: Vec<i64>| Column::of(BOOKS[at], "int64", 1, Values::Integers(values));
    let time = frames().map(|t| (t as f64 / content.fps) as f32).collect();
    columns.push(Column::of(BOOKS[0], "float32", 1, Values::Floats(time)));
    columns.push(whole(1, frames().collect()));
    let episode = episodes.lengths().iter().enumerate().flat_map(|(e, &n)| std::iter::repeat_n(e as i64, n));
    columns.push(whole(2, episode.collect()));
    columns.push(whole(3, (0..rows as i64).collect()));
    columns.push(whole(4, content.tasks.of_row.clone()));
    columns
}

fn info(content: &Content<'_>, columns: &[Column], layout: Layout) -> Value {
    let episodes = content.episodes;
    let fps = match content.fps {
        fps if fps.fract() == 0.0 && fps < 1e9 => json!(fps as u64),
        fps => json!(fps),
    };
    let features: Map<String, Value> = columns
        .iter()
        .map(|c| (c.name.clone(), json!({"dtype": c.dtype, "shape": [c.dim], "names": c.names})))
        .collect();
    let count = episodes.count();
    let splits = json!({"train": format!("0:{count}")});
    match layout {
        Layout::V2 => json!({
            "codebase_version": "v2.1", "robot_type": null, "total_episodes": count, "total_frames": episodes.steps(),
            "total_tasks": content.tasks.texts.len(), "total_videos": 0, "total_chunks": count.div_ceil(CHUNK),
            "chunks_size": CHUNK, "fps": fps, "splits": splits,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": null, "features": features,
        }),
        Layout::V3 => json!({
            "codebase_version": "v3.0", "robot_type": null, "total_episodes": count, "total_frames": episodes.steps(),
            "total_tasks": content.tasks.texts.len(), "chunks_size": CHUNK, "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200, "fps": fps, "splits": splits,
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": null, "features": features,
        }),
    }
}

/// The texts of the tasks that rows have, in order of first use.
fn tasks_of<'a>(content: &'a Content<'_>, rows: &std::ops::Range<usize>) -> Vec<&'a str> {
    let mut texts: Vec<&str> = Vec::new();
    for &task in &content.tasks.of_row[rows.clone()] {
        if let Some(text) = usize::try_from(task).ok().and_then(|n| content.tasks.texts.get(n))
            && !texts.contains(&text.as_str())
        {
            texts.push(text);
        }
    }
    texts
}

fn frames(path: &Path, columns: &[Column], rows: std::ops::Range<usize>) -> Result<(), String> {
    let arrays = columns.iter().map(|c| Ok((c.name.clone(), c.array(rows.clone())?)));
    table(path, arrays.collect::<Result<_, String>>()?, None)
}

/// pandas keeps the text as the index; without its own metadata it would read it back as a column.
fn tasks_table(path: &Path, texts: &[String]) -> Result<(), String> {
    let column = |name: Value, field: &str, pandas: &str, numpy: &str| json!({"name": name, "field_name": field, "pandas_type": pandas, "numpy_type": numpy, "metadata": null});
    const INDEX: &str = "__index_level_0__";
    let pandas = json!({
        "index_columns": [INDEX],
        "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
            "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            column(json!("task_index"), "task_index", "int64", "int64"),
            column(Value::Null, INDEX, "unicode", "object"),
        ],
        "attributes": {}, "creator": {"library": "pyarrow", "version": "20.0.0"}, "pandas_version": "2.2.3",
    });
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let metadata = ("pandas".to_string(), pandas.to_string());
    table(path, vec![("task_index".into(), numbers), (INDEX.into(), texts)], Some(metadata))
}

fn episodes_table(
    path: &Path,
    content: &Content<'_>,
    columns: &[Column],
    ranges: &[std::ops::Range<usize>],
    files: &[std::ops::Range<usize>],
    stats: &[Vec<Stats>],
) -> Result<(), String> {
    let whole = |value: &dyn Fn(usize) -> usize| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ranges.len()).map(|episode| value(episode) as i64)))
    };
    let file = |episode: usize| files.partition_point(|file| file.end <= episode);
    let mut tasks =
        ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for rows in ranges {
        tasks.append_value(tasks_of(content, rows).into_iter().map(Some));
    }
    let mut out: Vec<(String, ArrayRef)> = vec![
        ("episode_index".into(), whole(&|episode| episode)),
        ("tasks".into(), Arc::new(tasks.finish())),
        ("length".into(), whole(&|episode| ranges[episode].len())),
        ("data/chunk_index".into(), whole(&|episode| file(episode) / CHUNK)),
        ("data/file_index".into(), whole(&|episode| file(episode) % CHUNK)),
        ("dataset_from_index".into(), whole(&|episode| ranges[episode].start)),
        ("dataset_to_index".into(), whole(&|episode| ranges[episode].end)),
    ];
    for (n, column) in columns.iter().enumerate() {
        let keys: Vec<&str> = stats
            .first()
            .map(|s| s[n].values(true).into_iter().map(|(key, _)| key).collect())
            .unwrap_or_default();
        for (at, key) in keys.into_iter().enumerate() {
            let field = Field::new("element", DataType::Float64, true);
            let mut lists = ListBuilder::new(Float64Builder::new()).with_field(field);
            for each in stats {
                lists.append_value(each[n].values(true)[at].1.iter().map(|&x| Some(x)));
            }
            out.push((format!("stats/{}/{key}", column.name), Arc::new(lists.finish())));
        }
        let field = Field::new("element", DataType::Int64, true);
        let mut counts = ListBuilder::new(arrow_array::builder::Int64Builder::new()).with_field(field);
        for each in stats {
            counts.append_value([Some(each[n].count as i64)]);
        }
        out.push((format!("stats/{}/count", column.name), Arc::new(counts.finish())));
    }
    out.push(("meta/episodes/chunk_index".into(), whole(&|_| 0)));
    out.push(("meta/episodes/file_index".into(), whole(&|_| 0)));
    table(path, out, None)
}

/// Writes a parquet file of these columns.
fn table(
    path: &Path,
    columns: Vec<(String, ArrayRef)>,
    metadata: Option<(String, String)>,
) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    if let Some(parent) = path.parent() {
        create(parent)?;
    }
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let in_schema: HashMap<String, String> = metadata.clone().into_iter().collect();
    let schema = Schema::new_with_metadata(fields, in_schema);
    let batch = RecordBatch::try_new(Arc::new(schema), arrays).map_err(|e| text(&e))?;
    let values = metadata.map(|(key, value)| vec![KeyValue::new(key, value)]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(values)
        .build();
    let file = File::create(path).map_err(|e| text(&e))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|e| text(&e))?;
    writer.write(&batch).map_err(|e| text(&cause(&e)))?;
    writer.into_inner().map_err(|e| text(&cause(&e)))?.sync_all().map_err(|e| text(&e))
}

/// What the system said, where parquet only passes that on.
fn cause(error: &ParquetError) -> String {
    match error {
        ParquetError::External(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

fn create(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

fn json_file(path: &Path, value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    write_text(path, &text)
}

fn json_lines(path: &Path, values: impl Iterator<Item = Value>) -> Result<(), String> {
    write_text(path, &values.map(|value| value.to_string() + "\n").collect::<String>())
}

fn write_text(path: &Path, text: &str) -> Result<(), String> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| format!("{}: {e}", path.display()))
}
