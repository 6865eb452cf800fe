//! MATLAB's .mat files of level 5 (versions 5 to 7): numbers, texts, cells and structs, compressed or not.
//!
//! The format is MathWorks' "MAT-File Format" (R2024a): a header of 128 bytes, then elements, each a tag (type, bytes) and its data
//! padded to 8 bytes. Sparse matrices, objects and function handles are named but not read; version 7.3 is HDF5 and refused.
//!
//! A value of 8 bytes takes ten times that in memory, and a compressed one a thousand times: all that is read is counted ([`Budget`]).

mod element;
mod matrix;

use std::path::Path;

use flate2::read::ZlibDecoder;

use super::aside::open;
use super::budget::{Budget, BudgetError};
use super::error::DataError;
use element::Input;
use matrix::{DEEPEST, matrix};

/// A value of a file. Matrices are as MATLAB stores them, the first index fastest.
#[derive(Clone, Debug, PartialEq)]
pub enum MatValue {
    /// Numbers of any type (of complex ones the real part), or flags.
    Numbers {
        /// Length of every axis, at least two.
        dims: Vec<usize>,
        /// As many as the product of `dims`.
        values: Vec<f64>,
    },
    /// Characters.
    Text(String),
    /// A cell array.
    Cells {
        /// Length of every axis.
        dims: Vec<usize>,
        /// As many as the product of `dims`.
        cells: Vec<MatValue>,
    },
    /// An array of structs (mostly of one).
    Struct {
        /// Length of every axis.
        dims: Vec<usize>,
        /// Names of the fields, and of each a value for every struct.
        fields: Vec<(String, Vec<MatValue>)>,
    },
    /// What is not read.
    Other(&'static str),
}

impl MatValue {
    /// A field of the first struct.
    pub fn field(&self, name: &str) -> Option<&MatValue> {
        match self {
            MatValue::Struct { fields, .. } => fields.iter().find(|(n, _)| n == name)?.1.first(),
            _ => None,
        }
    }

    /// The numbers with their axes.
    pub fn numbers(&self) -> Option<(&[usize], &[f64])> {
        match self {
            MatValue::Numbers { dims, values } => Some((dims, values)),
            _ => None,
        }
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            MatValue::Numbers { .. } => "numbers",
            MatValue::Text(_) => "text",
            MatValue::Cells { .. } => "a cell array",
            MatValue::Struct { .. } => "a struct",
            MatValue::Other(kind) => kind,
        }
    }
}

/// The variables of a .mat file, by name, in the file's order.
///
/// # Errors
/// [`DataError`] if the file is missing, is no .mat file of level 5, is truncated or damaged, or unpacks to more than a file of its
/// size may take ([`Budget`]).
pub fn read_mat(path: impl AsRef<Path>) -> Result<Vec<(String, MatValue)>, DataError> {
    let path = path.as_ref();
    let file = open(path)?;
    let mut budget = Budget::of(&file);
    let bytes = budget
        .read_to_end("the file", file)
        .map_err(|source| DataError::Read { path: path.to_path_buf(), source })?;
    parse(&bytes, &mut budget).map_err(|fault| match fault {
        Fault::Bad(reason) => DataError::NotMat { path: path.to_path_buf(), reason },
        Fault::Over(source) => DataError::Budget { path: path.to_path_buf(), source },
    })
}

/// Why bytes are no .mat file, or none that is read.
#[derive(Debug)]
enum Fault {
    Bad(String),
    Over(BudgetError),
}

impl From<String> for Fault {
    fn from(reason: String) -> Fault {
        Fault::Bad(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Fault {
        Fault::Bad(reason.into())
    }
}

impl From<BudgetError> for Fault {
    fn from(error: BudgetError) -> Fault {
        Fault::Over(error)
    }
}

type Parsed<T> = Result<T, Fault>;

fn parse(bytes: &[u8], budget: &mut Budget) -> Parsed<Vec<(String, MatValue)>> {
    let Some((header, rest)) = bytes.split_at_checked(128) else {
        return Err(format!("found {} bytes, needed a header of 128", bytes.len()).into());
    };
    let little = match &header[126..] {
        b"IM" => true,
        b"MI" => false,
        _ if header.starts_with(b"\x89HDF") => return Err("it is HDF5: needed save('-v7')".into()),
        _ => return Err("its header has no mark of byte order".into()),
    };
    let mut input = Input { bytes: rest, little };
    let version = [header[124], header[125]];
    let version = if little { u16::from_le_bytes(version) } else { u16::from_be_bytes(version) };
    match version {
        0x0100 => {}
        0x0200 => return Err("it is of version 7.3 (HDF5): needed save('-v7')".into()),
        other => return Err(format!("it is of version {other:#06x}: needed 0x0100").into()),
    }
    let mut variables = Vec::new();
    while !input.bytes.is_empty() {
        let (kind, data) = input.element()?;
        let bytes;
        let mut plain = None;
        let (kind, data) = match kind {
            COMPRESSED => {
                bytes = unpack(data.bytes, budget)?;
                plain = Some(bytes.len() as u64);
                Input { bytes: &bytes, little }.element()?
            }
            _ => (kind, data),
        };
        if kind == MATRIX {
            variables.push(matrix(data, DEEPEST, budget)?);
        }
        if let Some(plain) = plain {
            budget.give(plain);
        }
    }
    Ok(variables)
}

/// A compressed variable. What it takes is counted.
fn unpack(packed: &[u8], budget: &mut Budget) -> Parsed<Vec<u8>> {
    budget.read_to_end("a compressed variable", ZlibDecoder::new(packed)).map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<BudgetError>()) {
            Some(over) => Fault::Over(over.clone()),
            None => Fault::Bad(format!("a compressed variable is damaged ({error})")),
        }
    })
}

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

#[cfg(test)]
pub(crate) mod tests;
