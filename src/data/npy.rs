//! Numpy's .npy files as f32 arrays.

use std::io::{self, BufReader, Read};
use std::path::Path;

use half::f16;
use npyz::{DType, WriterBuilder};

use super::aside::{Aside, WriteError, open};
use super::budget::{Budget, product};
use super::error::DataError;
use super::npy_header::Header;

/// A dense array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Length of every axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Reads a .npy file of f2, f4, f8, integers of any width or bool as f32, row-major whatever its order on disk.
///
/// # Errors
/// [`DataError`] if the file is missing, is no .npy, has another dtype, or is truncated.
pub fn read_npy_f32(path: impl AsRef<Path>) -> Result<Array, DataError> {
    let path = path.as_ref();
    let file = open(path)?;
    let (mut budget, mut reader) = (Budget::of(&file), BufReader::new(file));
    let what = path.display().to_string();
    let header =
        Header::read(&mut reader).map_err(|reason| DataError::NotNpy { what: what.clone(), reason })?;
    let over = |source| DataError::Budget { path: path.to_path_buf(), source };
    let (shape, data) =
        decode(&what, &header, reader, &mut |count| budget.vec("the array", count).map_err(over))?;
    Ok(Array { shape, data })
}

/// Writes a .npy file of f4, row-major, whole or not at all.
///
/// # Errors
/// [`WriteError`] if `data` does not fill `shape` or the file cannot be written.
pub fn write_npy_f32(path: impl AsRef<Path>, shape: &[usize], data: &[f32]) -> Result<(), WriteError> {
    let mut writer = NpyWriter::create(path, shape)?;
    writer.write(data)?;
    writer.finish()
}

/// Writes a .npy file of f4 piece by piece, for arrays too big to hold. The file appears at [`NpyWriter::finish`].
#[derive(Debug)]
pub struct NpyWriter {
    file: Aside,
    written: usize,
    needed: usize,
}

impl NpyWriter {
    /// Starts a file that will hold `shape`.
    ///
    /// # Errors
    /// [`WriteError`] if the folder takes no file or the shape's size overflows.
    pub fn create(path: impl AsRef<Path>, shape: &[usize]) -> Result<Self, WriteError> {
        let mut file = Aside::create(path)?;
        let begin = |file: &mut Aside| -> io::Result<usize> {
            let overflow = || io::Error::new(io::ErrorKind::InvalidInput, "the shape's size overflows");
            let needed = product(shape).ok_or_else(overflow)?;
            let extents: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
            let little = "<f4".parse().map_err(io::Error::other)?;
            npyz::WriteOptions::<f32>::new()
                .dtype(DType::Plain(little))
                .shape(&extents)
                .writer(file)
                .write_header_only()?;
            Ok(needed)
        };
        match begin(&mut file) {
            Ok(needed) => Ok(Self { file, written: 0, needed }),
            Err(source) => Err(WriteError::File { path: file.path().to_path_buf(), source }),
        }
    }

    /// Appends elements, in row-major order.
    ///
    /// # Errors
    /// [`WriteError`] if there are more than the shape holds or the disk refuses.
    pub fn write(&mut self, data: &[f32]) -> Result<(), WriteError> {
        use std::io::Write;
        let path = || self.file.path().to_path_buf();
        let found = self.written.saturating_add(data.len());
        if found > self.needed {
            return Err(WriteError::Count { path: path(), found, needed: self.needed });
        }
        for value in data {
            if let Err(source) = self.file.write_all(&value.to_le_bytes()) {
                return Err(WriteError::File { path: self.file.path().to_path_buf(), source });
            }
        }
        self.written = found;
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`WriteError`] if elements are missing or the file cannot be put in place; no partial file stays.
    pub fn finish(mut self) -> Result<(), WriteError> {
        self.settle()?;
        self.file.commit()
    }

    /// Has all elements on the disk, still beside the target: for several files of which none is to take its name before all are whole.
    ///
    /// # Errors
    /// [`WriteError`] if elements are missing or the disk refuses.
    pub fn settle(&mut self) -> Result<(), WriteError> {
        if self.written != self.needed {
            let path = self.file.path().to_path_buf();
            return Err(WriteError::Count { path, found: self.written, needed: self.needed });
        }
        self.file.settle()
    }
}

/// A shape and its elements, row-major.
pub(super) type Decoded<T> = (Vec<usize>, Vec<T>);

/// What an element is read as: f32 for values, f64 where integers must stay exact.
pub(super) trait Element: Copy {
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    fn from_i64(value: i64) -> Self;
    fn from_u64(value: u64) -> Self;
}

macro_rules! element {
    ($type:ty) => {
        impl Element for $type {
            fn from_f32(value: f32) -> Self {
                value as Self
            }
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            fn from_i64(value: i64) -> Self {
                value as Self
            }
            fn from_u64(value: u64) -> Self {
                value as Self
            }
        }
    };
}
element!(f32);
element!(f64);

/// Bytes that are decoded at a time.
const PIECE: usize = 1 << 16;

/// Reads the elements after a header, row-major. `what` names the array in errors; `room` gives memory for a number of elements,
/// before which none is taken.
pub(super) fn decode<T: Element>(
    what: &str,
    header: &Header,
    mut reader: impl Read,
    room: &mut dyn FnMut(usize) -> Result<Vec<T>, DataError>,
) -> Result<Decoded<T>, DataError> {
    let bad = |reason: String| DataError::NotNpy { what: what.to_string(), reason };
    let wrong_dtype = || DataError::Dtype {
        what: what.to_string(),
        found: header.descr.chars().take(80).collect(),
        needed: match header.descr.contains('O') {
            true => {
                "f2, f4, f8, bool or an integer type (of Python objects: np.concatenate the episodes, and store their lengths)"
            }
            false => "f2, f4, f8, bool or an integer type",
        },
    };
    let (kind, width, big) = header.element().ok_or_else(wrong_dtype)?;
    if !matches!((kind, width), ('f', 2 | 4 | 8) | ('i' | 'u', 1 | 2 | 4 | 8) | ('b', 1)) {
        return Err(wrong_dtype());
    }
    let shape: Option<Vec<usize>> = header.shape.iter().map(|&extent| extent.try_into().ok()).collect();
    let count = shape.as_deref().and_then(product);
    let size = count.and_then(|count| count.checked_mul(width));
    let (Some(shape), Some(count), Some(size)) = (shape, count, size) else {
        return Err(bad(format!("shape {:?} overflows", header.shape)));
    };
    let mut stored = room(count)?;
    let mut bytes = vec![0u8; PIECE.min(size)];
    let mut found = 0;
    while found < size {
        let piece = &mut bytes[..PIECE.min(size - found)];
        let n = fill(&mut reader, piece).map_err(|error| bad(error.to_string()))?;
        found += n;
        if n < piece.len() {
            return Err(DataError::Truncated {
                what: what.to_string(),
                found: found as u64,
                needed: size as u64,
            });
        }
        macro_rules! read {
            ($type:ty, $convert:expr) => {{
                let one = |b: &[u8; size_of::<$type>()]| match big {
                    false => <$type>::from_le_bytes(*b),
                    true => <$type>::from_be_bytes(*b),
                };
                stored.extend(piece.as_chunks().0.iter().map(|b| $convert(one(b))));
            }};
        }
        match (kind, width) {
            ('f', 2) => read!(f16, |v: f16| T::from_f32(v.into())),
            ('f', 4) => read!(f32, T::from_f32),
            ('f', _) => read!(f64, T::from_f64),
            ('i', 1) => read!(i8, |v: i8| T::from_i64(v.into())),
            ('i', 2) => read!(i16, |v: i16| T::from_i64(v.into())),
            ('i', 4) => read!(i32, |v: i32| T::from_i64(v.into())),
            ('i', _) => read!(i64, T::from_i64),
            ('u', 1) => read!(u8, |v: u8| T::from_u64(v.into())),
            ('u', 2) => read!(u16, |v: u16| T::from_u64(v.into())),
            ('u', 4) => read!(u32, |v: u32| T::from_u64(v.into())),
            ('u', _) => read!(u64, T::from_u64),
            _ => stored.extend(piece.iter().map(|b| T::from_u64((*b != 0).into()))),
        }
    }
    let data = match header.fortran {
        false => stored,
        true => row_major(&shape, &stored, room(count)?),
    };
    Ok((shape, data))
}

/// Reads until the piece is full or nothing more comes; how many bytes came.
fn fill(reader: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < piece.len() {
        match reader.read(&mut piece[found..]) {
            Ok(0) => break,
            Ok(n) => found += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Reorders elements stored first axis fastest to last axis fastest, into `data`, which is empty.
fn row_major<T: Copy>(shape: &[usize], stored: &[T], mut data: Vec<T>) -> Vec<T> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for extent in shape {
        strides.push(stride);
        // Where an axis is empty, no stride is used, and the others may be of any length.
        stride = usize::saturating_mul(stride, *extent);
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..stored.len() {
        data.push(stored[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::{AutoSerialize, Order, WriteOptions};
    use proptest::prelude::*;

    fn store<T: AutoSerialize + Clone>(path: &Path, shape: &[u64], order: Order, values: &[T]) {
        let file = std::fs::File::create(path).unwrap();
        let options = WriteOptions::new().default_dtype().shape(shape).order(order).writer(file);
        let mut writer = options.begin_nd().unwrap();
        writer.extend(values.iter().cloned()).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn every_number_type_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        macro_rules! check {
            ($($type:ty),*) => {$(
                store(&path, &[3], Order::C, &[1 as $type, 2 as $type, 100 as $type]);
                assert_eq!(read_npy_f32(&path).unwrap().data, [1.0, 2.0, 100.0]);
            )*};
        }
        check!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);
        let halves: Vec<u8> =
            [1.5f32, -2.0, 65504.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let mut file = b"\x93NUMPY\x01\x00\x40\x00".to_vec();
        file.extend(format!("{:<63}\n", "{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }").bytes());
        std::fs::write(&path, [file, halves].concat()).unwrap();
        assert_eq!(read_npy_f32(&path).unwrap().data, [1.5, -2.0, 65504.0]);
        store(&path, &[2], Order::C, &[true, false]);
        assert_eq!(read_npy_f32(&path).unwrap().data, [1.0, 0.0]);
        store(&path, &[], Order::C, &[2.5f64]);
        assert_eq!(read_npy_f32(&path).unwrap(), Array { shape: vec![], data: vec![2.5] });
    }

    #[test]
    fn big_endian_and_fortran_order_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        store(&path, &[2, 3], Order::Fortran, &[1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let array = read_npy_f32(&path).unwrap();
        assert_eq!((array.shape, array.data), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        // element [i, j, k] holds 100 i + 10 j + k
        let stored: Vec<i32> = (0..12).map(|n| 100 * (n % 2) + 10 * (n / 2 % 3) + n / 6).collect();
        store(&path, &[2, 3, 2], Order::Fortran, &stored);
        let array = read_npy_f32(&path).unwrap();
        let expected: Vec<f32> = (0..12).map(|n| (100 * (n / 6) + 10 * (n / 2 % 3) + n % 2) as f32).collect();
        assert_eq!(array.data, expected);
        let file = std::fs::File::create(&path).unwrap();
        let options = WriteOptions::<f64>::new().dtype(DType::Plain(">f8".parse().unwrap())).shape(&[1]);
        let mut writer = options.writer(file).begin_nd().unwrap();
        writer.push(&-7.25).unwrap();
        writer.finish().unwrap();
        assert_eq!(read_npy_f32(&path).unwrap().data, [-7.25]);
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        assert!(matches!(read_npy_f32(&path), Err(DataError::NotFound { .. })));
        assert!(matches!(read_npy_f32(folder.path()), Err(DataError::Read { .. })));
        std::fs::write(&path, b"hello").unwrap();
        assert!(matches!(read_npy_f32(&path), Err(DataError::NotNpy { .. })));

        write_npy_f32(&path, &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 6]).unwrap();
        let text = read_npy_f32(&path).unwrap_err().to_string();
        assert!(text.ends_with("a.npy: truncated: found 10 bytes of data, needed 16"), "{text}");

        let header = |descr: &str, shape: &str| {
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((text.len() as u16).to_le_bytes());
            file.extend(text.as_bytes());
            std::fs::write(&path, file).unwrap();
            read_npy_f32(&path).unwrap_err()
        };
        let text = header("<c8", "(2,)").to_string();
        assert!(
            text.ends_with("wrong dtype: found <c8, needed f2, f4, f8, bool or an integer type"),
            "{text}"
        );
        assert!(matches!(header("<U3", "(2,)"), DataError::Dtype { .. }));
        assert!(matches!(header("|O", "(2,)"), DataError::Dtype { .. }));
        // More than any file may have is refused before it is looked for.
        assert!(matches!(header("<f4", "(1152921504606846976,)"), DataError::Budget { .. }));
        assert!(matches!(header("<f4", "(1000,)"), DataError::Truncated { found: 0, .. }));
        assert!(matches!(header("<f4", "(4294967296, 4294967296)"), DataError::NotNpy { .. }));
        assert!(matches!(header("<f8", "(9223372036854775807,)"), DataError::NotNpy { .. }));
    }

    #[test]
    fn writers_refuse_wrong_counts_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        for data in [&[1.0][..], &[1.0; 5]] {
            let error = write_npy_f32(&path, &[2, 2], data).unwrap_err();
            assert!(matches!(error, WriteError::Count { needed: 4, .. }), "{error}");
        }
        assert!(matches!(NpyWriter::create(&path, &[usize::MAX, 2]), Err(WriteError::File { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_is_written_in_pieces_is_read(rows in 0usize..20, columns in 0usize..6, piece in 1usize..9) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.npy");
            let data: Vec<f32> = (0..rows * columns).map(|n| n as f32 * 0.37 - 1.0).collect();
            let mut writer = NpyWriter::create(&path, &[rows, columns]).unwrap();
            for part in data.chunks(piece) {
                writer.write(part).unwrap();
            }
            writer.finish().unwrap();
            prop_assert_eq!(read_npy_f32(&path).unwrap(), Array { shape: vec![rows, columns], data });
        }

        #[test]
        fn damaged_files_are_errors_or_arrays_but_never_panics(at in 0usize..144, byte: u8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.npy");
            write_npy_f32(&path, &[2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            std::fs::write(&path, bytes).unwrap();
            if let Ok(array) = read_npy_f32(&path) {
                prop_assert_eq!(array.data.len(), array.shape.iter().product::<usize>());
            }
        }
    }
}
