//! Messages as OpenPI's policy server and its package openpi-client have them: one msgpack value per binary frame.
//!
//! Frames come from anybody. [`decode`] first walks over the bytes without building anything, and refuses what is cut
//! short, deeper or of more values than any request needs: a value of one byte would become some forty in memory.

use rmpv::{Value, ValueRef};

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a value.
    #[error("found {0} bytes that end inside a value, needed one whole msgpack value")]
    Short(usize),
    /// Bytes follow the value.
    #[error("found {0} bytes after the message's end, needed one msgpack value alone")]
    Trailing(usize),
    /// A byte that starts no msgpack value.
    #[error("found what is not msgpack at byte {0}, needed one msgpack value")]
    Malformed(usize),
    /// More of something than is taken.
    #[error("found more than {most} {what}, needed at most so many")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much is taken.
        most: usize,
    },
    /// A value of another type.
    #[error("found {found}, needed {needed}")]
    Type {
        /// What there is.
        found: String,
        /// What must be.
        needed: &'static str,
    },
    /// An array of a dtype that is not taken; the dtype's first characters, escaped.
    #[error("the dtype \"{0}\" is not taken; needed bool, integers of 1 to 8 bytes, or f2, f4, f8")]
    Dtype(String),
    /// A key of an array that is there twice.
    #[error("an array's key {0:?} is there twice, needed once")]
    Twice(&'static str),
    /// An array whose bytes do not fill its shape.
    #[error("found {found} bytes in an array of shape {} and dtype {dtype}, needed {}", extents(shape), filled(*needed))]
    Size {
        /// Its shape.
        shape: Vec<usize>,
        /// Its dtype.
        dtype: String,
        /// Bytes of its data.
        found: usize,
        /// Bytes that fill the shape; none: more than there can be.
        needed: Option<usize>,
    },
    /// Lists whose parts differ in shape.
    #[error(
        "found a list with a part of shape {} after one of shape {}, needed parts of one shape",
        extents(found),
        extents(first)
    )]
    Ragged {
        /// Shape of the first part.
        first: Vec<usize>,
        /// Shape of the one that differs.
        found: Vec<usize>,
    },
}

/// What a message may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Values, counted with all that lies inside others.
    pub values: usize,
    /// Levels of maps and arrays inside each other.
    pub depth: usize,
}

/// Levels that a message may have: an observation is a map of lists of lists of numpy scalars, which are maps.
pub const DEPTH: usize = 8;

/// Reads one message.
///
/// # Errors
/// [`WireError`] if the bytes are not exactly one msgpack value, or go beyond the limits.
pub fn decode<'a>(bytes: &'a [u8], limits: &MessageLimits) -> Result<ValueRef<'a>, WireError> {
    scan(bytes, limits)?;
    let mut rest = bytes;
    // rmpv counts about three of its own levels for one of ours.
    let depth = 4 * (limits.depth + 2);
    rmpv::decode::read_value_ref_with_max_depth(&mut rest, depth)
        .map_err(|_| WireError::Malformed(bytes.len() - rest.len()))
}

/// Writes one message.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    // Writing into memory does not fail.
    let _ = rmpv::encode::write_value(&mut bytes, value);
    bytes
}

/// Walks over one value: the bytes must be exactly that, within the limits. Takes no memory but a word per level.
fn scan(bytes: &[u8], limits: &MessageLimits) -> Result<(), WireError> {
    // Values that each open map or array still lacks.
    let mut open: Vec<usize> = Vec::with_capacity(limits.depth.min(64));
    let (mut at, mut values) = (0usize, 0usize);
    loop {
        let Some(&marker) = bytes.get(at) else { return Err(WireError::Short(bytes.len())) };
        at += 1;
        values += 1;
        if values > limits.values {
            return Err(WireError::Limit { what: "values in the message", most: limits.values });
        }
        let (payload, inside) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, None),
            0x80..=0x8f => (0, Some(2 * usize::from(marker & 0x0f))),
            0x90..=0x9f => (0, Some(usize::from(marker & 0x0f))),
            0xa0..=0xbf => (usize::from(marker & 0x1f), None),
            0xc1 => return Err(WireError::Malformed(at - 1)),
            0xc4 | 0xd9 => (length(bytes, &mut at, 1)?, None),
            0xc5 | 0xda => (length(bytes, &mut at, 2)?, None),
            0xc6 | 0xdb => (length(bytes, &mut at, 4)?, None),
            0xc7 => (length(bytes, &mut at, 1)? + 1, None),
            0xc8 => (length(bytes, &mut at, 2)? + 1, None),
            0xc9 => (length(bytes, &mut at, 4)?.saturating_add(1), None),
            0xcc | 0xd0 => (1, None),
            0xcd | 0xd1 => (2, None),
            0xca | 0xce | 0xd2 => (4, None),
            0xcb | 0xcf | 0xd3 => (8, None),
            0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, None),
            0xdc => (0, Some(length(bytes, &mut at, 2)?)),
            0xdd => (0, Some(length(bytes, &mut at, 4)?)),
            0xde => (0, Some(2 * length(bytes, &mut at, 2)?)),
            0xdf => (0, Some(length(bytes, &mut at, 4)?.saturating_mul(2))),
        };
        // Whatever is claimed, each value takes at least a byte.
        if payload.max(inside.unwrap_or(0)) > bytes.len() - at {
            return Err(WireError::Short(bytes.len()));
        }
        at += payload;
        match inside {
            Some(0) | None => {
                // The end of a value may be the end of those around it.
                loop {
                    match open.last_mut() {
                        None => {
                            return match bytes.len() - at {
                                0 => Ok(()),
                                rest => Err(WireError::Trailing(rest)),
                            };
                        }
                        Some(1) => {
                            open.pop();
                        }
                        Some(lacks) => {
                            *lacks -= 1;
                            break;
                        }
                    }
                }
            }
            Some(inside) => {
                if open.len() == limits.depth {
                    return Err(WireError::Limit { what: "levels in the message", most: limits.depth });
                }
                open.push(inside);
            }
        }
    }
}

/// A big-endian length of `width` bytes.
fn length(bytes: &[u8], at: &mut usize, width: usize) -> Result<usize, WireError> {
    let end = *at + width;
    let Some(digits) = bytes.get(*at..end) else { return Err(WireError::Short(bytes.len())) };
    *at = end;
    Ok(digits.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
}

/// Most bytes of a client's text that an error or a log line repeats.
const ECHO: usize = 40;

/// The start of a client's text, for an error: escaped, and a few dozen bytes at most, so that nobody can make the server write
/// pages into its log, or send them back.
pub(super) fn brief(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let escaped = c.escape_debug().to_string();
        if out.len() + escaped.len() > ECHO {
            return out + "...";
        }
        out += &escaped;
    }
    out
}

fn filled(bytes: Option<usize>) -> String {
    bytes.map_or("more than there can be".into(), |n| n.to_string())
}

/// A shape for an error: of a client's list of extents the first few.
pub(super) fn extents(shape: &[usize]) -> String {
    let whole = format!("{shape:?}");
    if shape.len() <= 4 && whole.len() <= ECHO {
        return whole;
    }
    // As many extents as there is room for; a client may claim any.
    let mut out = String::from("[");
    for extent in shape.iter().take(3).map(|n| format!("{n}, ")) {
        if out.len() + extent.len() > ECHO {
            break;
        }
        out += &extent;
    }
    format!("{out}... {} extents]", shape.len())
}

/// What a value is, for people.
pub(super) fn kind(value: &ValueRef<'_>) -> String {
    match value {
        ValueRef::Nil => "nil".into(),
        ValueRef::Boolean(_) => "a boolean".into(),
        ValueRef::Integer(_) | ValueRef::F32(_) | ValueRef::F64(_) => "a number".into(),
        ValueRef::String(_) => "a string".into(),
        ValueRef::Binary(_) => "bytes".into(),
        ValueRef::Array(_) => "a list".into(),
        ValueRef::Map(_) => "a map".into(),
        ValueRef::Ext(..) => "an extension type".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: MessageLimits = MessageLimits { values: 1000, depth: DEPTH };

    #[test]
    fn whole_messages_are_read() {
        let value = Value::Map(vec![
            ("a".into(), Value::Array(vec![1.into(), (-5).into(), 1.5.into(), 2.5f32.into()])),
            ("b".into(), Value::Binary(vec![7; 300])),
            (Value::Nil, Value::Map(vec![])),
            (true.into(), Value::Ext(3, vec![1, 2, 3, 4])),
            (u64::MAX.into(), i64::MIN.into()),
            ("long".into(), Value::String("x".repeat(70_000).into())),
            ("many".into(), Value::Array(vec![Value::Nil; 500])),
        ]);
        let bytes = encode(&value);
        assert_eq!(decode(&bytes, &LIMITS).unwrap().to_owned(), value);
    }

    #[test]
    fn of_strangers_texts_a_few_dozen_bytes_are_repeated() {
        assert_eq!(brief("observation/image"), "observation/image");
        assert_eq!(brief("a\"\n\u{1b}"), "a\\\"\\n\\u{1b}");
        for long in ["x".repeat(1 << 20), "\u{7f}".repeat(1 << 20), "é".repeat(1 << 20)] {
            let brief = brief(&long);
            assert!(brief.len() <= ECHO + 3 && brief.ends_with("..."), "{brief}");
        }
        assert_eq!(extents(&[1, 2, 3, 4]), "[1, 2, 3, 4]");
        let claimed = extents(&vec![usize::MAX; 1 << 16]);
        assert_eq!(claimed, "[18446744073709551615, ... 65536 extents]");
        assert_eq!(extents(&[usize::MAX; 4]), "[18446744073709551615, ... 4 extents]");
    }

    #[test]
    fn damage_is_named() {
        let good = encode(&Value::Map(vec![("a".into(), 1.into())]));
        assert_eq!(decode(&[], &LIMITS), Err(WireError::Short(0)));
        assert_eq!(decode(&good[..good.len() - 1], &LIMITS), Err(WireError::Short(good.len() - 1)));
        assert_eq!(decode(&[good, vec![0]].concat(), &LIMITS), Err(WireError::Trailing(1)));
        assert_eq!(decode(&[0xc1], &LIMITS), Err(WireError::Malformed(0)));
        for claims in [0xdd, 0xdf, 0xc6, 0xdb, 0xc9] {
            let huge = [claims, 0xff, 0xff, 0xff, 0xff, 0];
            assert_eq!(decode(&huge, &LIMITS), Err(WireError::Short(6)), "{claims:x}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let deep = [0x91].repeat(100_000);
        assert_eq!(
            decode(&[&deep[..], &[0]].concat(), &LIMITS),
            Err(WireError::Limit { what: "levels in the message", most: DEPTH })
        );
        let wide = [&[0xdd, 0, 1, 0, 0][..], &vec![0xc0; 65536]].concat();
        assert_eq!(
            decode(&wide, &LIMITS),
            Err(WireError::Limit { what: "values in the message", most: 1000 })
        );
        // As deep as is allowed.
        let nested = [&[0x91].repeat(DEPTH)[..], &[0]].concat();
        assert!(decode(&nested, &LIMITS).is_ok());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e30..1e30).prop_map(Value::F64),
            (-1e30f32..1e30).prop_map(Value::F32),
            ".{0,40}".prop_map(|s| Value::String(s.into())),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
            (any::<i8>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(t, d)| Value::Ext(t, d)),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner), 0..8).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values()) {
            let limits = MessageLimits { values: 100_000, depth: 16 };
            prop_assert_eq!(decode(&encode(&value), &limits).unwrap().to_owned(), value);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(value) = decode(&bytes, &LIMITS) {
                // What the walk lets through, the decoder reads to the same end: written and read again it is the same.
                let written = encode(&value.to_owned());
                prop_assert_eq!(encode(&decode(&written, &LIMITS).unwrap().to_owned()), written);
            }
        }

        #[test]
        fn cut_messages_are_refused(value in values(), cut in 0.0f64..1.0) {
            let bytes = encode(&value);
            let limits = MessageLimits { values: 100_000, depth: 16 };
            let kept = (cut * bytes.len() as f64) as usize;
            prop_assert_eq!(decode(&bytes[..kept], &limits), Err(WireError::Short(kept)));
        }
    }
}
