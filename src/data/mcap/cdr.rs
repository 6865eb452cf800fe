//! ROS 2 messages: definitions as `.msg` files have them, and the bytes that CDR lays out by them.

use std::collections::HashMap;

use super::records::Schema;
use crate::data::number::Number;

/// Messages within messages that are followed.
const DEEPEST: usize = 32;

/// The type of one value.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Number(Number),
    Text,
    /// Of a message, by its name.
    Message(String),
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Count {
    One,
    Fixed(usize),
    /// As many as a word before them says.
    Any,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: Kind,
    count: Count,
}

/// A message and those that it is made of.
#[derive(Debug)]
pub struct Definition {
    root: String,
    messages: HashMap<String, Vec<Field>>,
}

/// What was taken from a message.
#[derive(Debug, Default)]
pub struct Taken {
    /// The numbers below the field, in order.
    pub values: Vec<f64>,
    /// The texts of a field `name`, `names` or `joint_names` that stands beside it.
    pub labels: Vec<String>,
}

/// `pkg/msg/Type` as `pkg/Type`.
fn short(name: &str) -> String {
    name.replace("/msg/", "/")
}

impl Definition {
    /// Reads a schema's text.
    pub fn parse(schema: &Schema) -> Result<Definition, String> {
        let root = short(&schema.name);
        let mut messages: HashMap<String, Vec<Field>> = HashMap::new();
        let (mut name, mut fields) = (root.clone(), Vec::new());
        for line in schema.text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(next) = line.strip_prefix("MSG:") {
                messages
                    .insert(std::mem::replace(&mut name, short(next.trim())), std::mem::take(&mut fields));
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(kind), Some(field)) = (words.next(), words.next()) else { continue };
            // A constant takes no bytes.
            if field.contains('=') || words.next().is_some_and(|next| next.starts_with('=')) {
                continue;
            }
            fields.push(self::field(kind, field, &name)?);
        }
        messages.insert(name, fields);
        Ok(Definition { root, messages })
    }

    /// The numbers of a message below a field.
    pub fn numbers(&self, data: &[u8], fields: &[String]) -> Result<Taken, String> {
        let [0, kind @ (0 | 1), _, _, body @ ..] = data else {
            return Err("found another encapsulation than plain CDR".into());
        };
        let mut cdr = Cdr { body, at: 0, big: *kind == 0, taken: Taken::default() };
        self.message(&self.root, &mut cdr, Some(fields), 0)?;
        Ok(cdr.taken)
    }

    fn message(
        &self,
        name: &str,
        cdr: &mut Cdr<'_>,
        wanted: Option<&[String]>,
        depth: usize,
    ) -> Result<(), String> {
        let fields = self.messages.get(name).ok_or_else(|| format!("no definition of {name}"))?;
        if depth > DEEPEST {
            return Err(format!("messages within messages, deeper than {DEEPEST}"));
        }
        if let Some([first, ..]) = wanted
            && !fields.iter().any(|field| field.name == *first)
        {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            return Err(format!("{name} has no field '{first}'; present: {}", names.join(", ")));
        }
        // A message without fields takes a byte.
        if fields.is_empty() {
            cdr.word(1)?;
        }
        for field in fields {
            let inner = match wanted {
                Some([first, rest @ ..]) if *first == field.name => Some(rest),
                // A whole message: all but its header and texts.
                Some([]) if field.name != "header" && depth > 0 => Some(&[][..]),
                _ => None,
            };
            let beside = matches!(wanted, Some([_]))
                && matches!(field.name.as_str(), "name" | "names" | "joint_names");
            let count = match field.count {
                Count::One => 1,
                Count::Fixed(count) => count,
                Count::Any => cdr.word(4)? as usize,
            };
            // Every value takes a byte at least.
            if count > cdr.body.len() - cdr.at {
                return Err(format!("'{}': the message ends early", field.name));
            }
            for _ in 0..count {
                match &field.kind {
                    Kind::Number(number) => {
                        let bytes = cdr.aligned(number.size())?;
                        if inner.is_some() {
                            let value = number.value(bytes, cdr.big);
                            cdr.taken.values.push(value);
                        }
                    }
                    Kind::Text => {
                        let length = cdr.word(4)? as usize;
                        let text = cdr.bytes(length)?;
                        if beside {
                            let text = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
                            cdr.taken.labels.push(text);
                        }
                    }
                    Kind::Message(name) => self.message(name, cdr, inner, depth + 1)?,
                }
            }
        }
        Ok(())
    }
}

fn field(kind: &str, name: &str, within: &str) -> Result<Field, String> {
    let (base, count) = match kind.split_once('[') {
        None => (kind, Count::One),
        Some((base, bound)) => match bound.trim_end_matches(']') {
            "" => (base, Count::Any),
            bound if bound.starts_with("<=") => (base, Count::Any),
            // Each value takes a byte at least, which bounds what a message can ask for.
            bound => match bound.parse() {
                Ok(count @ 1..) => (base, Count::Fixed(count)),
                _ => return Err(format!("the type {kind}")),
            },
        },
    };
    let base = base.split("<=").next().unwrap_or(base);
    let number = match base {
        "bool" | "byte" | "char" | "uint8" => Some(Number::Uint(1)),
        "int8" => Some(Number::Int(1)),
        "int16" => Some(Number::Int(2)),
        "uint16" => Some(Number::Uint(2)),
        "int32" => Some(Number::Int(4)),
        "uint32" => Some(Number::Uint(4)),
        "int64" => Some(Number::Int(8)),
        "uint64" => Some(Number::Uint(8)),
        "float32" => Some(Number::Float(4)),
        "float64" => Some(Number::Float(8)),
        _ => None,
    };
    let kind = match (number, base) {
        (Some(number), _) => Kind::Number(number),
        (None, "string") => Kind::Text,
        (None, "wstring") => return Err("a wstring, which is not read".into()),
        (None, "Header") => Kind::Message("std_msgs/Header".into()),
        (None, other) if other.contains('/') => Kind::Message(short(other)),
        // A message of the same package.
        (None, other) => Kind::Message(format!("{}/{other}", within.split('/').next().unwrap_or_default())),
    };
    Ok(Field { name: name.into(), kind, count })
}

/// Bytes laid out by CDR: each number at a multiple of its size.
struct Cdr<'a> {
    body: &'a [u8],
    at: usize,
    big: bool,
    taken: Taken,
}

impl<'a> Cdr<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.body.len());
        let end = end.ok_or("the message ends early")?;
        let bytes = &self.body[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn aligned(&mut self, size: usize) -> Result<&'a [u8], String> {
        self.at = self.at.next_multiple_of(size).min(self.body.len());
        self.bytes(size)
    }

    fn word(&mut self, size: usize) -> Result<u32, String> {
        let bytes = self.aligned(size)?;
        Ok(Number::Uint(size).value(bytes, self.big) as u32)
    }
}
