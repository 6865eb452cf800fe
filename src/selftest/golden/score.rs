//! How far the computed tensors of a case are from the expected ones.

use super::{GoldenError, GoldenFile, Result};
use std::collections::BTreeSet;

/// Collects the comparisons of one case.
pub struct Score {
    tolerance: f64,
    worst: f64,
    tensor: String,
    compared: BTreeSet<String>,
}

/// ||got - want|| / ||want||, or ||got|| where nothing but zeros is expected.
pub fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    let (mut difference, mut norm) = (0.0f64, 0.0f64);
    for (g, w) in got.iter().zip(want) {
        difference += (f64::from(*g) - f64::from(*w)).powi(2);
        norm += f64::from(*w).powi(2);
    }
    if norm > 0.0 { (difference / norm).sqrt() } else { difference.sqrt() }
}

impl Score {
    /// Nothing compared yet.
    pub fn new(tolerance: f64) -> Score {
        Score { tolerance, worst: 0.0, tensor: String::new(), compared: BTreeSet::new() }
    }

    /// The worst error so far.
    pub fn worst(&self) -> f64 {
        self.worst
    }

    /// The tensor with the worst error.
    pub fn worst_tensor(&self) -> &str {
        &self.tensor
    }

    /// Compares `got` with the tensor `name`.
    pub fn close(&mut self, file: &GoldenFile, name: &str, got: &[f32]) -> Result<()> {
        let want = file.f32(name)?;
        self.length(name, got.len(), want.len())?;
        self.record(name, relative_error(got, &want));
        Ok(())
    }

    /// Compares `got` with the integer tensor `name`; any difference counts as an error of 1.
    pub fn equal(&mut self, file: &GoldenFile, name: &str, got: &[u32]) -> Result<()> {
        let want = file.u32(name)?;
        self.length(name, got.len(), want.len())?;
        self.record(name, if got == want { 0.0 } else { 1.0 });
        Ok(())
    }

    fn length(&self, name: &str, found: usize, needed: usize) -> Result<()> {
        match found == needed {
            true => Ok(()),
            false => Err(GoldenError::Mismatch(format!("{name}: found {found} elements, needed {needed}"))),
        }
    }

    /// Notes the relative error of a tensor.
    pub(super) fn record(&mut self, name: &str, error: f64) {
        self.compared.insert(name.into());
        // A NaN is worse than anything.
        if self.tensor.is_empty() || error.is_nan() || error > self.worst {
            (self.worst, self.tensor) = (error, name.into());
        }
    }

    /// Whether every expected tensor of the file was compared and met.
    pub(super) fn finish(&self, file: &GoldenFile) -> Result<()> {
        let expected = file.tensors().iter().filter(|t| t.starts_with("out.") || t.starts_with("grad."));
        let left: Vec<&str> = expected.filter(|t| !self.compared.contains(*t)).map(String::as_str).collect();
        if !left.is_empty() {
            return Err(GoldenError::Mismatch(format!("not compared: {}", left.join(", "))));
        }
        // Written so that a NaN fails.
        if self.worst <= self.tolerance && !self.compared.is_empty() {
            return Ok(());
        }
        let (name, error, tol) = (&self.tensor, self.worst, self.tolerance);
        Err(GoldenError::Mismatch(format!("{name}: relative error {error:.2e}, needed at most {tol:.0e}")))
    }
}
