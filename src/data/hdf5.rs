//! HDF5 files of demonstrations.
//!
//! ```text
//! data/demo_0/{actions, obs/...}            robomimic: an episode a group; control_freq in data's attribute env_args
//! episode_0/{actions, observations...}      Minari: one observation more than actions, the one after the last
//! {action, observations/...}                a file an episode, as ALOHA records; several, where D4RL's `terminals` and `timeouts` say so
//! ```
//!
//! Observations are all numeric data sets [T, D] below `obs` or `observations`, in the order of their names, unless `[data] obs`
//! names some; pictures are named and skipped.

use std::path::{Path, PathBuf};

use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};

use super::budget::Budget;
use super::error::{DataError, guarded};
use super::gather::{Column, Gathered, lengths_by_ends};
use super::number::Number;
use super::source::{Kind, Skipped, Source};
use super::spec::DataSpec;

/// What an action is called where `[data] action` says nothing else.
const ACTIONS: [&str; 2] = ["actions", "action"];
/// Where observations lie.
const OBS: [&str; 2] = ["obs", "observations"];
/// Flags of an episode's last row, where a file holds episodes end to end: where one ended by itself, and where its time was over.
const ENDS: [&str; 4] = ["terminals", "timeouts", "dones", "done"];
/// Groups within groups that are followed.
const DEEPEST: usize = 8;
/// Most episodes of a file.
const MOST: usize = 1 << 20;

/// Reads a file, whichever of the layouts it has.
pub(super) fn read(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    guarded(path, "HDF5", || File::open(path)?.read(spec))
}

/// Minari keeps its file below `data`.
pub(super) fn minari(folder: &Path) -> Option<PathBuf> {
    let files = ["data/main_data.hdf5", "main_data.hdf5"];
    files.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn malformed(path: &Path, reason: String) -> DataError {
    DataError::Malformed { path: path.into(), kind: "HDF5", reason }
}

/// A group and its path.
type Named = (String, Group);

/// An open file, and the memory that it may take.
struct File<'a> {
    path: &'a Path,
    file: Hdf5File,
    budget: Budget,
}

/// An array of the file.
struct Found {
    name: String,
    shape: Vec<usize>,
    data: Dataset,
}

impl Found {
    fn numbers(&self) -> Option<(Number, bool)> {
        number(self.data.dtype()).filter(|(number, _)| number.is_known())
    }

    /// Values of a row.
    fn dim(&self) -> Option<usize> {
        super::budget::product(self.shape.get(1..)?).filter(|dim| *dim > 0)
    }

    fn skipped(&self) -> Skipped {
        let dtype = match self.numbers() {
            Some((Number::Float(size), _)) => format!("float{}", 8 * size),
            Some((Number::Int(size), _)) => format!("int{}", 8 * size),
            Some((Number::Uint(size), _)) => format!("uint{}", 8 * size),
            None => "no numbers".into(),
        };
        let size: Vec<String> = self.shape.iter().skip(1).map(usize::to_string).collect();
        Skipped { name: self.name.clone(), dtype, size: size.join("x") }
    }
}

impl<'a> File<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        let budget = Budget::of(&super::aside::open(path)?);
        let most = usize::try_from(budget.left()).unwrap_or(usize::MAX);
        let options = OpenOptions::default()
            .with_max_read_bytes(most)
            .with_max_chunk_bytes(most.min(1 << 28))
            .with_chunk_cache_bytes(0)
            .with_max_object_header_bytes(1 << 24);
        let file = Hdf5File::open_with_options(path, options).map_err(|e| malformed(path, e.to_string()))?;
        Ok(File { path, file, budget })
    }

    fn said(&self) -> impl Fn(hdf5_reader::error::Error) -> DataError {
        let path = self.path.to_path_buf();
        move |error| malformed(&path, error.to_string())
    }

    fn read(mut self, spec: &DataSpec) -> Result<Source, DataError> {
        let (groups, fps) = self.episodes()?;
        let mut columns: Vec<Column> = Vec::new();
        let mut action: Option<Column> = None;
        let (mut lengths, mut success) = (Vec::new(), Vec::new());
        let (mut images, mut unused, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut one_more = 0;
        for (name, group) in &groups {
            let place = |what: &str| format!("{}{what}", if name == "/" { "" } else { name.as_str() });
            let command = self.action(group, name, spec)?;
            let (found, root) = self.observations(group)?;
            if action.is_none() {
                let chosen: Vec<&Found> = match &spec.obs {
                    Some(wanted) => wanted
                        .names()
                        .iter()
                        .map(|wanted| self.named(&found, root, wanted, &place("")))
                        .collect::<Result<_, _>>()?,
                    None => found.iter().filter(|f| f.shape.len() <= 2 && f.numbers().is_some()).collect(),
                };
                if chosen.is_empty() {
                    let needed = format!(
                        "{}: found no numeric observations below 'obs' or 'observations'",
                        place("/")
                    );
                    return Err(malformed(self.path, needed));
                }
                let taken = |f: &Found| chosen.iter().any(|chosen| chosen.name == f.name);
                let (pictures, others): (Vec<&Found>, Vec<&Found>) =
                    found.iter().filter(|f| !taken(f)).partition(|f| f.shape.len() > 2);
                images = pictures.into_iter().map(Found::skipped).collect();
                unused = others.into_iter().map(Found::skipped).collect();
                columns = chosen.iter().map(|f| Column::new(f.name.clone(), f.dim().unwrap_or(1))).collect();
                action = Some(Column::new(command.name.clone(), command.dim().unwrap_or(1)));
                if spec.obs.is_none() {
                    let names: Vec<&str> = chosen.iter().map(|f| f.name.as_str()).collect();
                    notes.push(format!("observations: {}; [data] obs chooses others", names.join(", ")));
                }
            }
            let rows = command.shape[0];
            for column in &mut columns {
                let Some(found) = found.iter().find(|f| f.name == column.name) else {
                    return Err(malformed(
                        self.path,
                        format!("{}: no observation '{}'", place("/"), column.name),
                    ));
                };
                let there = found.shape.first().copied().unwrap_or(0);
                // The observation after the last action has no action of its own.
                if there != rows && there != rows + 1 {
                    let what = format!(
                        "{}: rows of '{}' (as many as actions, or one more)",
                        place("/"),
                        column.name
                    );
                    return Err(DataError::Count { what, found: there, needed: rows });
                }
                one_more += usize::from(there == rows + 1);
                self.append(found, rows, column, &place("/"))?;
            }
            if let Some(action) = &mut action {
                self.append(&command, rows, action, &place("/"))?;
            }
            if let Some(wanted) = &spec.episode_success {
                success.push(self.succeeded(group, wanted, &place("/"))?);
            }
            match self.ends(group, rows)? {
                Some((flags, by)) if groups.len() == 1 => {
                    notes.push(format!("episodes end where {by} is set"));
                    lengths.extend(flags);
                }
                _ => lengths.push(rows),
            }
        }
        let Some(action) = action else {
            let reason = "found no episodes: neither data/demo_0 (robomimic) nor episode_0 (Minari) nor an action at the root";
            return Err(malformed(self.path, reason.into()));
        };
        if groups.len() == 1 && lengths.iter().sum::<usize>() < action.dim {
            notes.push(format!(
                "fewer steps ({}) than values of an action ({}): Julia and MATLAB write arrays transposed; transpose them if this \
                 file is theirs",
                lengths.iter().sum::<usize>(),
                action.dim
            ));
        }
        if one_more > 0 {
            notes.push("episodes hold one observation more than actions: the last, which follows the last action, is left out".into());
        }
        Gathered {
            kind: Kind::Hdf5,
            labels: [
                "episodes".into(),
                spec.episode_success.clone().unwrap_or_else(|| "episode_success".into()),
            ],
            success: spec.episode_success.as_ref().map(|_| success),
            obs: columns,
            action,
            lengths,
            fps,
            images,
            unused,
            notes,
            faults: vec![],
            tasks: None,
        }
        .source(spec)
    }

    /// The groups that are an episode each, in the order of their numbers, and the rate where the file says.
    fn episodes(&self) -> Result<(Vec<Named>, Option<f64>), DataError> {
        let said = self.said();
        let root = self.file.root_group().map_err(&said)?;
        let (groups, arrays) = root.member_names().map_err(&said)?;
        if ACTIONS.iter().any(|name| arrays.iter().any(|array| array == name)) {
            return Ok((vec![("/".into(), root)], None));
        }
        let (parent, prefix, names) = match groups.iter().any(|group| group == "data") {
            true => {
                let data = root.group("data").map_err(&said)?;
                let (names, _) = data.member_names().map_err(&said)?;
                (data, "/data", names)
            }
            false => (root, "", groups),
        };
        let mut numbered: Vec<(usize, String)> = Vec::new();
        for name in names {
            let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
            if let (true, Ok(number)) = (name.starts_with(['d', 'e', 't']), digits.parse()) {
                numbered.push((number, name));
            }
        }
        numbered.sort();
        if numbered.len() > MOST {
            return Err(malformed(
                self.path,
                format!("found {} episodes, needed at most {MOST}", numbered.len()),
            ));
        }
        let group = |(_, name): (usize, String)| {
            let group = parent.group(&name).map_err(&said)?;
            Ok((format!("{prefix}/{name}"), group))
        };
        let episodes = numbered.into_iter().map(group).collect::<Result<_, DataError>>()?;
        // robomimic keeps how its environment was made.
        let arguments = parent.attribute("env_args").and_then(|attribute| attribute.read_string()).ok();
        let arguments = arguments.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let fps = arguments.and_then(|value| value["env_kwargs"]["control_freq"].as_f64());
        Ok((episodes, fps.filter(|fps| fps.is_finite() && *fps > 0.0)))
    }

    fn action(&self, group: &Group, name: &str, spec: &DataSpec) -> Result<Found, DataError> {
        let mut names = vec![spec.action.as_str()];
        if spec.action == DataSpec::default().action {
            names = ACTIONS.to_vec();
        }
        for wanted in &names {
            if let Some(found) = self.array(group, wanted)? {
                if found.numbers().is_none() || found.dim().is_none() {
                    let reason = format!(
                        "{name}/{wanted}: found {} of the shape {:?}, needed numbers [T, A]",
                        found.skipped().dtype,
                        found.shape
                    );
                    return Err(malformed(self.path, reason));
                }
                return Ok(found);
            }
        }
        let (groups, arrays) = group.member_names().map_err(self.said())?;
        let present: Vec<String> =
            arrays.into_iter().chain(groups.into_iter().map(|name| name + "/")).collect();
        Err(malformed(
            self.path,
            format!("{name}: no '{}'; present: {}", names.join("' or '"), present.join(", ")),
        ))
    }

    /// An array at a path within a group; none where there is none.
    fn array(&self, group: &Group, path: &str) -> Result<Option<Found>, DataError> {
        let mut at: Option<Group> = None;
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let Some((last, folders)) = parts.split_last() else { return Ok(None) };
        for part in folders {
            match at.as_ref().unwrap_or(group).group(part) {
                Ok(inner) => at = Some(inner),
                Err(_) => return Ok(None),
            }
        }
        let parent = at.as_ref().unwrap_or(group);
        let (_, arrays) = parent.member_names().map_err(self.said())?;
        if !arrays.iter().any(|array| array == last) {
            return Ok(None);
        }
        let data = parent.dataset(last).map_err(self.said())?;
        self.found(path.into(), data).map(Some)
    }

    fn found(&self, name: String, data: Dataset) -> Result<Found, DataError> {
        let shape: Option<Vec<usize>> =
            data.shape().iter().map(|&extent| usize::try_from(extent).ok()).collect();
        match shape.filter(|shape| super::budget::product(shape).is_some()) {
            Some(shape) => Ok(Found { name, shape, data }),
            None => Err(malformed(self.path, format!("{name}: the shape {:?} overflows", data.shape()))),
        }
    }

    /// The arrays of an episode's observations, and what they lie below.
    fn observations(&self, group: &Group) -> Result<(Vec<Found>, &'static str), DataError> {
        let (groups, arrays) = group.member_names().map_err(self.said())?;
        let mut found = Vec::new();
        for root in OBS {
            if arrays.iter().any(|array| array == root) {
                found.push(self.found(root.into(), group.dataset(root).map_err(self.said())?)?);
                return Ok((found, root));
            }
            if groups.iter().any(|inner| inner == root) {
                self.below(&group.group(root).map_err(self.said())?, "", 0, &mut found)?;
                return Ok((found, root));
            }
        }
        Ok((found, OBS[0]))
    }

    fn below(
        &self,
        group: &Group,
        prefix: &str,
        depth: usize,
        found: &mut Vec<Found>,
    ) -> Result<(), DataError> {
        let (mut groups, mut arrays) = group.member_names().map_err(self.said())?;
        groups.sort();
        arrays.sort();
        for name in arrays {
            let data = group.dataset(&name).map_err(self.said())?;
            found.push(self.found(format!("{prefix}{name}"), data)?);
        }
        for name in groups {
            if depth >= DEEPEST {
                return Err(malformed(self.path, format!("groups within groups, deeper than {DEEPEST}")));
            }
            self.below(
                &group.group(&name).map_err(self.said())?,
                &format!("{prefix}{name}/"),
                depth + 1,
                found,
            )?;
        }
        Ok(())
    }

    fn named<'f>(
        &self,
        found: &'f [Found],
        root: &str,
        wanted: &str,
        place: &str,
    ) -> Result<&'f Found, DataError> {
        let short = wanted.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')).unwrap_or(wanted);
        let present = || found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
        match found.iter().find(|f| f.name == short) {
            Some(found) if found.numbers().is_some() && found.dim().is_some() => Ok(found),
            Some(found) => {
                let reason = format!(
                    "{place}/{root}/{short}: found {} of the shape {:?}, needed numbers [T, D]",
                    found.skipped().dtype,
                    found.shape
                );
                Err(malformed(self.path, reason))
            }
            None => Err(malformed(
                self.path,
                format!("{place}: no observation '{short}'; present: {}", present()),
            )),
        }
    }

    /// Appends the first rows of an array to a column.
    fn append(
        &mut self,
        found: &Found,
        rows: usize,
        column: &mut Column,
        place: &str,
    ) -> Result<(), DataError> {
        let (Some((number, big)), Some(dim)) = (found.numbers(), found.dim()) else {
            return Err(malformed(self.path, format!("{place}: '{}' holds no numbers [T, D]", found.name)));
        };
        if dim != column.dim {
            let what = format!("{place}: values of '{}' (as many as in the first episode)", found.name);
            return Err(DataError::Count { what, found: dim, needed: column.dim });
        }
        let over = |source| DataError::Budget { path: self.path.to_path_buf(), source };
        let bytes = (found.shape.iter().product::<usize>() as u64).saturating_mul(number.size() as u64);
        // The array itself, for a while, and its values.
        let (values, what) = (4 * (rows * dim) as u64, format!("'{}'", found.name));
        self.budget.take(&what, values.saturating_add(bytes)).map_err(over)?;
        let raw = found.data.read_raw_bytes().map_err(self.said())?;
        let wanted = rows.saturating_mul(dim).saturating_mul(number.size());
        let Some(raw) = raw.get(..wanted) else {
            return Err(malformed(self.path, format!("{place}: '{}' ends early", found.name)));
        };
        number.each(raw, big, |value| column.push(value));
        self.budget.give(bytes);
        Ok(())
    }

    /// Rows of each episode, where flags beside the actions say that there are several, as in D4RL's files; and the flags' names.
    fn ends(&mut self, group: &Group, rows: usize) -> Result<Option<(Vec<usize>, String)>, DataError> {
        let mut set = vec![false; rows];
        let mut names = Vec::new();
        for name in ENDS {
            let Some(found) = self.array(group, name)? else { continue };
            if found.numbers().is_none() || found.shape != [rows] && found.shape != [rows, 1] {
                continue;
            }
            let mut flags = Column::new(name, 1);
            self.append(&found, rows, &mut flags, "/")?;
            set.iter_mut().zip(&flags.values).for_each(|(set, flag)| *set |= *flag != 0.0);
            names.push(format!("'{name}'"));
        }
        // A flag at the very end, or none, is one episode.
        let inside = set.iter().rev().skip(1).any(|flag| *flag);
        Ok(inside.then(|| (lengths_by_ends(set.into_iter()), names.join(" or "))))
    }

    fn succeeded(&mut self, group: &Group, wanted: &str, place: &str) -> Result<bool, DataError> {
        let Some(found) = self.array(group, wanted)? else {
            return Err(malformed(
                self.path,
                format!("{place}: no '{wanted}' that says whether the episode succeeded"),
            ));
        };
        let mut flags = Column::new(wanted, found.dim().unwrap_or(1));
        let rows = found.shape.first().copied().unwrap_or(0);
        self.append(&found, rows, &mut flags, place)?;
        Ok(flags.values.iter().any(|flag| *flag != 0.0))
    }
}

/// A type as numbers, and whether their bytes are in big-endian order. Flags are an enum of bytes.
fn number(dtype: &Datatype) -> Option<(Number, bool)> {
    use hdf5_reader::error::ByteOrder::BigEndian;
    match dtype {
        Datatype::FloatingPoint { size, byte_order } => {
            Some((Number::Float((*size).into()), *byte_order == BigEndian))
        }
        Datatype::FixedPoint { size, signed: true, byte_order } => {
            Some((Number::Int((*size).into()), *byte_order == BigEndian))
        }
        Datatype::FixedPoint { size, signed: false, byte_order } => {
            Some((Number::Uint((*size).into()), *byte_order == BigEndian))
        }
        Datatype::Enum { base, .. } => number(base),
        _ => None,
    }
}
