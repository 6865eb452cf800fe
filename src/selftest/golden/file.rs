//! One golden file: metadata and tensors.

use super::{GoldenError, Result};
use crate::graph::Shape;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

/// A golden case as read from its file.
pub struct GoldenFile {
    name: String,
    bytes: Vec<u8>,
    case: String,
    attrs: serde_json::Value,
    tolerance: f64,
    tensors: Vec<String>,
}

impl GoldenFile {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<GoldenFile> {
        let bytes = std::fs::read(path).map_err(|source| GoldenError::Io { path: path.into(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        GoldenFile::parse(name, bytes)
    }

    /// Parses a file's contents.
    pub fn parse(name: String, bytes: Vec<u8>) -> Result<GoldenFile> {
        let bad = |what: String| GoldenError::Format { file: name.clone(), what };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let entry =
            |key: &str| metadata.get(key).cloned().ok_or_else(|| bad(format!("metadata {key:?} is missing")));
        let attrs: serde_json::Value =
            serde_json::from_str(&entry("attrs")?).map_err(|e| bad(format!("attrs: {e}")))?;
        let tolerance: f64 = entry("tol")?.parse().map_err(|e| bad(format!("tol: {e}")))?;
        let mut case = entry("case")?;
        if case == "loss" {
            let objective =
                attrs["objective"].as_str().ok_or_else(|| bad("a loss without objective".into()))?;
            case = format!("loss/{objective}");
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
        let mut tensors: Vec<String> = file.names().into_iter().map(|n| n.to_string()).collect();
        tensors.sort();
        Ok(GoldenFile { name, bytes, case, attrs, tolerance, tensors })
    }

    /// The file's name, without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is computed; `loss/` is followed by the objective.
    pub fn case(&self) -> &str {
        &self.case
    }

    /// The relative L2 error allowed; 0: equal integers.
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// The tensors' names, in order.
    pub fn tensors(&self) -> &[String] {
        &self.tensors
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|t| t == name)
    }

    /// All tensors.
    pub fn contents(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| self.bad(e.to_string()))
    }

    pub(super) fn bad(&self, what: String) -> GoldenError {
        GoldenError::Format { file: self.name.clone(), what }
    }

    /// An attribute that is a number.
    pub fn number(&self, key: &str) -> Result<f64> {
        self.attrs[key].as_f64().ok_or_else(|| self.bad(format!("attribute {key:?} is no number")))
    }

    /// An attribute that is true or false.
    pub fn flag(&self, key: &str) -> Result<bool> {
        self.attrs[key]
            .as_bool()
            .ok_or_else(|| self.bad(format!("attribute {key:?} is neither true nor false")))
    }

    /// An attribute that is a text.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.attrs[key].as_str().ok_or_else(|| self.bad(format!("attribute {key:?} is no text")))
    }

    /// Fails unless an attribute has the one value that the engine knows.
    pub fn expect(&self, key: &'static str, value: impl Into<serde_json::Value>) -> Result<()> {
        if self.attrs[key] == value.into() {
            return Ok(());
        }
        Err(GoldenError::Unknown { what: key, found: self.attrs[key].to_string() })
    }

    fn tensor<'a>(&self, all: &'a SafeTensors<'_>, name: &str, dtype: Dtype) -> Result<TensorView<'a>> {
        let view = all.tensor(name).map_err(|e| self.bad(format!("{name}: {e}")))?;
        match view.dtype() == dtype {
            true => Ok(view),
            false => Err(self.bad(format!("{name}: found {:?}, needed {dtype:?}", view.dtype()))),
        }
    }

    /// A tensor's shape.
    pub fn dims(&self, name: &str) -> Result<Vec<usize>> {
        let all = self.contents()?;
        let view = all.tensor(name).map_err(|e| self.bad(format!("{name}: {e}")))?;
        Ok(view.shape().to_vec())
    }

    /// A tensor's shape as graphs have them.
    pub fn shape(&self, name: &str) -> Result<Shape> {
        let dims = self.dims(name)?;
        Shape::new(&dims)
            .ok_or_else(|| self.bad(format!("{name}: found {dims:?}, needed at most 4 dimensions")))
    }

    /// A tensor of f32.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>> {
        let all = self.contents()?;
        let view = self.tensor(&all, name, Dtype::F32)?;
        Ok(view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// A tensor of i64.
    pub fn i64(&self, name: &str) -> Result<Vec<i64>> {
        let all = self.contents()?;
        let view = self.tensor(&all, name, Dtype::I64)?;
        Ok(view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    /// A tensor of i64 that holds 32-bit words.
    pub fn u32(&self, name: &str) -> Result<Vec<u32>> {
        let words = self.i64(name)?.into_iter().map(u32::try_from).collect::<std::result::Result<_, _>>();
        words.map_err(|e| self.bad(format!("{name}: {e}")))
    }
}
