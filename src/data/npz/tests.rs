use super::*;
use npyz::npz::NpzWriter;
use npyz::{AutoSerialize, WriterBuilder};
use std::io::Write;
use std::path::PathBuf;

/// An archive that is written array by array.
pub(in crate::data) struct Builder {
    folder: tempfile::TempDir,
    npz: NpzWriter<std::io::BufWriter<std::fs::File>>,
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
        assert!(source.notes[0].contains("'episode_ends' holds where episodes end"), "{:?}", source.notes);
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
    let file = minimal().add("episode_len", &[2], &[2i64, 1]).add("episode_success", &[2], &[false, false]);
    assert!(matches!(file.load(&spec), Err(DataError::NoSuccessfulEpisode { episodes: 2 })));
    let file = minimal().add("episode_len", &[2], &[2i64, 1]).add("episode_success", &[2], &[false, true]);
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
