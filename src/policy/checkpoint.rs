//! One file is a whole policy: a safetensors file whose metadata holds the [`PolicySpec`], whose tensors are the weights
//! (under PyTorch's names) and their moving average (`ema.` before the name).

use super::{PolicyError, PolicySpec, Result};
use crate::data::write_aside;
use crate::nn::{ParamStore, StoreError};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

/// Version of the format that this build writes and reads.
pub const FORMAT_VERSION: u64 = 2;
/// Prefix of the moving average's tensors.
pub const EMA_PREFIX: &str = "ema.";

const FORMAT_KEY: &str = "advect.format";
const SPEC_KEY: &str = "advect.spec";

/// A policy: what it is and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What it is.
    pub spec: PolicySpec,
    /// The weights as the optimiser left them.
    pub weights: ParamStore,
    /// Their exponential moving average.
    pub ema: ParamStore,
}

/// Which weights to sample with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// The exponential moving average.
    #[default]
    Ema,
    /// The weights as the optimiser left them.
    Raw,
}

impl Policy {
    /// Reads a policy; anything missing, unknown or of another shape is an error that names it.
    pub fn load(path: impl AsRef<Path>) -> Result<Policy> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| PolicyError::Read { path: path.into(), source })?;
        Policy::from_bytes(&bytes, path)
    }

    /// As [`Policy::load`], from memory; `path` is named in errors.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Policy> {
        let format = |reason: String| PolicyError::Format { path: path.into(), reason };
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|e| format(format!("not a whole safetensors file ({e})")))?;
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| format(format!("not a whole safetensors file ({e})")))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let key =
            |k: &str| metadata.get(k).ok_or_else(|| format(format!("its metadata lacks the key {k:?}")));
        let version = key(FORMAT_KEY)?;
        let found: u64 =
            version.parse().map_err(|_| format(format!("{FORMAT_KEY} is {version:?}, not a number")))?;
        if found != FORMAT_VERSION {
            return Err(PolicyError::Version { path: path.into(), found, needed: FORMAT_VERSION });
        }
        let spec: PolicySpec =
            serde_json::from_str(key(SPEC_KEY)?).map_err(|e| format(format!("{SPEC_KEY}: {e}")))?;
        spec.check().map_err(|e| format(format!("{SPEC_KEY}: {e}")))?;
        let specs = spec.params().map_err(|e| format(format!("{SPEC_KEY}: {e}")))?;
        let tensor = |source: StoreError| PolicyError::Tensor { path: path.into(), source };
        // Before memory is taken for them: a damaged spec may ask for any size.
        for p in &specs {
            StoreError::check(&file, &p.name, p.shape.dims()).map_err(tensor)?;
        }
        let mut weights = ParamStore::zeros(&specs);
        weights.load(&file, "").map_err(tensor)?;
        let mut ema = ParamStore::zeros(&specs);
        ema.load(&file, EMA_PREFIX).map_err(tensor)?;
        for name in file.names() {
            let own = name.strip_prefix(EMA_PREFIX).unwrap_or(name);
            if weights.layout.get(own).is_err() {
                return Err(tensor(StoreError::Unexpected { name: name.to_string() }));
            }
        }
        Ok(Policy { spec, weights, ema })
    }

    /// Writes the policy beside `path` and renames it into place.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.to_bytes()?;
        write_aside(path, |file| file.write_all(&bytes))?;
        Ok(())
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let spec = serde_json::to_string(&self.spec)
            .map_err(|e| PolicyError::Format { path: "policy".into(), reason: e.to_string() })?;
        let metadata = HashMap::from([
            (FORMAT_KEY.to_string(), FORMAT_VERSION.to_string()),
            (SPEC_KEY.to_string(), spec),
        ]);
        serialize(&[("", &self.weights), (EMA_PREFIX, &self.ema)], metadata)
    }

    /// The weights asked for.
    pub fn params(&self, which: Weights) -> &ParamStore {
        match which {
            Weights::Ema => &self.ema,
            Weights::Raw => &self.weights,
        }
    }
}

/// Parameter stores as one safetensors file, each under its prefix.
pub(crate) fn serialize(
    stores: &[(&str, &ParamStore)],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let bad = |e: safetensors::SafeTensorError| PolicyError::Format {
        path: "policy".into(),
        reason: e.to_string(),
    };
    let mut tensors = Vec::new();
    for (prefix, store) in stores {
        for info in store.layout.iter() {
            let data = &store.values[info.offset..info.offset + info.shape.len()];
            let view = TensorView::new(Dtype::F32, info.shape.dims().to_vec(), bytemuck::cast_slice(data))
                .map_err(bad)?;
            tensors.push((format!("{prefix}{}", info.name), view));
        }
    }
    safetensors::serialize(tensors, Some(metadata)).map_err(bad)
}
