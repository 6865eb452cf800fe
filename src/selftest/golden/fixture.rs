//! Golden files for the kernels' own unit tests, which panic where a file is not as it should be.

use super::GoldenFile;
use super::score::relative_error;
use std::path::PathBuf;

/// The folder of the golden cases: `tests/golden`, or what ADVECT_GOLDEN_DIR names.
pub(crate) fn folder() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    std::env::var_os("ADVECT_GOLDEN_DIR").unwrap_or_else(|| default.into()).into()
}

/// One golden case.
pub(crate) struct Golden(GoldenFile);

impl Golden {
    /// The case of that name.
    pub(crate) fn read(name: &str) -> Golden {
        let path = folder().join(format!("{name}.safetensors"));
        Golden(GoldenFile::open(&path).unwrap_or_else(|e| panic!("{e}")))
    }

    /// A number among the attributes.
    pub(crate) fn number(&self, key: &str) -> f64 {
        self.0.number(key).unwrap()
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.0.dims(name).unwrap()
    }

    /// An f32 tensor.
    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        self.0.f32(name).unwrap()
    }

    /// An i64 tensor.
    pub(crate) fn i64(&self, name: &str) -> Vec<i64> {
        self.0.i64(name).unwrap()
    }

    /// Panics unless `got` agrees with a tensor within the case's tolerance.
    pub(crate) fn check(&self, name: &str, got: &[f32]) {
        let want = self.f32(name);
        assert_eq!(got.len(), want.len(), "{}: {name}", self.0.name());
        let (error, needed) = (relative_error(got, &want), self.0.tolerance());
        assert!(error <= needed, "{}: {name} off by {error:.2e}, needed {needed:.0e}", self.0.name());
    }
}
