//! ROS 2 recordings in MCAP: a file is an episode. `[data] obs` and `action` name topics with a field of their messages
//! (`/joint_states.position`), `fps` the rate that they are resampled at: each step holds the newest message of each topic, as a
//! controller that runs at this rate would have seen it. The episode begins when every topic has spoken and ends with the first
//! that falls silent.

mod cdr;
mod records;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::budget::Budget;
use super::error::{DataError, guarded};
use super::gather::{Column, Gathered};
use super::source::{Kind, Source};
use super::spec::DataSpec;
use ::mcap::records::Channel;
use cdr::Definition;
use records::{End, Schema};

/// Most steps of a recording.
const MOST_STEPS: f64 = 1e8;

fn malformed(path: &Path, reason: String) -> DataError {
    DataError::Malformed { path: path.into(), kind: "MCAP", reason }
}

/// What is wanted of a topic, and what has come.
struct Track {
    name: String,
    topic: String,
    fields: Vec<String>,
    /// Nanoseconds, and the values.
    messages: Vec<(u64, Vec<f64>)>,
    /// Names beside the values, as joints have them.
    labels: Vec<String>,
}

/// The files of a rosbag2 folder, in order.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "mcap")).collect();
    // name_2 comes before name_10.
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    files
}

/// Reads a recording: one file, or a bag's files, as one episode.
pub(super) fn read(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    guarded(path, "MCAP", || recorded(path, spec))
}

fn recorded(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let files = if path.is_dir() { files(path) } else { vec![path.into()] };
    let mut tracks: Vec<Track> = Vec::new();
    let obs = spec.obs.as_ref().map(|columns| columns.names().to_vec()).unwrap_or_default();
    for name in obs.iter().chain([&spec.action]) {
        let (topic, fields) = name.split_once('.').unwrap_or((name, ""));
        let fields = fields.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect();
        tracks.push(Track {
            name: name.clone(),
            topic: topic.into(),
            fields,
            messages: vec![],
            labels: vec![],
        });
    }
    let mut topics: BTreeMap<String, String> = BTreeMap::new();
    let mut notes = Vec::new();
    for file in &files {
        let mut budget = Budget::of(&super::aside::open(file)?);
        let mut definitions: BTreeMap<u16, Option<Definition>> = BTreeMap::new();
        let mut take =
            |channel: &Channel, schema: Option<&Schema>, time: u64, data: &[u8], budget: &mut Budget| {
                let kind = schema.map_or("", |schema| schema.name.as_str());
                topics.entry(channel.topic.clone()).or_insert_with(|| kind.to_owned());
                for track in tracks.iter_mut().filter(|track| track.topic == channel.topic) {
                    let Some(schema) = schema
                        .filter(|schema| schema.encoding == "ros2msg" && channel.message_encoding == "cdr")
                    else {
                        let found = schema.map_or("none", |schema| schema.encoding.as_str());
                        return Err(format!(
                            "topic '{}': found {} with the schema {found}, needed cdr with ros2msg",
                            track.topic, channel.message_encoding
                        ));
                    };
                    let definition =
                        definitions.entry(schema.id).or_insert_with(|| Definition::parse(schema).ok());
                    let definition = definition.as_ref().ok_or_else(|| {
                        format!("topic '{}': the definition of {kind} cannot be read", track.topic)
                    })?;
                    let message = definition
                        .numbers(data, &track.fields)
                        .map_err(|reason| format!("'{}': {reason}", track.name))?;
                    if let Some((_, first)) = track.messages.first() {
                        if first.len() != message.values.len() {
                            let (found, needed) = (message.values.len(), first.len());
                            return Err(format!(
                                "'{}': found {found} values, needed {needed} as in its first message",
                                track.name
                            ));
                        }
                        // Joints may come in another order than before, and their values with them.
                        if track.labels != message.labels {
                            return Err(format!(
                                "'{}': the names beside the values change from {:?} to {:?}",
                                track.name, track.labels, message.labels
                            ));
                        }
                    } else {
                        track.labels = message.labels;
                    }
                    budget
                        .take("messages", 64 + 8 * message.values.len() as u64)
                        .map_err(|e| e.to_string())?;
                    track.messages.push((time, message.values));
                }
                Ok(())
            };
        if records::each(file, &mut budget, &mut take)? == End::CutOff {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            notes.push(format!("{name}: the recording was cut off, and is read as far as it goes"));
        }
    }
    let present = || {
        let list: Vec<String> = topics.iter().map(|(topic, kind)| format!("{topic} ({kind})")).collect();
        if list.is_empty() { "none".into() } else { list.join(", ") }
    };
    if obs.is_empty() || spec.fps.is_none() {
        let reason = format!(
            "say which topics are what, and the rate: [data] obs = [\"/joint_states.position\"], action = \"/command.data\", fps = \
             20.0; topics: {}",
            present()
        );
        return Err(malformed(path, reason));
    }
    for track in &mut tracks {
        if track.messages.is_empty() {
            let reason = format!("no message on the topic '{}'; topics: {}", track.topic, present());
            return Err(malformed(path, reason));
        }
        if track.messages[0].1.is_empty() {
            let reason = format!(
                "'{}' holds no numbers: a column is a topic and a field, as /joint_states.position",
                track.name
            );
            return Err(malformed(path, reason));
        }
        track.messages.sort_by_key(|message| message.0);
    }
    resampled(path, tracks, spec, notes)
}

/// Steps at an even rate, each with the newest message of every topic.
fn resampled(
    path: &Path,
    tracks: Vec<Track>,
    spec: &DataSpec,
    mut notes: Vec<String>,
) -> Result<Source, DataError> {
    let fps = spec.fps.filter(|fps| fps.is_finite() && *fps > 0.0).ok_or_else(|| {
        let found = format!("{:?}", spec.fps);
        DataError::Value { what: "fps".into(), found, needed: "a positive number of steps per second" }
    })?;
    let first = tracks.iter().filter_map(|track| Some(track.messages.first()?.0)).max().unwrap_or(0);
    // What speaks once, as a latched topic does, holds until the end.
    let several = tracks.iter().filter(|track| track.messages.len() > 1);
    let last = several.filter_map(|track| Some(track.messages.last()?.0)).min().unwrap_or(first);
    if last < first {
        return Err(malformed(
            path,
            "one topic falls silent before another speaks: there is no time that all share".into(),
        ));
    }
    let steps = ((last - first) as f64 * 1e-9 * fps + 1e-6).floor() + 1.0;
    if steps > MOST_STEPS {
        return Err(malformed(
            path,
            format!("found {steps:.0} steps at {fps} Hz, needed at most {MOST_STEPS:.0}"),
        ));
    }
    let steps = steps as usize;
    notes.push(format!("topics are resampled at {fps} Hz: each step holds the newest message of each"));
    let mut columns = Vec::new();
    for track in tracks {
        let mut column = Column::new(track.name, track.messages[0].1.len());
        let (mut at, mut oldest) = (0, 0.0f64);
        for step in 0..steps {
            let now = first + (step as f64 * 1e9 / fps).round() as u64;
            while track.messages.get(at + 1).is_some_and(|message| message.0 <= now) {
                at += 1;
            }
            oldest = oldest.max(now.saturating_sub(track.messages[at].0) as f64 * 1e-9);
            track.messages[at].1.iter().for_each(|&value| column.push(value));
        }
        if oldest > (3.0 / fps).max(0.2) {
            notes.push(format!(
                "'{}': a message is held for {oldest:.2} s, where none newer came",
                column.name
            ));
        }
        column.names = Some(track.labels).filter(|labels| labels.len() == column.dim);
        columns.push(column);
    }
    let Some(action) = columns.pop() else { return Err(malformed(path, "no action".into())) };
    Gathered {
        kind: Kind::Mcap,
        labels: ["steps".into(), spec.episode_success.clone().unwrap_or_else(|| "episode_success".into())],
        success: None,
        obs: columns,
        action,
        lengths: vec![steps],
        fps: Some(fps),
        images: vec![],
        unused: vec![],
        notes,
        faults: vec![],
        tasks: None,
    }
    .source(spec)
}
