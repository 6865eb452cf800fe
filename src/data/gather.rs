//! From named columns of numbers, however a file keeps them, to a source of demonstrations.

use super::beside::beside;
use super::episodes::EpisodeArrays;
use super::error::DataError;
use super::narrow::Watch;
use super::source::{Caution, Kind, Skipped, Source, Tasks};
use super::spec::DataSpec;

/// A column [T, dim] that grows by values; they become f32, and what that costs is remembered.
#[derive(Debug)]
pub(super) struct Column {
    /// Its name in the file.
    pub name: String,
    /// Values of a row.
    pub dim: usize,
    /// The values, row-major.
    pub values: Vec<f32>,
    /// Names of a row's values, where the file has them.
    pub names: Option<Vec<String>>,
    watch: Watch,
}

impl Column {
    /// An empty one.
    pub fn new(name: impl Into<String>, dim: usize) -> Column {
        Column { name: name.into(), dim, values: Vec::new(), names: None, watch: Watch::new(dim) }
    }

    /// Appends a value.
    pub fn push(&mut self, value: f64) {
        let narrow = self.watch.narrow(value);
        self.values.push(narrow);
    }

    /// What f32 does not keep of it.
    pub fn cautions(&self) -> Vec<Caution> {
        self.watch.narrowed(&self.name).into_iter().map(Caution::Narrowed).collect()
    }
}

/// Rows of each episode, of flags that are set in an episode's last row. Rows after the last flag are an episode that was cut.
#[cfg(any(feature = "csv", feature = "hdf5"))]
pub(super) fn lengths_by_ends(flags: impl Iterator<Item = bool>) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut open = 0;
    for flag in flags {
        open += 1;
        if flag {
            lengths.push(std::mem::take(&mut open));
        }
    }
    lengths.extend((open > 0).then_some(open));
    lengths
}

/// What a reader has found.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What the file is.
    pub kind: Kind,
    /// Observations, at least one column, each as many rows as the action.
    pub obs: Vec<Column>,
    /// Actions.
    pub action: Column,
    /// Rows of each episode.
    pub lengths: Vec<usize>,
    /// What the file calls the lengths and the success.
    pub labels: [String; 2],
    /// Whether each episode succeeded, where the file says.
    pub success: Option<Vec<bool>>,
    /// Rows a second, where the file says.
    pub fps: Option<f64>,
    /// Pictures, which are not read.
    pub images: Vec<Skipped>,
    /// What else is not read.
    pub unused: Vec<Skipped>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What training refuses.
    pub faults: Vec<DataError>,
    /// Instructions.
    pub tasks: Option<Tasks>,
}

impl Gathered {
    /// Puts the observations side by side.
    pub fn source(self, spec: &DataSpec) -> Result<Source, DataError> {
        let mut cautions: Vec<Caution> = self.obs.iter().flat_map(Column::cautions).collect();
        cautions.extend(self.action.cautions());
        let obs_names = names(&self.obs);
        let columns: Vec<String> = self.obs.iter().map(|column| column.name.clone()).collect();
        let parts =
            self.obs.into_iter().zip(&columns).map(|(c, name)| (name.as_str(), c.values, c.dim)).collect();
        let (obs, obs_dim, obs_inputs) = beside(parts)?;
        let [lengths, success] = self.labels;
        Ok(Source {
            kind: self.kind,
            labels: [columns.join(" + "), self.action.name, lengths, success],
            arrays: EpisodeArrays {
                obs,
                action: self.action.values,
                obs_dim,
                obs_inputs,
                action_dim: self.action.dim,
                lengths: self.lengths,
                success: self.success,
                fps: spec.fps.or(self.fps),
                obs_names: spec.obs_names.clone().or(obs_names),
                action_names: spec.action_names.clone().or(self.action.names),
            },
            images: self.images,
            unused: self.unused,
            notes: self.notes,
            fault_count: self.faults.len(),
            faults: self.faults,
            tasks: self.tasks,
            cautions,
        })
    }
}

/// Names of columns side by side; where only some have names, the others are called `column[0]`, `column[1]`...
fn names(columns: &[Column]) -> Option<Vec<String>> {
    if columns.iter().all(|column| column.names.is_none()) {
        return None;
    }
    let of = |column: &Column| match &column.names {
        Some(names) => names.clone(),
        None if column.dim == 1 => vec![column.name.clone()],
        None => (0..column.dim).map(|n| format!("{}[{n}]", column.name)).collect(),
    };
    Some(columns.iter().flat_map(of).collect())
}
