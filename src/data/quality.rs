//! How close samples come to demonstrations, by the energy distance.
//!
//! Protocol for a conditional policy ([`energy_over_draws`]; `benches/peers/energy.py` is the same in Python):
//! 1. Take M observations with the demonstrated chunk of each, from held-out windows; the same M for every method.
//! 2. Sample K chunks for each observation, draw k of every observation with the same seed k.
//! 3. For each k pool one chunk per observation (M chunks) and take the energy distance to the M demonstrated chunks.
//!    Compare in normalised units, so that no action dimension outweighs the others.
//! 4. Report mean and standard error over the K draws.
//!
//! It compares the pooled chunks, not each conditional: no observation has more than one demonstration. And it is a
//! V-statistic, so even perfect samples do not reach 0: with M rows a side from the same distribution its expectation is
//! 2/M times their mean distance. Compare methods at equal M.

use rayon::prelude::*;

use super::error::DataError;

/// A mean and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean of the values.
    pub mean: f64,
    /// Sample standard deviation (n - 1) over the root of n; None for a single value.
    pub standard_error: Option<f64>,
    /// Number of values.
    pub count: usize,
}

/// Energy distance 2 E|x - y| - E|x - x'| - E|y - y'| between the rows of x [n, dim] and y [m, dim]: all pairs, i = j
/// included (V-statistic), Euclidean norm, summed in f64 in a fixed order. It has the unit of the values and is 0 only
/// for equal sets. Cost: (n + m)^2 / 2 * dim.
///
/// # Errors
/// [`DataError`] if dim is 0, a set is empty or not whole rows, or a value is not finite.
pub fn energy_distance(x: &[f32], y: &[f32], dim: usize) -> Result<f64, DataError> {
    check("x", x, dim)?;
    check("y", y, dim)?;
    let pairs = |a: usize, b: usize| (a / dim) as f64 * (b / dim) as f64;
    let cross = sum_between(x, y, dim) / pairs(x.len(), y.len());
    let within_x = sum_within(x, dim) / pairs(x.len(), x.len());
    let within_y = sum_within(y, dim) / pairs(y.len(), y.len());
    Ok(2.0 * cross - within_x - within_y)
}

/// Energy distance of each draw's chunks to the demonstrated ones, averaged over the draws: demonstrated [M, dim],
/// sampled [M, draws, dim] (see the module's text for the protocol). dim is horizon x action_dim.
///
/// # Errors
/// [`DataError`] if the shapes do not match, a set is empty, or a value is not finite.
pub fn energy_over_draws(
    demonstrated: &[f32],
    sampled: &[f32],
    draws: usize,
    dim: usize,
) -> Result<Estimate, DataError> {
    check("demonstrated", demonstrated, dim)?;
    let rows = demonstrated.len() / dim;
    let needed = demonstrated.len().saturating_mul(draws);
    if draws == 0 || sampled.len() != needed {
        let what = format!("sampled values ({rows} observations x {draws} draws x {dim})");
        return Err(DataError::Count { what, found: sampled.len(), needed: needed.max(demonstrated.len()) });
    }
    let mut pooled = Vec::with_capacity(demonstrated.len());
    let mut distances = Vec::with_capacity(draws);
    for draw in 0..draws {
        pooled.clear();
        for chunks in sampled.chunks_exact(draws * dim) {
            pooled.extend_from_slice(&chunks[draw * dim..(draw + 1) * dim]);
        }
        distances.push(energy_distance(demonstrated, &pooled, dim)?);
    }
    mean_and_standard_error(&distances)
}

/// Mean and standard error of values.
///
/// # Errors
/// [`DataError::Value`] if there is none.
pub fn mean_and_standard_error(values: &[f64]) -> Result<Estimate, DataError> {
    let count = values.len();
    if count == 0 {
        let needed = "at least 1 value";
        return Err(DataError::Value { what: "values to average".into(), found: "0".into(), needed });
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let error = || (squares / (count - 1) as f64 / count as f64).sqrt();
    Ok(Estimate { mean, standard_error: (count > 1).then(error), count })
}

/// Rows that one task compares: enough to reuse the other side from the cache.
const BLOCK: usize = 32;

fn sum_between(x: &[f32], y: &[f32], dim: usize) -> f64 {
    blocks(x, dim, |_, rows| {
        y.chunks_exact(dim).map(|b| rows.chunks_exact(dim).map(|a| distance(a, b)).sum::<f64>()).sum()
    })
}

/// Over ordered pairs: each unordered one counts twice, and a row's distance to itself is 0.
fn sum_within(x: &[f32], dim: usize) -> f64 {
    2.0 * blocks(x, dim, |start, rows| {
        rows.chunks_exact(dim)
            .enumerate()
            .map(|(i, a)| x.chunks_exact(dim).take(start + i).map(|b| distance(a, b)).sum::<f64>())
            .sum()
    })
}

/// Sums over blocks of rows, in the blocks' order whatever the threads do: equal inputs give equal bits.
fn blocks(x: &[f32], dim: usize, sum: impl Fn(usize, &[f32]) -> f64 + Sync) -> f64 {
    let parts: Vec<f64> =
        x.par_chunks(BLOCK * dim).enumerate().map(|(block, rows)| sum(block * BLOCK, rows)).collect();
    parts.iter().sum()
}

/// In eight running sums, which vector units take at once; the order is fixed all the same.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |a: f32, b: f32| {
        let difference = f64::from(a) - f64::from(b);
        difference * difference
    };
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += square(a[lane], b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| square(*a, *b)).sum();
    (sums.iter().sum::<f64>() + rest).sqrt()
}

fn check(name: &str, data: &[f32], dim: usize) -> Result<(), DataError> {
    if dim == 0 || data.is_empty() || !data.len().is_multiple_of(dim) {
        let found = vec![data.len().checked_div(dim).unwrap_or(0), dim];
        let needed = "[rows, values] with at least 1 of each, in whole rows";
        return Err(DataError::Shape { array: format!("sample set {name}"), found, needed });
    }
    let Some(at) = data.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let what = format!("sample set {name} at row {}, column {}", at / dim, at % dim);
    Err(DataError::Value { what, found: data[at].to_string(), needed: "finite numbers" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shared_vector_holds() {
        #[derive(serde::Deserialize)]
        struct Vector {
            x: Vec<Vec<f32>>,
            y: Vec<Vec<f32>>,
            draws: Vec<Vec<Vec<f32>>>,
            energy: f64,
            mean: f64,
            standard_error: f64,
        }
        let text = include_str!("../../benches/peers/energy_vector.json");
        let vector: Vector = serde_json::from_str(text).unwrap();
        let (x, y, draws) = (vector.x.concat(), vector.y.concat(), vector.draws.concat().concat());
        assert!((energy_distance(&x, &y, 3).unwrap() - vector.energy).abs() < 1e-12);
        let estimate = energy_over_draws(&x, &draws, 4, 3).unwrap();
        assert!((estimate.mean - vector.mean).abs() < 1e-12);
        assert!((estimate.standard_error.unwrap() - vector.standard_error).abs() < 1e-12);
    }

    #[test]
    fn known_values() {
        // 2 * 3 - 0 - 0
        assert_eq!(energy_distance(&[0.0, 0.0], &[0.0, 3.0], 2).unwrap(), 6.0);
        // 2 * 1 - (0 + 2 + 2 + 0) / 4 - 0
        assert_eq!(energy_distance(&[0.0, 2.0], &[1.0], 1).unwrap(), 1.0);
        let estimate = mean_and_standard_error(&[1.0, 3.0]).unwrap();
        assert_eq!(estimate, Estimate { mean: 2.0, standard_error: Some(1.0), count: 2 });
        assert_eq!(mean_and_standard_error(&[4.0]).unwrap().standard_error, None);
    }

    #[test]
    fn bad_sets_are_named() {
        let fault = |x: &[f32], y: &[f32], dim| energy_distance(x, y, dim).unwrap_err().to_string();
        assert!(fault(&[], &[1.0], 1).starts_with("sample set x: wrong shape: found [0, 1]"));
        assert!(fault(&[1.0], &[1.0, 2.0, 3.0], 2).starts_with("sample set x: wrong shape"));
        assert!(fault(&[1.0], &[1.0], 0).contains("found [0, 0]"));
        assert!(
            fault(&[1.0, 2.0], &[1.0, f32::NAN], 2).starts_with("sample set y at row 0, column 1: found NaN")
        );
        assert!(matches!(energy_over_draws(&[1.0], &[1.0], 2, 1), Err(DataError::Count { needed: 2, .. })));
        assert!(matches!(energy_over_draws(&[1.0], &[], 0, 1), Err(DataError::Count { .. })));
        assert!(mean_and_standard_error(&[]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn is_symmetric_and_zero_for_equal_sets(
            x in prop::collection::vec(-5.0f32..5.0, 3..300), y in prop::collection::vec(-5.0f32..5.0, 3..200),
        ) {
            let (x, y) = (&x[..x.len() / 3 * 3], &y[..y.len() / 3 * 3]);
            let forward = energy_distance(x, y, 3).unwrap();
            prop_assert!(forward > -1e-9);
            prop_assert!((forward - energy_distance(y, x, 3).unwrap()).abs() < 1e-9);
            prop_assert!(energy_distance(x, x, 3).unwrap().abs() < 1e-9);
            prop_assert_eq!(forward.to_bits(), energy_distance(x, y, 3).unwrap().to_bits());
        }
    }
}
