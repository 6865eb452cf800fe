//! MATLAB's .mat files of level 5 (versions 5 to 7): numbers, texts, cells and structs, compressed or not.
//!
//! The format is MathWorks' "MAT-File Format" (R2024a): a header of 128 bytes, then elements, each a tag (type, bytes) and its data
//! padded to 8 bytes. Sparse matrices, objects and function handles are named but not read; version 7.3 is HDF5 and refused.
//!
//! A value of 8 bytes takes ten times that in memory, and a compressed one a thousand times: all that is read is counted ([`Budget`]).

use std::path::Path;

use flate2::read::ZlibDecoder;

use super::aside::open;
use super::budget::{Budget, BudgetError, product};
use super::error::DataError;

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

/// Memory that every value takes beside its numbers: itself, its lengths and what their allocations cost.
const VALUE: u64 = size_of::<MatValue>() as u64 + 64;
/// How deep values may lie in each other.
const DEEPEST: usize = 32;

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

/// Bytes still to be read.
#[derive(Clone, Copy)]
struct Input<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Parsed<&'a [u8]> {
        match self.bytes.split_at_checked(n) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(format!("truncated: found {} bytes, needed {n}", self.bytes.len()).into()),
        }
    }

    fn u32(&mut self) -> Parsed<u32> {
        let bytes = self.take(4)?.first_chunk::<4>().copied().unwrap_or_default();
        Ok(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// The next element: its type and its data. Small ones have both in their tag.
    fn element(&mut self) -> Parsed<(u32, Input<'a>)> {
        let word = self.u32()?;
        let little = self.little;
        if word >> 16 != 0 {
            let size = (word >> 16) as usize;
            let data = self.take(4)?;
            let bytes = data.get(..size).ok_or_else(|| format!("a small element of {size} bytes"))?;
            return Ok((word & 0xffff, Input { bytes, little }));
        }
        let size = self.u32()? as usize;
        let bytes = self.take(size)?;
        if word != COMPRESSED {
            // The last element of a file may lack its padding.
            let padding = size.wrapping_neg() % 8;
            self.take(padding.min(self.bytes.len()))?;
        }
        Ok((word, Input { bytes, little }))
    }

    /// An element of numbers of any type.
    fn numbers(&mut self, budget: &mut Budget) -> Parsed<Vec<f64>> {
        let (kind, data) = self.element()?;
        let little = self.little;
        macro_rules! read {
            ($type:ty, $size:literal) => {{
                let items = data.bytes.as_chunks::<$size>().0;
                let mut out: Vec<f64> = budget.vec("an array of numbers", items.len())?;
                let one =
                    |b: &[u8; $size]| if little { <$type>::from_le_bytes(*b) } else { <$type>::from_be_bytes(*b) } as f64;
                out.extend(items.iter().map(one));
                out
            }};
        }
        Ok(match kind {
            1 => read!(i8, 1),
            2 | 16 => read!(u8, 1),
            3 => read!(i16, 2),
            4 | 17 => read!(u16, 2),
            5 => read!(i32, 4),
            6 | 18 => read!(u32, 4),
            7 => read!(f32, 4),
            9 => read!(f64, 8),
            12 => read!(i64, 8),
            13 => read!(u64, 8),
            other => return Err(format!("numbers of the unknown type {other}").into()),
        })
    }

    fn text(&mut self, budget: &mut Budget) -> Parsed<String> {
        // The codes go again, and what stays is half of them at most.
        Ok(characters(&self.numbers(budget)?))
    }
}

fn characters(codes: &[f64]) -> String {
    let character = |c: &f64| char::from_u32(*c as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    codes.iter().map(character).collect()
}

/// A matrix element's name and value; `deep` levels may still follow.
fn matrix(mut input: Input<'_>, deep: usize, budget: &mut Budget) -> Parsed<(String, MatValue)> {
    let Some(deep) = deep.checked_sub(1) else {
        return Err(format!("values lie more than {DEEPEST} deep in each other").into());
    };
    // Elements of a few bytes, by the million, are where a file grows most.
    budget.take("the file's values", VALUE)?;
    if input.bytes.is_empty() {
        // An element of no bytes is an empty matrix.
        return Ok((String::new(), MatValue::Numbers { dims: vec![0, 0], values: vec![] }));
    }
    let (_, mut flags) = input.element()?;
    let class = flags.u32()? & 0xff;
    if class == 17 {
        return Ok((String::new(), MatValue::Other("an object")));
    }
    let mut dims = Vec::new();
    for d in input.numbers(budget)? {
        // Negative or fractional lengths do not survive the way back.
        let length = d as usize;
        if length as f64 != d {
            return Err(format!("a matrix of length {d}").into());
        }
        dims.push(length);
    }
    let count = product(&dims).filter(|_| dims.len() >= 2);
    let count = count.ok_or_else(|| format!("a matrix of shape {dims:?}"))?;
    let name = input.text(budget)?;
    let value = match class {
        1 => {
            let cells = values(&mut input, count, deep, budget)?;
            MatValue::Cells { dims, cells }
        }
        2 => {
            let length = input.numbers(budget)?.first().copied().unwrap_or(0.0) as usize;
            let (_, names) = input.element()?;
            let length = length.max(1);
            // A name of one byte becomes a text and a list.
            let entry = size_of::<(String, Vec<MatValue>)>() as u64 + 32;
            budget.take(
                "a struct's names",
                (names.bytes.len() / length) as u64 * entry + names.bytes.len() as u64,
            )?;
            let mut fields: Vec<(String, Vec<MatValue>)> =
                names.bytes.chunks_exact(length).map(|name| (field_name(name), Vec::new())).collect();
            let total = count.checked_mul(fields.len()).ok_or("a struct of too many fields")?;
            let all = values(&mut input, total, deep, budget)?;
            // Struct by struct, each with all fields.
            let width = fields.len().max(1);
            for (n, value) in all.into_iter().enumerate() {
                fields[n % width].1.push(value);
            }
            MatValue::Struct { dims, fields }
        }
        4 => MatValue::Text(input.text(budget)?),
        6..=15 => {
            let values = input.numbers(budget)?;
            if values.len() != count {
                let found = values.len();
                return Err(
                    format!("{name:?} has {found} numbers, needed {count} for its shape {dims:?}").into()
                );
            }
            MatValue::Numbers { dims, values }
        }
        3 => MatValue::Other("an object"),
        5 => MatValue::Other("a sparse matrix"),
        16 => MatValue::Other("a function handle"),
        other => return Err(format!("{name:?} is of the unknown class {other}").into()),
    };
    Ok((name, value))
}

fn field_name(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `count` matrix elements. Memory grows with what is really there.
fn values(input: &mut Input<'_>, count: usize, deep: usize, budget: &mut Budget) -> Parsed<Vec<MatValue>> {
    let mut found = Vec::new();
    for _ in 0..count {
        match input.element()? {
            (MATRIX, data) => found.push(matrix(data, deep, budget)?.1),
            (other, _) => return Err(format!("found an element of type {other}, needed a matrix").into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn parse(bytes: &[u8]) -> Result<Vec<(String, MatValue)>, String> {
        super::parse(bytes, &mut Budget::of_size(bytes.len() as u64)).map_err(|fault| match fault {
            Fault::Bad(reason) => reason,
            Fault::Over(error) => error.to_string(),
        })
    }

    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut out = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    fn words(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn head(name: &str, class: u32, dims: &[u32]) -> Vec<u8> {
        [element(6, &words(&[class, 0])), element(5, &words(dims)), element(1, name.as_bytes())].concat()
    }

    fn numbers(name: &str, dims: &[u32], values: &[f64]) -> Vec<u8> {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        element(MATRIX, &[head(name, 6, dims), element(9, &data)].concat())
    }

    /// A struct of one, every field a matrix of doubles.
    fn structure(name: &str, fields: &[(&str, [u32; 2], Vec<f64>)]) -> Vec<u8> {
        let mut data = head(name, 2, &[1, 1]);
        data.extend([words(&[5 | 4 << 16]), words(&[8])].concat());
        let names: Vec<u8> = fields
            .iter()
            .flat_map(|(n, ..)| {
                let mut bytes = n.as_bytes().to_vec();
                bytes.resize(8, 0);
                bytes
            })
            .collect();
        data.extend(element(1, &names));
        fields.iter().for_each(|(_, dims, values)| data.extend(numbers("", dims, values)));
        element(MATRIX, &data)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        let data = encoder.finish().unwrap();
        [words(&[COMPRESSED, data.len() as u32]), data].concat()
    }

    fn file(variables: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b"MATLAB 5.0 MAT-file".to_vec();
        out.resize(124, b' ');
        out.extend([0x00, 0x01, b'I', b'M']);
        variables.iter().for_each(|v| out.extend(v));
        out
    }

    /// A file as the LASA data set's: demos {1 x n} of structs with pos [2, points] and dt; compressed or not.
    pub(crate) fn demonstrations(demos: &[Vec<[f64; 2]>], compressed: bool) -> Vec<u8> {
        let mut data = head("demos", 1, &[1, demos.len() as u32]);
        for points in demos {
            let pos = points.as_flattened().to_vec();
            let dims = [2, points.len() as u32];
            data.extend(structure("", &[("pos", dims, pos), ("dt", [1, 1], vec![0.004])]));
        }
        let demos = element(MATRIX, &data);
        file(&[if compressed { packed(&demos) } else { demos }, numbers("dt", &[1, 1], &[0.004])])
    }

    #[test]
    fn numbers_cells_and_structs_are_read() {
        for compressed in [false, true] {
            let points = vec![[1.0, -2.0], [3.0, 4.5], [0.0, 0.0]];
            let bytes = demonstrations(&[points.clone(), points[..2].to_vec()], compressed);
            let variables = parse(&bytes).unwrap();
            assert_eq!(variables.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["demos", "dt"]);
            let MatValue::Cells { dims, cells } = &variables[0].1 else { panic!("{:?}", variables[0]) };
            assert_eq!(dims, &[1, 2]);
            let (dims, values) = cells[0].field("pos").and_then(MatValue::numbers).unwrap();
            assert_eq!((dims, values), (&[2, 3][..], &[1.0, -2.0, 3.0, 4.5, 0.0, 0.0][..]));
            assert_eq!(cells[1].field("dt").and_then(MatValue::numbers).unwrap().1, [0.004]);
            assert_eq!(variables[1].1.kind(), "numbers");
        }
        let text = [head("t", 4, &[1, 2]), element(4, &[104, 0, 105, 0])].concat();
        assert_eq!(parse(&file(&[element(MATRIX, &text)])).unwrap()[0].1, MatValue::Text("hi".into()));
        let sparse = element(MATRIX, &head("s", 5, &[2, 2]));
        assert_eq!(parse(&file(&[sparse])).unwrap()[0].1.kind(), "a sparse matrix");
        let small = [head("i", 8, &[1, 2]), [words(&[1 | 2 << 16]), vec![7, 0xff, 0, 0]].concat()].concat();
        let value = MatValue::Numbers { dims: vec![1, 2], values: vec![7.0, -1.0] };
        assert_eq!(parse(&file(&[element(MATRIX, &small)])).unwrap()[0].1, value);
    }

    #[test]
    fn other_files_are_named() {
        let fault = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(fault(b"hello").contains("found 5 bytes, needed a header"));
        let mut bytes = file(&[numbers("x", &[1, 1], &[1.0])]);
        bytes[126] = b'?';
        assert!(fault(&bytes).contains("byte order"));
        bytes[126] = b'I';
        bytes[125] = 2;
        assert!(fault(&bytes).contains("7.3"));
        assert!(fault(&file(&[numbers("x", &[2, 2], &[1.0])])).contains("has 1 numbers, needed 4"));
        assert!(fault(&file(&[numbers("x", &[u32::MAX, 1], &[1.0])])).contains("length -1"));
        assert!(fault(&file(&[numbers("x", &[1 << 30; 3], &[1.0])])).contains("a matrix of shape"));
        assert!(fault(&file(&[numbers("x", &[1], &[1.0])])).contains("a matrix of shape"));
        let nested = (0..40).fold(numbers("", &[1, 1], &[1.0]), |inner, _| {
            element(MATRIX, &[head("", 1, &[1, 1]), inner].concat())
        });
        assert!(fault(&file(&[nested])).contains("deep"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mat");
        assert!(matches!(read_mat(&path), Err(DataError::NotFound { .. })));
        std::fs::write(&path, b"MATLAB").unwrap();
        assert!(matches!(read_mat(&path), Err(DataError::NotMat { .. })));
    }

    #[test]
    fn small_files_do_not_take_gigabytes() {
        // 8 MB of empty cells in 8 kB: each would take ten times its 8 bytes.
        let empty = [MATRIX.to_le_bytes(), 0u32.to_le_bytes()].concat();
        let cells = |n: u32| element(MATRIX, &[head("c", 1, &[1, n]), empty.repeat(n as usize)].concat());
        let bytes = file(&[packed(&cells(1 << 22))]);
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let text = parse(&bytes).unwrap_err();
        assert!(text.contains("bytes of memory, and a file of"), "{text}");
        assert!(parse(&file(&[packed(&cells(1000))])).is_ok());
        // Many fields with names of one byte, in many structs.
        let mut data = head("s", 2, &[1, 0]);
        data.extend([words(&[5 | 4 << 16]), words(&[1])].concat());
        data.extend(element(1, &vec![b'a'; 1 << 23]));
        let text = parse(&file(&[packed(&element(MATRIX, &data))])).unwrap_err();
        assert!(text.contains("a struct's names needs"), "{text}");
        // Zeros without end.
        let bytes = file(&[packed(&vec![0; 300 << 20])]);
        let text = parse(&bytes).unwrap_err();
        assert!(text.contains("a compressed variable needs"), "{text}");
    }

    /// Whether every value has as many parts as its axes say.
    fn fits(value: &MatValue) -> bool {
        let count = |dims: &[usize]| dims.iter().product::<usize>();
        match value {
            MatValue::Numbers { dims, values } => values.len() == count(dims),
            MatValue::Cells { dims, cells } => cells.len() == count(dims) && cells.iter().all(fits),
            MatValue::Struct { dims, fields } => {
                fields.iter().all(|(_, values)| values.len() == count(dims) && values.iter().all(fits))
            }
            MatValue::Text(_) | MatValue::Other(_) => true,
        }
    }

    /// A damaged file gives a reason of one line, or values that are whole.
    fn sound(parsed: Result<Vec<(String, MatValue)>, String>) -> Result<(), TestCaseError> {
        match parsed {
            Ok(variables) => prop_assert!(variables.iter().all(|(_, value)| fits(value)), "{variables:?}"),
            Err(reason) => prop_assert!(!reason.is_empty() && reason.lines().count() == 1, "{reason:?}"),
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn what_is_written_is_read(demos in proptest::collection::vec(
            proptest::collection::vec([-1e3f64..1e3, -1e3f64..1e3], 1..20), 1..5), compressed: bool) {
            let variables = parse(&demonstrations(&demos, compressed)).unwrap();
            let MatValue::Cells { cells, .. } = &variables[0].1 else { panic!("no cells") };
            for (cell, points) in cells.iter().zip(&demos) {
                let (dims, values) = cell.field("pos").and_then(MatValue::numbers).unwrap();
                prop_assert_eq!(dims, &[2, points.len()][..]);
                prop_assert_eq!(values, points.as_flattened());
            }
        }

        #[test]
        fn damaged_files_are_errors_or_values_but_never_panics(at: usize, byte: u8, cut: usize, compressed: bool) {
            let mut bytes = demonstrations(&[vec![[1.0, 2.0]; 3], vec![[3.0, 4.0]; 2]], compressed);
            let at = at % bytes.len();
            bytes[at] = byte;
            sound(parse(&bytes))?;
            bytes.truncate(cut % bytes.len());
            sound(parse(&bytes))?;
        }
    }
}
