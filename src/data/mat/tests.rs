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
