//! Sliced Wasserstein distance (Bonneel 2015): the mean over directions of the one-dimensional distance.

use crate::compare::tasks::draw::Draw;
use crate::data::DataError;
use rayon::prelude::*;

/// Directions, the same for every method.
const DIRECTIONS: usize = 128;

/// (mean over unit directions u of W2^2(u . x, u . y))^(1/2) of two sets of as many rows, [n, dim] each. In one dimension W2^2 is the
/// mean square difference of the sorted values. The directions are 128 normalised Gaussian vectors from a fixed seed (one
/// dimension: the only one).
///
/// # Errors
/// [`DataError`] if the sets are empty or not of the same whole number of rows.
pub fn sliced_wasserstein(x: &[f32], y: &[f32], dim: usize) -> Result<f64, DataError> {
    if dim == 0 || x.is_empty() || x.len() != y.len() || !x.len().is_multiple_of(dim) {
        let what = format!("values of the second sample set ({dim} to a row)");
        return Err(DataError::Count { what, found: y.len(), needed: x.len().max(dim) });
    }
    let mut draw = Draw::new(0x51CE);
    let directions: Vec<Vec<f64>> = (0..if dim == 1 { 1 } else { DIRECTIONS })
        .map(|_| {
            let u: Vec<f64> = (0..dim).map(|_| draw.normal()).collect();
            let norm = u.iter().map(|v| v * v).sum::<f64>().sqrt();
            u.into_iter().map(|v| v / norm).collect()
        })
        .collect();
    let squares: Vec<f64> = directions
        .par_iter()
        .map(|u| {
            let sorted = |rows: &[f32]| {
                let dot = |r: &[f32]| r.iter().zip(u).map(|(v, u)| f64::from(*v) * u).sum::<f64>();
                let mut p: Vec<f64> = rows.chunks_exact(dim).map(dot).collect();
                p.sort_unstable_by(f64::total_cmp);
                p
            };
            let (a, b) = (sorted(x), sorted(y));
            a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64
        })
        .collect();
    Ok((squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        let x = [0.0, 0.0, 1.0, 2.0, -1.0, 0.5];
        assert_eq!(sliced_wasserstein(&x, &x, 2).unwrap(), 0.0);
        // Order does not matter; in one dimension a shift is its own distance.
        assert!((sliced_wasserstein(&[1.0, 2.0, 4.0], &[7.0, 4.0, 5.0], 1).unwrap() - 3.0).abs() < 1e-12);
        // A shift by d in `dim` dimensions: (mean (u . d)^2)^(1/2) = |d| / dim^(1/2), up to the choice of directions.
        let shifted: Vec<f32> = x.iter().enumerate().map(|(i, v)| v + [3.0, 4.0][i % 2]).collect();
        let distance = sliced_wasserstein(&x, &shifted, 2).unwrap();
        assert!((distance - 5.0 / 2f64.sqrt()).abs() < 0.3, "{distance}");
        assert!(sliced_wasserstein(&x, &x[..4], 2).is_err() && sliced_wasserstein(&[], &[], 2).is_err());
    }
}
