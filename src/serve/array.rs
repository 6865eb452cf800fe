//! numpy arrays in messages, as `openpi_client.msgpack_numpy` packs them:
//! {b"__ndarray__": true, b"data": bytes, b"dtype": "<f4", b"shape": [..]}, in row-major order, and scalars
//! {b"__npgeneric__": true, b"data": number, b"dtype": ".."}. Plain numbers and lists of any of these are taken too.

use super::wire::{WireError, brief, kind};
use rmpv::{Value, ValueRef};

/// Numbers with a shape; [] is one number.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, the slowest first.
    pub shape: Vec<usize>,
    /// The numbers, row-major. One beyond f32's range is infinite.
    pub data: Vec<f32>,
}

/// An f32 array as a message has it.
pub fn ndarray(shape: &[usize], data: &[f32]) -> Value {
    let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let shape = shape.iter().map(|n| Value::from(*n as u64)).collect();
    let key = |text: &str| Value::Binary(text.as_bytes().to_vec());
    Value::Map(vec![
        (key("__ndarray__"), true.into()),
        (key("data"), Value::Binary(bytes)),
        (key("dtype"), "<f4".into()),
        (key("shape"), Value::Array(shape)),
    ])
}

/// The numbers that a value stands for.
///
/// # Errors
/// [`WireError`] if it is no array, number or list of them of one shape.
pub fn numbers(value: &ValueRef<'_>) -> Result<Array, WireError> {
    match value {
        ValueRef::Map(entries) => numpy(entries),
        ValueRef::Array(parts) => stack(parts),
        _ => match number(value) {
            Some(v) => Ok(Array { shape: vec![], data: vec![v] }),
            None => Err(WireError::Type { found: kind(value), needed: "an array of numbers" }),
        },
    }
}

/// A plain number.
fn number(value: &ValueRef<'_>) -> Option<f32> {
    match value {
        ValueRef::Boolean(v) => Some(f32::from(u8::from(*v))),
        ValueRef::Integer(v) => v.as_f64().map(|v| v as f32),
        ValueRef::F32(v) => Some(*v),
        ValueRef::F64(v) => Some(*v as f32),
        _ => None,
    }
}

/// A list whose parts have one shape.
fn stack(parts: &[ValueRef<'_>]) -> Result<Array, WireError> {
    let mut first: Option<Vec<usize>> = None;
    let mut data = Vec::with_capacity(parts.len());
    for part in parts {
        let shape = match number(part) {
            Some(v) => {
                data.push(v);
                vec![]
            }
            None => {
                let array = numbers(part)?;
                data.extend(array.data);
                array.shape
            }
        };
        match &first {
            None => first = Some(shape),
            Some(first) if *first == shape => {}
            Some(first) => return Err(WireError::Ragged { first: first.clone(), found: shape }),
        }
    }
    let shape = std::iter::once(parts.len()).chain(first.unwrap_or_default()).collect();
    Ok(Array { shape, data })
}

/// A numpy array or scalar. Its keys are bytes from Python; strings do as well.
fn numpy(entries: &[(ValueRef<'_>, ValueRef<'_>)]) -> Result<Array, WireError> {
    let is = |key: &ValueRef<'_>, name: &str| match key {
        ValueRef::Binary(key) => *key == name.as_bytes(),
        key => text(key) == Some(name),
    };
    let find = |name: &str| entries.iter().find(|(key, _)| is(key, name)).map(|(_, value)| value);
    for name in ["__ndarray__", "__npgeneric__", "data", "dtype", "shape"] {
        if entries.iter().filter(|(key, _)| is(key, name)).count() > 1 {
            return Err(WireError::Twice(name));
        }
    }
    let needed = "a numpy array or scalar (a map with __ndarray__ or __npgeneric__)";
    let absent = |what: &str| WireError::Type { found: format!("a map without {what}"), needed };
    let dtype = || {
        let value = find("dtype").ok_or_else(|| absent("dtype"))?;
        text(value).ok_or_else(|| WireError::Type { found: kind(value), needed: "a dtype as a string" })
    };
    let data = || find("data").ok_or_else(|| absent("data"));
    if find("__ndarray__").is_some() {
        let dtype = dtype()?;
        let shape = shape(find("shape").ok_or_else(|| absent("shape"))?)?;
        match data()? {
            ValueRef::Binary(bytes) => dense(dtype, shape, bytes),
            other => Err(WireError::Type { found: kind(other), needed: "an array's data as bytes" }),
        }
    } else if find("__npgeneric__").is_some() {
        // Its data is a plain number already; the dtype must be one of numbers all the same.
        Dtype::parse(dtype()?)?;
        let data = data()?;
        match number(data) {
            Some(v) => Ok(Array { shape: vec![], data: vec![v] }),
            None => Err(WireError::Type { found: kind(data), needed: "a scalar's data as a number" }),
        }
    } else {
        Err(absent("either"))
    }
}

fn text<'a>(value: &'a ValueRef<'_>) -> Option<&'a str> {
    match value {
        ValueRef::String(text) => text.as_str(),
        ValueRef::Binary(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn shape(value: &ValueRef<'_>) -> Result<Vec<usize>, WireError> {
    let needed = "a shape as a list of extents";
    let ValueRef::Array(extents) = value else { return Err(WireError::Type { found: kind(value), needed }) };
    let extent = |v: &ValueRef<'_>| v.as_u64().and_then(|n| usize::try_from(n).ok());
    extents
        .iter()
        .map(|v| {
            let found = || match v {
                ValueRef::Integer(n) => n.to_string(),
                other => kind(other),
            };
            extent(v).ok_or_else(|| WireError::Type { found: found(), needed })
        })
        .collect()
}

/// A dtype string of numpy's array interface.
#[derive(Clone, Copy)]
struct Dtype {
    kind: char,
    size: usize,
    big: bool,
}

impl Dtype {
    fn parse(text: &str) -> Result<Dtype, WireError> {
        let unknown = || WireError::Dtype(brief(text));
        let (big, rest) = match text.as_bytes() {
            [b'>', ..] => (true, &text[1..]),
            [b'<' | b'|', ..] => (false, &text[1..]),
            [b'=', ..] => (cfg!(target_endian = "big"), &text[1..]),
            _ => (cfg!(target_endian = "big"), text),
        };
        let (kind, size) = match rest {
            "b1" => ('b', 1),
            "i1" | "i2" | "i4" | "i8" => ('i', usize::from(rest.as_bytes()[1] - b'0')),
            "u1" | "u2" | "u4" | "u8" => ('u', usize::from(rest.as_bytes()[1] - b'0')),
            "f2" | "f4" | "f8" => ('f', usize::from(rest.as_bytes()[1] - b'0')),
            _ => return Err(unknown()),
        };
        Ok(Dtype { kind, size, big })
    }

    /// One element.
    fn read(self, bytes: &[u8]) -> f32 {
        let mut word = [0u8; 8];
        if self.big {
            bytes.iter().rev().zip(&mut word).for_each(|(b, w)| *w = *b);
        } else {
            word[..self.size].copy_from_slice(bytes);
        }
        let word = u64::from_le_bytes(word);
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            ('b', _) => f32::from(u8::from(word != 0)),
            ('i', _) => ((word << unused) as i64 >> unused) as f32,
            ('u', _) => word as f32,
            (_, 2) => half(word as u16),
            (_, 4) => f32::from_bits(word as u32),
            _ => f64::from_bits(word) as f32,
        }
    }
}

fn dense(dtype: &str, shape: Vec<usize>, bytes: &[u8]) -> Result<Array, WireError> {
    let parsed = Dtype::parse(dtype)?;
    let needed = shape.iter().try_fold(parsed.size, |n, extent| n.checked_mul(*extent));
    if needed != Some(bytes.len()) {
        return Err(WireError::Size { shape, dtype: dtype.into(), found: bytes.len(), needed });
    }
    let data = bytes.chunks_exact(parsed.size).map(|element| parsed.read(element)).collect();
    Ok(Array { shape, data })
}

/// A half-precision float, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    match exponent {
        0 => {
            // Subnormal: fraction times 2^-24.
            let value = fraction as f32 * (1.0 / 16_777_216.0);
            f32::from_bits(value.to_bits() | sign)
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::wire::{MessageLimits, decode, encode};
    use proptest::prelude::*;

    const LIMITS: MessageLimits = MessageLimits { values: 10_000, depth: 8 };

    fn read(value: &Value) -> Result<Array, WireError> {
        let bytes = encode(value);
        numbers(&decode(&bytes, &LIMITS).unwrap())
    }

    fn raw(dtype: &str, shape: &[i64], bytes: &[u8]) -> Value {
        let key = |text: &str| Value::Binary(text.as_bytes().to_vec());
        Value::Map(vec![
            (key("__ndarray__"), true.into()),
            (key("data"), Value::Binary(bytes.to_vec())),
            (key("dtype"), dtype.into()),
            (key("shape"), Value::Array(shape.iter().map(|n| Value::from(*n)).collect())),
        ])
    }

    fn scalar(dtype: &str, data: Value) -> Value {
        let key = |text: &str| Value::Binary(text.as_bytes().to_vec());
        Value::Map(vec![
            (key("__npgeneric__"), true.into()),
            (key("data"), data),
            (key("dtype"), dtype.into()),
        ])
    }

    fn array(shape: &[usize], data: &[f32]) -> Array {
        Array { shape: shape.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn arrays_come_back() {
        let sent = array(&[2, 3], &[1.0, -2.5, 1e-40, f32::MAX, -0.0, 7.0]);
        assert_eq!(read(&ndarray(&sent.shape, &sent.data)).unwrap(), sent);
        assert_eq!(read(&ndarray(&[0, 3], &[])).unwrap(), array(&[0, 3], &[]));
        assert_eq!(read(&ndarray(&[], &[4.0])).unwrap(), array(&[], &[4.0]));
    }

    #[test]
    fn every_dtype_of_numbers_is_taken() {
        let cases: [(&str, Vec<u8>, f32); 18] = [
            ("|b1", vec![1], 1.0),
            ("|i1", vec![0xfe], -2.0),
            ("|u1", vec![0xfe], 254.0),
            ("<i2", (-300i16).to_le_bytes().to_vec(), -300.0),
            (">i2", (-300i16).to_be_bytes().to_vec(), -300.0),
            ("<u2", 60_000u16.to_le_bytes().to_vec(), 60_000.0),
            ("<i4", (-70_000i32).to_le_bytes().to_vec(), -70_000.0),
            (">u4", 3_000_000_000u32.to_be_bytes().to_vec(), 3e9),
            ("<i8", (-5i64).to_le_bytes().to_vec(), -5.0),
            (">i8", i64::MIN.to_be_bytes().to_vec(), i64::MIN as f32),
            ("<u8", u64::MAX.to_le_bytes().to_vec(), u64::MAX as f32),
            ("<f2", 0xc500u16.to_le_bytes().to_vec(), -5.0),
            (">f2", 0x3c00u16.to_be_bytes().to_vec(), 1.0),
            ("<f4", 1.5f32.to_le_bytes().to_vec(), 1.5),
            (">f4", 1.5f32.to_be_bytes().to_vec(), 1.5),
            ("<f8", 0.1f64.to_le_bytes().to_vec(), 0.1),
            (">f8", (-0.1f64).to_be_bytes().to_vec(), -0.1),
            ("<f8", 1e300f64.to_le_bytes().to_vec(), f32::INFINITY),
        ];
        for (dtype, bytes, want) in cases {
            assert_eq!(read(&raw(dtype, &[1], &bytes)).unwrap(), array(&[1], &[want]), "{dtype}");
        }
    }

    #[test]
    fn halves_are_exact() {
        for (bits, want) in [
            (0u16, 0.0f32),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
            (0x3555, 1365.0 / 4096.0),
        ] {
            assert_eq!(half(bits), want, "{bits:x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0x8000).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn scalars_and_lists_are_taken() {
        assert_eq!(read(&3.into()).unwrap(), array(&[], &[3.0]));
        assert_eq!(read(&scalar("<f8", 2.5.into())).unwrap(), array(&[], &[2.5]));
        assert_eq!(read(&scalar("|b1", true.into())).unwrap(), array(&[], &[1.0]));
        let list = |values: &[f64]| Value::Array(values.iter().map(|v| Value::from(*v)).collect());
        let nested = Value::Array(vec![list(&[1.0, 2.0]), list(&[3.0, 4.0])]);
        assert_eq!(read(&nested).unwrap(), array(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let mixed = Value::Array(vec![scalar("<f4", 1.5f32.into()), 2.into(), false.into()]);
        assert_eq!(read(&mixed).unwrap(), array(&[3], &[1.5, 2.0, 0.0]));
        let rows = Value::Array(vec![ndarray(&[2], &[1.0, 2.0]), list(&[3.0, 4.0])]);
        assert_eq!(read(&rows).unwrap(), array(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(read(&Value::Array(vec![])).unwrap(), array(&[0], &[]));
    }

    #[test]
    fn what_is_no_array_is_named() {
        let fails = |value: &Value, words: &str| {
            let error = read(value).unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        };
        fails(&Value::Nil, "found nil, needed an array of numbers");
        fails(&"text".into(), "found a string");
        fails(&Value::Map(vec![]), "__ndarray__");
        fails(&raw("<f4", &[2], &[0; 4]), "found 4 bytes in an array of shape [2] and dtype <f4, needed 8");
        fails(&raw("<f4", &[-1], &[0; 4]), "found -1, needed a shape");
        let Value::Map(mut twice) = raw("<f4", &[1], &[0; 4]) else { panic!("no map") };
        twice.push(("data".into(), Value::Binary(vec![0; 4])));
        fails(&Value::Map(twice), "\"data\" is there twice");
        fails(&raw("<f4", &[i64::MAX, i64::MAX], &[0; 4]), "found 4 bytes in an array of shape");
        for dtype in ["<c8", "|O", "<U3", "|V4", "<M8[s]", "<f16", "", "f4x", "<é4"] {
            fails(&raw(dtype, &[1], &[0; 4]), "is not taken");
        }
        fails(&scalar("<f4", "x".into()), "found a string, needed a scalar's data");
        fails(&scalar("<U1", "x".into()), "is not taken");
        fails(&Value::Array(vec![1.into(), Value::Array(vec![2.into()])]), "needed parts of one shape");
    }

    proptest! {
        #[test]
        fn damaged_arrays_never_panic(flips in prop::collection::vec((0usize..120, any::<u8>()), 0..6)) {
            let mut bytes = encode(&raw(">f8", &[2, 3], &[7; 48]));
            let n = bytes.len();
            for (at, with) in flips {
                bytes[at % n] = with;
            }
            if let Ok(value) = decode(&bytes, &LIMITS) && let Ok(array) = numbers(&value) {
                prop_assert_eq!(array.data.len(), array.shape.iter().product::<usize>());
            }
        }
    }
}
