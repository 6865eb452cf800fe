//! Matrices as values: numbers, texts, cells and structs, and what lies in them.

use super::element::Input;
use super::{MATRIX, MatValue, Parsed};
use crate::data::budget::{Budget, product};

/// Memory that every value takes beside its numbers: itself, its lengths and what their allocations cost.
const VALUE: u64 = size_of::<MatValue>() as u64 + 64;
/// How deep values may lie in each other.
pub const DEEPEST: usize = 32;

/// A matrix element's name and value; `deep` levels may still follow.
pub fn matrix(mut input: Input<'_>, deep: usize, budget: &mut Budget) -> Parsed<(String, MatValue)> {
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
