//! Episodes into a numpy archive.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use npyz::npz::NpzWriter;
use npyz::{AutoSerialize, DType, WriterBuilder};

use super::aside::{Aside, WriteError, write_aside};
use super::episodes::Episodes;
use super::inputs::ObsInput;
use super::npz::{INPUT_DIMS, INPUT_NAMES};

/// Writes what [`Episodes::load_npz`] reads, whole or not at all: obs [T, O], action [T, A] (f4), episode_len `[E]` (i8), and
/// where known episode_success `[E]` (bool), fps (f8), obs_names `[O]`, action_names `[A]` (texts). Observations of several
/// inputs have obs_inputs (texts) and obs_input_dims beside them.
///
/// # Errors
/// [`WriteError`] if the file cannot be written.
pub fn write_npz(path: impl AsRef<Path>, episodes: &Episodes) -> Result<(), WriteError> {
    write_aside(path, |file| {
        let mut file = Latch { file, error: None, at: 0, end: 0 };
        let filled = fill(&mut file, episodes);
        file.error.map_or(filled, Err)
    })
}

fn fill(file: &mut Latch<'_>, episodes: &Episodes) -> io::Result<()> {
    let mut npz = NpzWriter::new(file);
    let rows = episodes.steps() as u64;
    let lengths: Vec<i64> = episodes.lengths().iter().map(|&n| n as i64).collect();
    array(&mut npz, "obs", &[rows, episodes.obs_dim() as u64], episodes.obs())?;
    array(&mut npz, "action", &[rows, episodes.action_dim() as u64], episodes.action())?;
    array(&mut npz, "episode_len", &[lengths.len() as u64], &lengths)?;
    if let Some(success) = episodes.success() {
        array(&mut npz, "episode_success", &[success.len() as u64], success)?;
    }
    if let Some(fps) = episodes.fps() {
        array(&mut npz, "fps", &[], &[fps])?;
    }
    for (name, names) in [("obs_names", episodes.obs_names()), ("action_names", episodes.action_names())] {
        if let Some(names) = names {
            texts(&mut npz, name, names)?;
        }
    }
    let inputs = episodes.obs_inputs();
    if inputs != ObsInput::state(episodes.obs_dim()) {
        let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        let dims: Vec<i64> = inputs.iter().map(|input| input.dim as i64).collect();
        texts(&mut npz, INPUT_NAMES, &names)?;
        array(&mut npz, INPUT_DIMS, &[dims.len() as u64], &dims)?;
    }
    npz.zip_writer().finish().map_err(io::Error::other)?;
    Ok(())
}

/// A file that keeps its first error to itself and lets all that follows pass: the zip writer, which completes its archive even when it
/// is dropped after an error, would print what it then meets.
struct Latch<'a> {
    file: &'a mut Aside,
    error: Option<io::Error>,
    at: u64,
    end: u64,
}

impl Write for Latch<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.file.write_all(bytes).err();
        }
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.error.is_none() {
            self.error = self.file.flush().err();
        }
        Ok(())
    }
}

impl Seek for Latch<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        if self.error.is_none() {
            self.error = self.file.seek(SeekFrom::Start(self.at)).err();
        }
        Ok(self.at)
    }
}

type Npz<'a, 'b> = NpzWriter<&'a mut Latch<'b>>;

fn array<T: AutoSerialize + Copy>(
    npz: &mut Npz<'_, '_>,
    name: &str,
    shape: &[u64],
    values: &[T],
) -> io::Result<()> {
    let file = npz.array(name, Default::default())?;
    let mut writer = file.default_dtype().shape(shape).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()
}

fn texts(npz: &mut Npz<'_, '_>, name: &str, values: &[String]) -> io::Result<()> {
    let longest = values.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let dtype = format!("<U{longest}").parse().map_err(io::Error::other)?;
    let file = npz.array::<str>(name, Default::default())?;
    let mut writer = file.dtype(DType::Plain(dtype)).shape(&[values.len() as u64]).begin_nd()?;
    for text in values {
        writer.push(text)?;
    }
    writer.finish()
}
