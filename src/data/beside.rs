//! Observation columns of several arrays as one array of observations.

use super::error::DataError;
use super::inputs::ObsInput;

/// Puts observation columns [T, dim] side by side, in the order given: values [T, O], O and the inputs that they are.
pub(super) fn beside(
    mut parts: Vec<(&str, Vec<f32>, usize)>,
) -> Result<(Vec<f32>, usize, Vec<ObsInput>), DataError> {
    let alone = parts.len() == 1;
    let input =
        |&(name, _, dim): &(&str, Vec<f32>, usize)| ObsInput { name: ObsInput::key(name, alone), dim };
    let inputs: Vec<ObsInput> = parts.iter().map(input).collect();
    let width = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.2));
    let Some((first, data, dim)) = parts.first() else {
        return Err(DataError::Value {
            what: "obs".into(),
            found: "no array".into(),
            needed: "at least one",
        });
    };
    let rows = data.len() / dim;
    for (name, data, dim) in &parts {
        let found = data.len() / dim;
        if found != rows {
            let what = format!("{name} rows (as many as {first} has)");
            return Err(DataError::Count { what, found, needed: rows });
        }
    }
    if alone && let Some((_, data, _)) = parts.pop() {
        return Ok((data, width, inputs));
    }
    let mut obs = Vec::with_capacity(parts.iter().map(|part| part.1.len()).sum());
    for row in 0..rows {
        for (_, data, dim) in &parts {
            obs.extend_from_slice(&data[row * dim..(row + 1) * dim]);
        }
    }
    Ok((obs, width, inputs))
}
