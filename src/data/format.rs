//! Which kind of data set a path is: by its first bytes, or by what lies in a folder. What is known and not read is named, with a
//! way to make it readable.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::error::DataError;
use super::source::Source;
use super::spec::DataSpec;
use super::{lerobot, npz};

/// How much of a file is looked at.
const HEAD: usize = 4096;

/// A path before it is read.
struct Probe<'a> {
    path: &'a Path,
    folder: bool,
    /// The file's first bytes.
    head: Vec<u8>,
    /// The file's last bytes.
    tail: Vec<u8>,
}

type Reader = fn(&Path, &DataSpec) -> Result<Source, DataError>;

/// What is done with a kind of data set.
enum Way {
    Read(Reader),
    /// What a user can do.
    Not(&'static str),
}

/// A kind of data set.
struct Format {
    name: &'static str,
    is: fn(&Probe<'_>) -> bool,
    way: Way,
}

use Way::{Not, Read as By};

const DATA_FRAME: &str = "read it with pandas or pyarrow and save obs [T, O], action [T, A] and episode_len [E] by numpy.savez, or \
                          write a LeRobot directory, which has meta/info.json beside its parquet files";
const ARRAYS: &str =
    "load it in Python and save obs [T, O], action [T, A] and episode_len [E] by numpy.savez";

#[cfg(feature = "hdf5")]
const MINARI: Way = By(|folder, spec| match super::hdf5::minari(folder) {
    Some(file) => super::hdf5::read(&file, spec),
    None => Err(DataError::NotDataSet { path: folder.into() }),
});
#[cfg(feature = "hdf5")]
const HDF5: Way = By(super::hdf5::read);
#[cfg(not(feature = "hdf5"))]
const MINARI: Way = HDF5;
#[cfg(not(feature = "hdf5"))]
const HDF5: Way = Not("this program was built without its reader: build it with --features hdf5");
#[cfg(feature = "zarr")]
const ZARR: Way = By(super::zarr::read);
#[cfg(not(feature = "zarr"))]
const ZARR: Way = Not("this program was built without its reader: build it with --features zarr");
#[cfg(feature = "mcap")]
const MCAP: Way = By(super::mcap::read);
#[cfg(not(feature = "mcap"))]
const MCAP: Way = Not("this program was built without its reader: build it with --features mcap");
#[cfg(feature = "csv")]
const CSV: Way = By(super::csv::read);
#[cfg(not(feature = "csv"))]
const CSV: Way = Not("this program was built without its reader: build it with --features csv");

/// All of them; the first that fits.
const FORMATS: &[Format] = &[
    Format {
        name: "an empty file",
        is: |p| !p.folder && p.head.is_empty(),
        way: Not("nothing was written into it, or its copy failed: write or fetch it again"),
    },
    Format {
        name: "a LeRobot directory",
        is: |p| p.folder && lerobot::is_dataset(p.path),
        way: By(lerobot::read),
    },
    Format {
        name: "a folder of parquet files without meta/info.json",
        is: |p| p.folder && p.has("meta/tasks.parquet"),
        way: Not("meta/info.json is missing: copy the whole LeRobot directory"),
    },
    Format {
        name: "a LeRobot directory's part",
        is: |p| p.folder && p.path.parent().is_some_and(lerobot::is_dataset),
        way: Not("give the folder above it, which has meta/info.json"),
    },
    Format {
        name: "an RLDS data set of TensorFlow",
        is: |p| p.folder && p.has("dataset_info.json") && p.has("features.json"),
        way: Not(ARRAYS),
    },
    Format {
        name: "a rosbag folder of SQLite files",
        is: |p| p.folder && p.has("metadata.yaml") && p.holds("db3"),
        way: Not("turn it into MCAP: ros2 bag convert"),
    },
    Format {
        name: "a rosbag folder of MCAP files",
        is: |p| p.folder && p.has("metadata.yaml") && p.holds("mcap"),
        way: MCAP,
    },
    Format {
        name: "a zarr store",
        is: |p| p.folder && (p.has(".zgroup") || p.has("zarr.json") || p.has("meta/episode_ends/.zarray")),
        way: ZARR,
    },
    Format {
        name: "a folder of Minari",
        is: |p| p.folder && (p.has("data/main_data.hdf5") || p.has("main_data.hdf5")),
        way: MINARI,
    },
    Format {
        name: "a data set of Minari in Arrow files",
        is: |p| p.folder && (p.has("data/metadata.json") || p.has("metadata.json")),
        way: Not("write it as HDF5: minari, data_format = \"hdf5\""),
    },
    Format {
        name: "a folder of data sets",
        is: |p| {
            p.folder && ["npz", "hdf5", "h5", "csv", "mcap", "parquet"].iter().any(|ending| p.holds(ending))
        },
        way: Not("give the files in it one by one: --data a --data b"),
    },
    Format {
        name: "a torch checkpoint (.pt)",
        is: |p| p.zip() && p.contains(b"/data.pkl"),
        way: Not("torch.load it and save its arrays by numpy.savez"),
    },
    Format { name: "a zarr store in a zip archive", is: |p| p.zarr_zip(), way: ZARR },
    Format {
        name: "an Excel workbook",
        is: |p| p.zip() && p.contains(b"[Content_Types].xml"),
        way: Not("save its sheet as CSV"),
    },
    Format {
        name: "a zip archive without numpy arrays",
        is: |p| p.zip() && p.head.len() > 30 && !p.contains(b".npy"),
        way: Not("unpack it, and give what lies in it"),
    },
    Format { name: "a numpy archive", is: |p| p.zip(), way: By(npz::read) },
    Format { name: "an MCAP recording", is: |p| p.begins(b"\x89MCAP0\r\n"), way: MCAP },
    // HDF5 inside, in which its arrays lie transposed.
    Format {
        name: "a MATLAB file of version 7.3",
        is: |p| p.begins(b"MATLAB 7.3"),
        way: Not("load it by h5py, transpose every array, and save them by numpy.savez"),
    },
    Format {
        name: "an HDF5 file",
        is: |p| p.begins(b"\x89HDF\r\n\x1a\n") || p.head.get(512..520) == Some(b"\x89HDF\r\n\x1a\n"),
        way: HDF5,
    },
    Format {
        name: "a single .npy array",
        is: |p| p.begins(b"\x93NUMPY"),
        way: Not("put obs, action and episode_len into one archive by numpy.savez"),
    },
    Format { name: "a parquet file", is: |p| p.begins(b"PAR1"), way: Not(DATA_FRAME) },
    Format { name: "an Arrow file", is: |p| p.begins(b"ARROW1") || p.begins(b"FEA1"), way: Not(DATA_FRAME) },
    Format {
        name: "a recording of rerun (.rrd)",
        is: |p| p.begins(b"RRF") || p.begins(b"RRIO"),
        way: Not("export it with rerun's dataframe API in Python and save its arrays by numpy.savez"),
    },
    Format {
        name: "a ROS 1 bag",
        is: |p| p.begins(b"#ROSBAG"),
        way: Not("turn it into MCAP: rosbags-convert, or mcap convert"),
    },
    Format {
        name: "an SQLite file, as rosbag2 writes (.db3)",
        is: |p| p.begins(b"SQLite format 3\0"),
        way: Not("turn it into MCAP: ros2 bag convert"),
    },
    Format {
        name: "a MATLAB file",
        is: |p| p.begins(b"MATLAB "),
        way: Not("load it by scipy.io.loadmat and save its arrays by numpy.savez"),
    },
    Format {
        name: "a pickle",
        is: |p| p.pickle(),
        way: Not("load it in Python and save obs [T, O], action [T, A] and episode_len [E] by numpy.savez"),
    },
    Format { name: "a TFRecord", is: |p| p.tfrecord(), way: Not(ARRAYS) },
    Format {
        name: "a safetensors file",
        is: |p| p.safetensors(),
        way: Not("it holds weights or tensors, no demonstrations: save them by numpy.savez"),
    },
    Format { name: "a gzip file", is: |p| p.begins(b"\x1f\x8b"), way: Not("unpack it first") },
    Format { name: "a zstd file", is: |p| p.begins(b"\x28\xb5\x2f\xfd"), way: Not("unpack it first") },
    Format { name: "a bzip2 file", is: |p| p.begins(b"BZh"), way: Not("unpack it first") },
    Format { name: "an xz file", is: |p| p.begins(b"\xfd7zXZ\0"), way: Not("unpack it first") },
    Format {
        name: "a tar archive",
        is: |p| p.head.get(257..262) == Some(b"ustar"),
        way: Not("unpack it first"),
    },
    Format {
        name: "a video",
        is: |p| p.head.get(4..8) == Some(b"ftyp"),
        way: Not("it holds no states or actions"),
    },
    Format {
        name: "a Git LFS pointer",
        is: |p| p.begins(b"version https://git-lfs"),
        way: Not("fetch the file itself: git lfs pull"),
    },
    Format {
        name: "a web page",
        is: |p| p.begins(b"<!DOCTYPE") || p.begins(b"<!doctype") || p.begins(b"<html"),
        way: Not("the download failed: fetch the file itself"),
    },
    Format { name: "a JSON file", is: |p| p.text() && (p.begins(b"{") || p.begins(b"[")), way: Not(ARRAYS) },
    Format { name: "a table of text (CSV)", is: |p| p.text() && p.table(), way: CSV },
    Format {
        name: "a text in UTF-16",
        is: |p| p.begins(b"\xff\xfe") || p.begins(b"\xfe\xff"),
        way: Not("save it as UTF-8"),
    },
    Format {
        name: "a text that is no table",
        // What is called an archive is a damaged one.
        is: |p| p.path.extension().is_none_or(|ending| ending != "npz") && p.text() && p.sentences(),
        way: Not("a CSV has the columns' names in its first line, with commas, semicolons or tabs between"),
    },
];

/// Reads whatever it is.
pub(super) fn read(path: &Path, spec: &DataSpec) -> Result<Source, DataError> {
    let probe = Probe::of(path)?;
    match FORMATS.iter().find(|format| (format.is)(&probe)) {
        Some(Format { way: By(reader), .. }) => reader(path, spec),
        Some(Format { name, way: Not(way), .. }) => {
            Err(DataError::Unread { path: path.into(), found: name, way })
        }
        None if probe.folder => Err(DataError::NotDataSet { path: path.into() }),
        // Says what is wrong with it.
        None => npz::read(path, spec),
    }
}

impl<'a> Probe<'a> {
    fn of(path: &'a Path) -> Result<Probe<'a>, DataError> {
        let mut probe = Probe { path, folder: path.is_dir(), head: vec![], tail: vec![] };
        if !probe.folder {
            let mut file = super::aside::open(path)?;
            probe.ends(&mut file).map_err(|source| DataError::Read { path: path.into(), source })?;
        }
        Ok(probe)
    }

    fn ends(&mut self, file: &mut File) -> io::Result<()> {
        file.by_ref().take(HEAD as u64).read_to_end(&mut self.head)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(HEAD as u64)))?;
        file.take(HEAD as u64).read_to_end(&mut self.tail)?;
        Ok(())
    }

    fn begins(&self, magic: &[u8]) -> bool {
        self.head.starts_with(magic)
    }

    /// Whether a name stands at either end of the file.
    fn contains(&self, name: &[u8]) -> bool {
        [&self.head, &self.tail].iter().any(|part| part.windows(name.len()).any(|window| window == name))
    }

    fn has(&self, name: &str) -> bool {
        self.path.join(name).is_file()
    }

    /// Whether a folder holds files of an ending.
    fn holds(&self, ending: &str) -> bool {
        let mut entries = std::fs::read_dir(self.path).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().extension().is_some_and(|found| found == ending))
    }

    fn zip(&self) -> bool {
        self.begins(b"PK\x03\x04") || self.begins(b"PK\x05\x06")
    }

    /// Its names may lie anywhere in a large archive; one of numpy arrays is not searched.
    fn zarr_zip(&self) -> bool {
        let at_the_ends =
            || [&b".zgroup"[..], b"zarr.json", b".zarray"].iter().any(|name| self.contains(name));
        #[cfg(feature = "zarr")]
        let inside = || super::zarr::is_zip(self.path);
        #[cfg(not(feature = "zarr"))]
        let inside = || false;
        self.zip() && !self.contains(b".npy") && (at_the_ends() || inside())
    }

    fn text(&self) -> bool {
        !self.head.is_empty() && !self.head.contains(&0)
    }

    /// Characters of text and nothing else, as far as it was looked at.
    fn sentences(&self) -> bool {
        let known = match std::str::from_utf8(&self.head) {
            Ok(text) => text,
            Err(error) if error.error_len().is_some() => return false,
            // The last character was cut.
            Err(error) => std::str::from_utf8(&self.head[..error.valid_up_to()]).unwrap_or_default(),
        };
        !known.chars().any(|c| c.is_control() && !c.is_whitespace())
    }

    /// Names with a mark between them in the first line, and as many marks in the second.
    fn table(&self) -> bool {
        let end = self.head.iter().rposition(|&byte| byte == b'\n').unwrap_or(self.head.len());
        let Ok(text) = std::str::from_utf8(&self.head[..end]) else { return false };
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let (Some(first), second) = (lines.next(), lines.next()) else { return false };
        [',', ';', '\t'].into_iter().any(|mark| {
            let count = first.matches(mark).count();
            count > 0 && second.is_none_or(|line| line.matches(mark).count() == count)
        })
    }

    /// Protocols 2 to 5 begin with their number; older ones and the end of all are single letters.
    fn pickle(&self) -> bool {
        let begins = matches!(self.head.as_slice(), [0x80, 2..=5, ..] | [b'(' | b']' | b'}', ..]);
        begins && !self.folder && self.tail.last() == Some(&b'.')
    }

    /// A length, 4 bytes of its checksum, and that many bytes of a message, which begins with a field.
    fn tfrecord(&self) -> bool {
        let Some((length, rest)) = self.head.split_first_chunk::<8>() else { return false };
        let Some((sum, rest)) = rest.split_first_chunk::<4>() else { return false };
        let masked = crc32c(length).rotate_right(15).wrapping_add(0xa282_ead8);
        !rest.is_empty() && masked == u32::from_le_bytes(*sum)
    }

    fn safetensors(&self) -> bool {
        let Some((length, rest)) = self.head.split_first_chunk::<8>() else { return false };
        (2..1 << 32).contains(&u64::from_le_bytes(*length)) && rest.starts_with(b"{\"")
    }
}

/// The checksum of Castagnoli, bit by bit: it is wanted for 8 bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(folder: &Path, name: &str, bytes: &[u8]) -> String {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&path, &DataSpec::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let mut record = 3u64.to_le_bytes().to_vec();
        record.extend(crc32c(&record).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        record.extend(*b"\x0a\x01\x00\0\0\0\0");
        let safetensors = [&16u64.to_le_bytes()[..], b"{\"__metadata__\":{}}"].concat();
        for (bytes, words) in [
            (&b"\x80\x05\x95\x10\0\0\0\0\0\0\0]\x94."[..], "found a pickle: load it in Python and save"),
            (b"PAR1....PAR1", "found a parquet file: "),
            (b"ARROW1\0\0", "found an Arrow file"),
            (b"RRF2\0\0\0\0", "found a recording of rerun (.rrd)"),
            (b"RRIO\0\0\0\0", "found a recording of rerun (.rrd)"),
            (b"#ROSBAG V2.0\n", "found a ROS 1 bag"),
            (b"SQLite format 3\0", "found an SQLite file"),
            (b"MATLAB 5.0 MAT-file", "found a MATLAB file"),
            (b"\x93NUMPY\x01\x00", "found a single .npy array"),
            (b"\x1f\x8b\x08\0", "found a gzip file"),
            (&tar, "found a tar archive"),
            (&record, "found a TFRecord"),
            (&safetensors, "found a safetensors file"),
            (b"{\"episodes\": []}", "found a JSON file"),
            (b"PK\x03\x04......archive/data.pkl", "found a torch checkpoint"),
            (b"version https://git-lfs.github.com/spec/v1\n", "found a Git LFS pointer"),
            (b"<!DOCTYPE html>", "found a web page"),
            (b"PK\x03\x04..................................[Content_Types].xml", "found an Excel workbook"),
            (
                b"PK\x03\x04..................................set/meta/info.json",
                "found a zip archive without numpy",
            ),
            (b"FEA1\0\0\0\0", "found an Arrow file"),
            (b"\xff\xfeo\0b\0s\0", "found a text in UTF-16: save it as UTF-8"),
            (b"obs_0 obs_1 action\n1 2 3\n", "found a text that is no table: a CSV has"),
            (b"", "found an empty file"),
            (
                &[&b"MATLAB 7.3 MAT-file"[..], &[b' '; 493], b"\x89HDF\r\n\x1a\n"].concat(),
                "MATLAB file of version 7.3",
            ),
            (b"\x00\x01\x02\x03", "it does not begin as a zip archive does"),
        ] {
            let text = named(folder.path(), "file", bytes);
            assert!(text.contains(words) && !text.contains("central directory"), "{words}: {text}");
        }
    }

    #[test]
    fn folders_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let fault = || read(folder.path(), &DataSpec::default()).unwrap_err().to_string();
        assert!(fault().contains("a folder without meta/info.json"), "{}", fault());
        std::fs::write(folder.path().join("a.npz"), b"").unwrap();
        assert!(
            fault().contains("found a folder of data sets: give the files in it one by one"),
            "{}",
            fault()
        );
        std::fs::write(folder.path().join("metadata.yaml"), b"").unwrap();
        std::fs::write(folder.path().join("a.db3"), b"").unwrap();
        assert!(fault().contains("found a rosbag folder of SQLite files"), "{}", fault());
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
