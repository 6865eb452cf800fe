//! Episodes from a numpy archive.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use npyz::npz::NpzArchive;
use npyz::zip::read::ZipFile;
use npyz::zip::result::ZipError;

use super::aside::open;
use super::budget::{Budget, product};
use super::episodes::{EpisodeArrays, Episodes};
use super::error::DataError;
use super::inputs::ObsInput;
use super::narrow::Watch;
use super::npy::{Array, Decoded, Element, decode};
use super::npy_header::Header;
use super::sets::DataSets;
use super::source::{Caution, Kind, Source};
use super::spec::{Columns, DataSpec};

/// Array of observations where the spec names none.
const OBS: &str = "obs";
/// Array of the row after each episode's last, in place of lengths.
const ENDS: &str = "episode_ends";
/// Array of successes where the spec names none.
const SUCCESS: &str = "episode_success";
/// Names of the observation's inputs and how many values each has, where the observations are several inputs side by side.
pub(super) const INPUT_NAMES: &str = "obs_inputs";
/// See [`INPUT_NAMES`].
pub(super) const INPUT_DIMS: &str = "obs_input_dims";

impl Episodes {
    /// Reads a .npz of episodes: obs [T, O] and action [T, A] (f4, f8 or integers), episode_len `[E]` (whole numbers that
    /// sum to T; episodes lie end to end), optionally episode_success `[E]` (bool) and fps (one number, steps per second).
    /// `spec` may name other arrays, for the observations several, which become named inputs side by side; the rest of
    /// the file is ignored. Episodes that `spec` leaves out are not checked.
    ///
    /// # Errors
    /// [`DataError`] if the file is missing or no archive, an array is missing or of the wrong dtype or rank, or the
    /// arrays do not fit together ([`Episodes::from_arrays`] lists how).
    pub fn load_npz(path: impl AsRef<Path>, spec: &DataSpec) -> Result<Self, DataError> {
        let source = read(path.as_ref(), spec)?;
        Ok(DataSets::alone(path.as_ref(), source, spec)?.episodes)
    }
}

/// Reads an archive without judging what is in it.
pub(super) fn read(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let mut archive = Archive::open(path)?;
    let columns = spec.obs.clone().unwrap_or_else(|| OBS.into());
    let (obs, obs_dim, mut obs_inputs) = archive.observations(columns.names())?;
    if let (Columns::One(_), Some(named)) = (&columns, archive.inputs()?) {
        obs_inputs = named;
    }
    let (action, action_dim) = archive.matrix(&spec.action)?;
    let (lengths, note) = archive.episodes(&spec.episode_len, action.len() / action_dim)?;
    let success_name = spec.episode_success.as_deref().unwrap_or(SUCCESS);
    let success = archive.optional_vector(success_name)?;
    let success = success.map(|flags| flags.into_iter().map(|flag| flag != 0.0).collect());
    let fps = match spec.fps {
        Some(fps) => Some(fps),
        None => archive.optional_scalar("fps")?,
    };
    let mut notes = archive.near_misses(&columns, spec);
    notes.extend(note);
    let mut named = |array: &str, given: &Option<Vec<String>>, dim: usize, own: bool| match given {
        Some(names) => Ok(Some(names.clone())),
        None => archive.names(array, dim, own, &mut notes),
    };
    let obs_names = named("obs_names", &spec.obs_names, obs_dim, columns.names() == [OBS])?;
    let action_names =
        named("action_names", &spec.action_names, action_dim, spec.action == DataSpec::default().action)?;
    Ok(Source {
        kind: Kind::Npz,
        labels: [
            columns.names().join(" + "),
            spec.action.clone(),
            spec.episode_len.clone(),
            success_name.to_owned(),
        ],
        arrays: EpisodeArrays {
            obs_names,
            action_names,
            obs,
            action,
            obs_dim,
            obs_inputs,
            action_dim,
            lengths,
            success,
            fps,
        },
        images: vec![],
        unused: vec![],
        notes,
        faults: vec![],
        fault_count: 0,
        tasks: None,
        cautions: archive.cautions,
    })
}

/// Puts observation columns [T, dim] side by side, in the order given: values [T, O], O and the inputs that they are.
pub(super) fn beside(
    mut parts: Vec<(&str, Vec<f32>, usize)>,
) -> Result<(Vec<f32>, usize, Vec<ObsInput>), DataError> {
    let alone = parts.len() == 1;
    let input =
        |&(name, _, dim): &(&str, Vec<f32>, usize)| ObsInput { name: ObsInput::key(name, alone), dim };
    let inputs: Vec<ObsInput> = parts.iter().map(input).collect();
    let width = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.2));
    let Some((first, data, dim)) = parts.first() else {
        return Err(DataError::Value {
            what: "obs".into(),
            found: "no array".into(),
            needed: "at least one",
        });
    };
    let rows = data.len() / dim;
    for (name, data, dim) in &parts {
        let found = data.len() / dim;
        if found != rows {
            let what = format!("{name} rows (as many as {first} has)");
            return Err(DataError::Count { what, found, needed: rows });
        }
    }
    if alone && let Some((_, data, _)) = parts.pop() {
        return Ok((data, width, inputs));
    }
    let mut obs = Vec::with_capacity(parts.iter().map(|part| part.1.len()).sum());
    for row in 0..rows {
        for (_, data, dim) in &parts {
            obs.extend_from_slice(&data[row * dim..(row + 1) * dim]);
        }
    }
    Ok((obs, width, inputs))
}

/// Reads one array of a .npz as f32, row-major; None where the file has no array of that name.
///
/// # Errors
/// [`DataError`] if the file is missing or no archive, or the array has another dtype or is truncated.
pub fn read_npz_f32(path: impl AsRef<Path>, array: &str) -> Result<Option<Array>, DataError> {
    let found = Archive::open(path.as_ref())?.read(array)?;
    Ok(found.map(|(shape, data)| Array { shape, data }))
}

/// Bytes of an array of names.
const MOST_TEXT: usize = 1 << 22;

/// An array's header, and what follows it.
fn entry<'z>(
    npz: &'z mut NpzArchive<BufReader<File>>,
    what: &str,
    array: &str,
) -> Result<Option<(Header, ZipFile<'z>)>, DataError> {
    let bad = |reason: String| DataError::NotNpy { what: what.to_string(), reason };
    let mut entry = match npz.zip_archive().by_name(&format!("{array}.npy")) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let header = Header::read(&mut entry).map_err(bad)?;
    Ok(Some((header, entry)))
}

struct Archive<'a> {
    path: &'a Path,
    npz: NpzArchive<BufReader<File>>,
    /// Memory of all arrays together.
    budget: Budget,
    /// What f32 does not keep of the arrays read so far.
    cautions: Vec<Caution>,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path) -> Result<Self, DataError> {
        let mut file = open(path)?;
        let read = |source| DataError::Read { path: path.to_path_buf(), source };
        let mut magic = Vec::new();
        file.by_ref().take(6).read_to_end(&mut magic).map_err(read)?;
        file.rewind().map_err(read)?;
        let budget = Budget::of(&file);
        let npz = NpzArchive::new(BufReader::new(file)).map_err(|error| {
            // The directory of a zip lies at its end, so a copy cut short still starts like one.
            let reason = match magic.as_slice() {
                [] => "the file is empty".to_string(),
                [b'P', b'K', 3, 4, ..] => format!("the zip is truncated or damaged ({error})"),
                b"\x93NUMPY" => "it is a single .npy array".to_string(),
                _ => "it does not begin as a zip archive does".to_string(),
            };
            DataError::NotNpz { path: path.to_path_buf(), reason }
        })?;
        Ok(Self { path, npz, budget, cautions: vec![] })
    }

    fn read<T: Element>(&mut self, array: &str) -> Result<Option<Decoded<T>>, DataError> {
        let (path, budget) = (self.path, &mut self.budget);
        let what = format!("{}: array '{array}'", path.display());
        let Some((header, entry)) = entry(&mut self.npz, &what, array)? else { return Ok(None) };
        let over = |source| DataError::Budget { path: path.to_path_buf(), source };
        let mut room = |count| budget.vec(&format!("array '{array}'"), count).map_err(over);
        decode(&what, &header, entry, &mut room).map(Some)
    }

    /// Whether an array's type holds more than f32 does.
    fn is_wide(&mut self, array: &str) -> Result<bool, DataError> {
        let what = format!("{}: array '{array}'", self.path.display());
        let Some((header, _)) = entry(&mut self.npz, &what, array)? else { return Ok(false) };
        Ok(matches!(header.element(), Some(('f', 8, _) | ('i' | 'u', 4 | 8, _))))
    }

    fn missing(&self, array: &str) -> DataError {
        let mut present: Vec<String> = self.npz.array_names().map(str::to_string).collect();
        present.sort();
        DataError::MissingArray { path: self.path.to_path_buf(), array: array.to_string(), present }
    }

    fn matrix(&mut self, array: &str) -> Result<(Vec<f32>, usize), DataError> {
        let (shape, data) = if self.is_wide(array)? {
            let (shape, data) = self.read::<f64>(array)?.ok_or_else(|| self.missing(array))?;
            let mut watch = Watch::new(shape.last().copied().unwrap_or(1));
            let over = |source| DataError::Budget { path: self.path.to_path_buf(), source };
            let mut narrow = self.budget.vec(&format!("array '{array}'"), data.len()).map_err(over)?;
            narrow.extend(data.iter().map(|&value| watch.narrow(value)));
            self.budget.give(8 * data.len() as u64);
            self.cautions.extend(watch.narrowed(array).into_iter().map(Caution::Narrowed));
            (shape, narrow)
        } else {
            self.read(array)?.ok_or_else(|| self.missing(array))?
        };
        match shape[..] {
            [_, dim] if dim > 0 => Ok((data, dim)),
            [episodes, steps, dim] if episodes * steps * dim > 0 => {
                let found = format!("the shape [{episodes}, {steps}, {dim}]");
                let needed = "[steps, values] with the episodes end to end; if this is [episodes, steps, values], store \
                    a.reshape(-1, a.shape[-1]) and episode_len = np.full(len(a), a.shape[1])";
                Err(DataError::Value { what: format!("array '{array}'"), found, needed })
            }
            _ => Err(DataError::Shape { array: array.to_string(), found: shape, needed: "[steps, values]" }),
        }
    }

    /// Arrays side by side: values [T, O], O and the inputs that they are.
    fn observations(&mut self, names: &[String]) -> Result<(Vec<f32>, usize, Vec<ObsInput>), DataError> {
        let mut parts = Vec::new();
        for name in names {
            let (data, dim) = self.matrix(name)?;
            parts.push((name.as_str(), data, dim));
        }
        beside(parts)
    }

    /// An array of texts; none where there is no such array.
    fn texts(&mut self, array: &str) -> Result<Option<Vec<String>>, DataError> {
        let what = format!("{}: array '{array}'", self.path.display());
        let Some((header, entry)) = entry(&mut self.npz, &what, array)? else { return Ok(None) };
        let wrong = |header: &Header| {
            let reason =
                format!("found {} {:?}, needed a list of texts (numpy's <U)", header.descr, header.shape);
            Err(DataError::NotNpy { what: what.clone(), reason })
        };
        // Characters of 4 bytes each: `<U12`.
        let (Some(('U', length, big)), &[count]) = (header.element(), &header.shape[..]) else {
            return wrong(&header);
        };
        let size = usize::try_from(count).ok().and_then(|count| product(&[count, length, 4]));
        let Some(size) = size.filter(|size| length > 0 && *size <= MOST_TEXT) else { return wrong(&header) };
        let mut bytes = Vec::new();
        let bad = |reason: String| DataError::NotNpy { what: what.clone(), reason };
        entry.take(size as u64).read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
        if bytes.len() < size {
            return Err(DataError::Truncated { what, found: bytes.len() as u64, needed: size as u64 });
        }
        let character = |b: &[u8; 4]| {
            let code = if big { u32::from_be_bytes(*b) } else { u32::from_le_bytes(*b) };
            char::from_u32(code)
        };
        let text = |row: &[u8]| {
            let text: Option<String> = row.as_chunks().0.iter().map(character).collect();
            text.map(|text| text.trim_end_matches('\0').to_string())
        };
        let texts: Option<Vec<String>> = bytes.chunks_exact(4 * length).map(text).collect();
        texts.map(Some).ok_or_else(|| bad("it holds what is no character".into()))
    }

    /// Names of values, one each. Names of another number are a fault where they stand beside the array they belong to
    /// (`own`), else they are those of another array, which is noted.
    fn names(
        &mut self,
        array: &str,
        dim: usize,
        own: bool,
        notes: &mut Vec<String>,
    ) -> Result<Option<Vec<String>>, DataError> {
        let Some(names) = self.texts(array)? else { return Ok(None) };
        if names.len() == dim {
            return Ok(Some(names));
        }
        if own {
            let what = format!("{array} entries (one per value)");
            return Err(DataError::Count { what, found: names.len(), needed: dim });
        }
        notes.push(format!(
            "{array}: left out, {} names for the {dim} values of the arrays chosen in their place",
            names.len()
        ));
        Ok(None)
    }

    /// Arrays that are not read and whose names look like misspelt names of arrays that would be.
    fn near_misses(&self, columns: &Columns, spec: &DataSpec) -> Vec<String> {
        let known = [SUCCESS, "fps", "obs_names", "action_names", INPUT_NAMES, INPUT_DIMS];
        let read = |name: &str| {
            known.contains(&name)
                || columns.names().iter().any(|c| c == name)
                || [Some(&spec.action), Some(&spec.episode_len), spec.episode_success.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|n| n == name)
        };
        let names: Vec<String> = self.npz.array_names().map(str::to_string).collect();
        let near = |name: &String| {
            let small = name.to_lowercase();
            // A short name is near to many.
            let most = |known: &str| if known.len() > 4 { 2 } else { 0 };
            known.into_iter().find(|k| edits(&small, k) <= most(k) && !names.iter().any(|n| n == k))
        };
        let all = names.iter().filter(|name| name.len() < 64 && !read(name));
        let line = |(name, known)| format!("the array {name:?} is not read; did you mean {known:?}?");
        all.filter_map(|name| near(name).map(|known| line((name, known)))).take(8).collect()
    }

    /// The named inputs that `obs` is put together from, where the archive says.
    fn inputs(&mut self) -> Result<Option<Vec<ObsInput>>, DataError> {
        let Some(names) = self.texts(INPUT_NAMES)? else { return Ok(None) };
        let dims = self.lengths(INPUT_DIMS)?;
        if dims.len() != names.len() {
            let what = format!("{INPUT_DIMS} entries (one per name in {INPUT_NAMES})");
            return Err(DataError::Count { what, found: dims.len(), needed: names.len() });
        }
        Ok(Some(names.into_iter().zip(dims).map(|(name, dim)| ObsInput { name, dim }).collect()))
    }

    fn optional_vector(&mut self, array: &str) -> Result<Option<Vec<f64>>, DataError> {
        match self.read(array)? {
            Some((shape, _)) if shape.len() != 1 => {
                Err(DataError::Shape { array: array.to_string(), found: shape, needed: "[episodes]" })
            }
            found => Ok(found.map(|(_, data)| data)),
        }
    }

    fn optional_scalar(&mut self, array: &str) -> Result<Option<f64>, DataError> {
        match self.read::<f64>(array)? {
            None => Ok(None),
            Some((shape, data)) => match data[..] {
                [value] => Ok(Some(value)),
                _ => Err(DataError::Shape { array: array.to_string(), found: shape, needed: "one number" }),
            },
        }
    }

    /// Steps of each episode, and what should be said of how they were found. Diffusion policy keeps the row after each episode's
    /// last; such ends cannot be taken for lengths, since they add up to more rows than there are.
    fn episodes(&mut self, array: &str, rows: usize) -> Result<(Vec<usize>, Option<String>), DataError> {
        let absent = !self.npz.array_names().any(|name| name == array);
        let ends = self.npz.array_names().any(|name| name == ENDS);
        let array = if absent && ends { ENDS } else { array };
        let found = self.lengths(array)?;
        let rising = found.windows(2).all(|pair| pair[0] < pair[1]);
        if found.len() > 1 && found[0] > 0 && rising && found.last() == Some(&rows) {
            let starts = std::iter::once(&0).chain(&found);
            let lengths = found.iter().zip(starts).map(|(end, start)| end - start).collect();
            let note = format!(
                "'{array}' holds where episodes end, not how long they are: lengths are the differences"
            );
            return Ok((lengths, Some(note)));
        }
        // The last rows themselves, which is one less.
        let other = found.iter().try_fold(0usize, |sum, n| sum.checked_add(*n)) != Some(rows);
        if found.len() > 1 && rising && other && rows > 0 && found.last() == Some(&(rows - 1)) {
            let starts = std::iter::once(0).chain(found.iter().map(|last| last + 1));
            let lengths = found.iter().zip(starts).map(|(last, start)| last + 1 - start).collect();
            let note = format!(
                "'{array}' holds each episode's last row, not how many it has: lengths are the differences"
            );
            return Ok((lengths, Some(note)));
        }
        Ok((found, None))
    }

    fn lengths(&mut self, array: &str) -> Result<Vec<usize>, DataError> {
        let values = self.optional_vector(array)?.ok_or_else(|| self.missing(array))?;
        let whole = |(episode, value): (usize, f64)| {
            // 2^53 is where f64 stops telling integers apart; no data set comes near.
            if value.fract() == 0.0 && (0.0..9.0e15).contains(&value) {
                return Ok(value as usize);
            }
            let what = format!("{array} of episode {episode}");
            Err(DataError::Value { what, found: value.to_string(), needed: "a whole number of steps" })
        };
        values.into_iter().enumerate().map(whole).collect()
    }
}

/// How many letters must be put in, taken out or changed to make one text of the other (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use npyz::npz::NpzWriter;
    use npyz::{AutoSerialize, WriterBuilder};
    use std::io::Write;
    use std::path::PathBuf;

    /// An archive that is written array by array.
    pub(in crate::data) struct Builder {
        folder: tempfile::TempDir,
        npz: NpzWriter<std::io::BufWriter<File>>,
    }

    impl Builder {
        pub(in crate::data) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let npz = NpzWriter::create(folder.path().join("a.npz")).unwrap();
            Self { folder, npz }
        }

        pub(in crate::data) fn add<T>(mut self, name: &str, shape: &[u64], values: &[T]) -> Self
        where
            T: AutoSerialize + Copy,
        {
            let array = self.npz.array(name, Default::default()).unwrap();
            let mut writer = array.default_dtype().shape(shape).begin_nd().unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
            self
        }

        fn raw(mut self, name: &str, bytes: &[u8]) -> Self {
            self.npz.zip_writer().start_file(name, Default::default()).unwrap();
            self.npz.zip_writer().write_all(bytes).unwrap();
            self
        }

        pub(in crate::data) fn close(mut self) -> (tempfile::TempDir, PathBuf) {
            self.npz.zip_writer().finish().unwrap();
            drop(self.npz);
            let path = self.folder.path().join("a.npz");
            (self.folder, path)
        }

        fn load(self, spec: &DataSpec) -> Result<Episodes, DataError> {
            let (_folder, path) = self.close();
            Episodes::load_npz(path, spec)
        }

        fn fault(self) -> String {
            self.load(&DataSpec::default()).unwrap_err().to_string()
        }
    }

    fn minimal() -> Builder {
        Builder::new().add("obs", &[3, 2], &[1.0f64, 2.0, 3.0, 4.0, 5.0, 6.0]).add(
            "action",
            &[3, 1],
            &[7.0f32; 3],
        )
    }

    #[test]
    fn the_shipped_demonstrations_load() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pusht.npz");
        let episodes = Episodes::load_npz(&path, &DataSpec::default()).unwrap();
        assert_eq!((episodes.count(), episodes.steps()), (480, 79_044));
        assert_eq!((episodes.obs_dim(), episodes.action_dim()), (36, 2));
        assert_eq!(episodes.fps(), Some(10.0));
        let successes = episodes.success().unwrap().iter().filter(|&&success| success).count();
        let spec = DataSpec { successful_only: true, fps: Some(20.0), ..DataSpec::default() };
        let kept = Episodes::load_npz(&path, &spec).unwrap();
        assert_eq!((kept.count(), kept.fps()), (successes, Some(20.0)));
    }

    #[test]
    fn single_arrays_are_read_or_known_to_be_missing() {
        let (_folder, path) = minimal().close();
        let obs = read_npz_f32(&path, "obs").unwrap().unwrap();
        assert_eq!((obs.shape, obs.data[5]), (vec![3, 2], 6.0));
        assert!(read_npz_f32(&path, "state").unwrap().is_none());
        assert!(matches!(
            read_npz_f32(path.join("x"), "obs"),
            Err(DataError::Read { .. } | DataError::NotFound { .. })
        ));
    }

    #[test]
    fn names_and_optional_arrays_follow_the_spec() {
        let spec = DataSpec { obs: Some("state".into()), fps: None, ..DataSpec::default() };
        let file = minimal().add("state", &[3, 1], &[1i16, 2, 3]).add("episode_len", &[2], &[2u8, 1]);
        let episodes = file.load(&spec).unwrap();
        assert_eq!((episodes.obs_dim(), episodes.fps(), episodes.success()), (1, None, None));
        let file = minimal().add("episode_len", &[2], &[2i64, 1]).add("fps", &[], &[30.0f64]);
        assert_eq!(file.load(&DataSpec::default()).unwrap().fps(), Some(30.0));
    }

    #[test]
    fn several_arrays_of_observations_are_named_inputs_side_by_side() {
        let spec = |names: &[&str]| DataSpec {
            obs: Some(Columns::Many(names.iter().map(|&name| name.into()).collect())),
            ..DataSpec::default()
        };
        let file = || {
            let goal = minimal().add("goal", &[3, 1], &[10i16, 20, 30]).add("short", &[2, 1], &[1i16, 2]);
            goal.add("episode_len", &[2], &[2u8, 1])
        };
        let episodes = file().load(&spec(&["goal", "obs"])).unwrap();
        assert_eq!(episodes.obs(), [10.0, 1.0, 2.0, 20.0, 3.0, 4.0, 30.0, 5.0, 6.0]);
        let inputs: Vec<_> = episodes.obs_inputs().iter().map(|i| (i.name.as_str(), i.dim)).collect();
        assert_eq!(inputs, [("observation/goal", 1), ("observation/obs", 2)]);
        assert_eq!(file().load(&spec(&["obs"])).unwrap().obs_inputs(), ObsInput::state(2));
        let fault = |names: &[&str]| file().load(&spec(names)).unwrap_err().to_string();
        assert_eq!(fault(&["obs", "short"]), "short rows (as many as obs has): found 2, needed 3");
        assert_eq!(fault(&[]), "obs: found no array, needed at least one");
        assert!(fault(&["obs", "obs"]).contains("found 'observation/obs' again"));
        assert!(fault(&["obs", "x"]).contains("no array 'x'"));
    }

    #[test]
    fn files_that_are_no_archive_are_named() {
        let spec = DataSpec::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.npz");
        assert!(matches!(Episodes::load_npz(&path, &spec), Err(DataError::NotFound { .. })));
        let fault = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = Episodes::load_npz(&path, &spec).unwrap_err();
            assert!(matches!(error, DataError::NotNpz { .. }), "{error}");
            error.to_string()
        };
        assert!(fault(b"").ends_with("the file is empty"));
        assert!(fault(b"some text").contains("b.npz: not a readable .npz archive"));
        assert!(fault(b"\x93NUMPY\x01\x00").ends_with("it is a single .npy array"));
        let (_kept, whole) = minimal().close();
        let bytes = std::fs::read(whole).unwrap();
        assert!(fault(&bytes[..bytes.len() / 2]).contains("truncated or damaged"));
        assert!(matches!(Episodes::load_npz(folder.path(), &spec), Err(DataError::Read { .. })));
    }

    #[test]
    fn arrays_that_do_not_serve_are_named() {
        let text = minimal().fault();
        assert!(text.contains("a.npz: no array 'episode_len'; present: action, obs. It is"), "{text}");
        let text = Builder::new().fault();
        assert!(text.ends_with("no array 'obs'; present: none"), "{text}");
        let text = Builder::new().add("obs", &[3], &[1.0f32; 3]).fault();
        assert_eq!(text, "obs: wrong shape: found [3], needed [steps, values]");
        let text = Builder::new().add("obs", &[3, 0], &[0.0f32; 0]).fault();
        assert_eq!(text, "obs: wrong shape: found [3, 0], needed [steps, values]");
        let header = "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 2), }\n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        let text = Builder::new().raw("obs.npy", &bytes).fault();
        assert!(text.contains("array 'obs': wrong dtype: found <c8"), "{text}");
        let bytes = String::from_utf8_lossy(&bytes[6..]).replace("<c8", "<f4").into_bytes();
        let bytes = [b"\x93NUMPY", bytes.as_slice(), &[0; 5]].concat();
        let text = Builder::new().raw("obs.npy", &bytes).fault();
        assert!(text.ends_with("array 'obs': truncated: found 5 bytes of data, needed 24"), "{text}");
        let text = Builder::new().raw("obs.npy", b"junk").fault();
        assert!(text.contains("array 'obs': not a readable .npy array"), "{text}");
        let text = minimal().add("episode_len", &[2, 1], &[2i64, 1]).fault();
        assert_eq!(text, "episode_len: wrong shape: found [2, 1], needed [episodes]");
        let text = minimal().add("episode_len", &[0], &[0i64; 0]).fault();
        assert_eq!(text, "episode_len: found no episode, needed at least one");
        let text = minimal().add("episode_len", &[2], &[4i64, -1]).fault();
        assert_eq!(text, "episode_len of episode 1: found -1, needed a whole number of steps");
        let text = minimal().add("episode_len", &[2], &[1.5f64, 1.5]).fault();
        assert!(text.starts_with("episode_len of episode 0: found 1.5"), "{text}");
        let text = minimal().add("episode_len", &[1], &[3i64]).add("fps", &[2], &[1.0f64, 2.0]).fault();
        assert_eq!(text, "fps: wrong shape: found [2], needed one number");
    }

    #[test]
    fn known_shapes_of_others_are_read_or_explained() {
        let ends = || minimal().add("episode_ends", &[2], &[2i64, 3]);
        let spec = DataSpec { episode_len: "episode_ends".into(), ..DataSpec::default() };
        for (file, spec) in [(ends(), DataSpec::default()), (ends(), spec.clone())] {
            let (_folder, path) = file.close();
            let source = read(&path, &spec).unwrap();
            assert_eq!(source.arrays.lengths, [2, 1]);
            assert!(
                source.notes[0].contains("'episode_ends' holds where episodes end"),
                "{:?}",
                source.notes
            );
        }
        // The last rows of all episodes, but not lengths that look like them.
        let (_folder, path) = minimal().add("episode_ends", &[2], &[1i64, 2]).close();
        assert_eq!(read(&path, &DataSpec::default()).unwrap().arrays.lengths, [1, 2]);
        let (_folder, path) = minimal().add("episode_ends", &[2], &[0i64, 2]).close();
        assert_eq!(read(&path, &DataSpec::default()).unwrap().arrays.lengths, [1, 2]);
        for (name, words) in [
            ("done", "episode_len = np.diff(np.flatnonzero(done), prepend=-1)"),
            ("episode_index", "episode_len = np.bincount(episode_index)"),
            ("episode_starts", "episode_len = np.diff(episode_starts, append=len(obs))"),
            ("other", "the number of steps of each episode"),
        ] {
            let text = minimal().add(name, &[3], &[0i64, 0, 1]).fault();
            assert!(text.contains("no array 'episode_len'") && text.contains(words), "{text}");
        }
        let text = Builder::new().add("observations", &[3, 2], &[1.0f32; 6]).fault();
        assert!(text.contains("no array 'obs'; present: observations. Say which arrays are what"), "{text}");
        // One end is one length.
        assert_eq!(minimal().add("episode_ends", &[1], &[3i64]).load(&spec).unwrap().lengths(), [3]);
        let text = Builder::new().add("obs", &[2, 3, 2], &[0.5f32; 12]).fault();
        assert!(
            text.contains("found the shape [2, 3, 2]") && text.contains("np.full(len(a), a.shape[1])"),
            "{text}"
        );
    }

    #[test]
    fn columns_that_f32_does_not_keep_are_refused() {
        let obs: Vec<f64> = (0..200).map(|t| 5_412_345.0 + (f64::from(t) / 50.0).sin()).collect();
        let file = |wide: bool| {
            let ticks: Vec<i64> = (0..200).map(|t| if wide { 1 << 40 | t } else { t }).collect();
            let file = Builder::new().add("obs", &[200, 1], &obs).add("action", &[200, 1], &ticks);
            file.add("episode_len", &[1], &[200i64])
        };
        let (_folder, path) = file(true).close();
        let found: Vec<_> = read(&path, &DataSpec::default()).unwrap().cautions;
        assert_eq!(found.iter().filter(|caution| caution.is_fatal()).count(), 2, "{found:?}");
        let text = file(false).fault();
        assert!(text.starts_with("obs[0]: f32 keeps steps of 0.5 of this column"), "{text}");
    }

    #[test]
    fn successful_only_needs_to_know_and_to_find() {
        let spec = DataSpec { successful_only: true, ..DataSpec::default() };
        let error = minimal().add("episode_len", &[2], &[2i64, 1]).load(&spec).unwrap_err();
        assert!(matches!(error, DataError::NoSuccessArray { .. }), "{error}");
        let file =
            minimal().add("episode_len", &[2], &[2i64, 1]).add("episode_success", &[2], &[false, false]);
        assert!(matches!(file.load(&spec), Err(DataError::NoSuccessfulEpisode { episodes: 2 })));
        let file =
            minimal().add("episode_len", &[2], &[2i64, 1]).add("episode_success", &[2], &[false, true]);
        assert_eq!(file.load(&spec).unwrap().obs(), [5.0, 6.0]);
    }

    #[test]
    fn names_that_do_not_fit_are_not_dropped_in_silence() {
        // Texts in numpy's own layout: UCS-4, little-endian.
        let texts = |names: &[&str]| {
            let text = format!("{{'descr': '<U1', 'fortran_order': False, 'shape': ({},), }}", names.len());
            let mut bytes = b"\x93NUMPY\x01\0".to_vec();
            bytes.extend((118u16).to_le_bytes());
            bytes.extend(format!("{text:<117}\n").bytes());
            names.iter().for_each(|n| bytes.extend(u32::from(n.chars().next().unwrap()).to_le_bytes()));
            bytes
        };
        let file = || minimal().add("episode_len", &[1], &[3i64]).add("state", &[3, 1], &[1.0f32; 3]);
        let named = file().raw("obs_names.npy", &texts(&["x", "y"])).load(&DataSpec::default()).unwrap();
        assert_eq!(named.obs_names().unwrap(), ["x", "y"]);
        let text = file().raw("obs_names.npy", &texts(&["x", "y", "z"])).fault();
        assert_eq!(text, "obs_names entries (one per value): found 3, needed 2");
        let text = file().raw("action_names.npy", &texts(&[])).fault();
        assert_eq!(text, "action_names entries (one per value): found 0, needed 1");
        let text = file().add("obs_names", &[2], &[1i64, 2]).fault();
        assert!(text.contains("array 'obs_names'") && text.contains("needed a list of texts"), "{text}");
        // Names of `obs` say nothing of another array.
        let spec = DataSpec { obs: Some("state".into()), ..DataSpec::default() };
        let (_folder, path) = file().raw("obs_names.npy", &texts(&["x", "y"])).close();
        let loaded = Episodes::load(&path, &spec).unwrap();
        assert_eq!(loaded.episodes.obs_names(), None);
        let note = "obs_names: left out, 2 names for the 1 values of the arrays chosen in their place";
        assert_eq!(loaded.notes, [note]);
        let (_folder, path) = file().add("Episode_sucess", &[1], &[true]).close();
        let notes = Episodes::load(&path, &DataSpec::default()).unwrap().notes;
        assert_eq!(notes, ["the array \"Episode_sucess\" is not read; did you mean \"episode_success\"?"]);
    }

    #[test]
    fn values_too_big_for_f32_are_not_let_in_as_infinity() {
        let file = Builder::new().add("obs", &[1, 1], &[1.0e300f64]).add("action", &[1, 1], &[0.0f32]);
        let text = file.add("episode_len", &[1], &[1i64]).fault();
        assert_eq!(text, "obs: found inf at row 0, column 0 (episode 0), needed finite numbers");
    }
}
