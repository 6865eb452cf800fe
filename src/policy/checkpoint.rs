//! One file is a whole policy: a safetensors file whose metadata holds the [`PolicySpec`] and a checksum of both, whose
//! tensors are the weights (under PyTorch's names) and their moving average (`ema.` before the name).

use super::checksum::{CHECKSUM_KEY, OWN, by_name, checksum, verify};
use super::{PolicyError, PolicySpec, Result, lerobot};
use crate::data::budget::{MOST_FILE, read_file};
use crate::data::{Aside, WriteError};
use crate::nn::{ParamStore, StoreError};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
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
        if path.is_dir() {
            let hint = lerobot::hint(path).unwrap_or_else(|| "it holds no policy".into());
            return Err(PolicyError::Folder { path: path.into(), hint });
        }
        let bytes = read_file(path, "a policy", MOST_FILE)
            .map_err(|source| PolicyError::Read { path: path.into(), source })?;
        Policy::from_bytes(&bytes, path)
    }

    /// As [`Policy::load`], from memory; `path` is named in errors.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Policy> {
        let format = |reason: String| {
            let reason = match lerobot::hint(path) {
                Some(hint) => format!("{reason}; {hint}"),
                None => reason,
            };
            PolicyError::Format { path: path.into(), reason }
        };
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
        let known = [FORMAT_KEY, SPEC_KEY, CHECKSUM_KEY];
        if let Some(other) = metadata.keys().find(|k| k.starts_with(OWN) && !known.contains(&k.as_str())) {
            return Err(format(format!("its metadata has the unknown key {other:?}")));
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
        verify(&metadata, &file, &[("", &weights), (EMA_PREFIX, &ema)]).map_err(format)?;
        Ok(Policy { spec, weights, ema })
    }

    /// Checks that the policy can be loaded once it is written: the spec by [`PolicySpec::check`], and weights that are those
    /// of its network and finite.
    ///
    /// # Errors
    /// [`PolicyError`] naming the first fault.
    pub fn check(&self) -> Result<()> {
        self.spec.check()?;
        let params = self.spec.params()?;
        let layout = ParamStore::zeros(&params).layout;
        for (what, store) in [("the weights", &self.weights), ("their moving average", &self.ema)] {
            let names = |l: &crate::graph::ParamLayout| -> Vec<(String, Vec<usize>)> {
                l.iter().map(|i| (i.name.to_string(), i.shape.dims().to_vec())).collect()
            };
            if names(&store.layout) != names(&layout) || store.values.len() < store.layout.len() {
                let found = format!("{} parameters", store.layout.iter().count());
                let needed = format!("the {} of the network, in their order", params.len());
                return Err(PolicyError::Shape { what, found, needed });
            }
            for info in store.layout.iter() {
                let values = &store.values[info.offset..info.offset + info.shape.len()];
                if let Some(element) = values.iter().position(|v| !v.is_finite()) {
                    let (name, value) = (info.name.to_string(), values[element]);
                    return Err(StoreError::NonFinite { name, value, element }.into());
                }
            }
        }
        Ok(())
    }

    /// Writes the policy beside `path` and renames it into place.
    ///
    /// # Errors
    /// As [`Policy::check`], before anything is written; [`PolicyError::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.aside(path)?.commit()?)
    }

    /// The file written beside `path`, whole; [`Aside::commit`] puts it in place.
    pub(crate) fn aside(&self, path: impl AsRef<Path>) -> Result<Aside> {
        let bytes = self.to_bytes()?;
        let mut file = Aside::create(path)?;
        file.write_all(&bytes).map_err(|source| WriteError::File { path: file.path().into(), source })?;
        file.settle()?;
        Ok(file)
    }

    /// The file's bytes; the same policy gives the same bytes.
    ///
    /// # Errors
    /// As [`Policy::check`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        let bad = |reason: String| PolicyError::Format { path: "policy".into(), reason };
        let spec = serde_json::to_string(&self.spec).map_err(|e| bad(e.to_string()))?;
        let read: PolicySpec = serde_json::from_str(&spec).map_err(|e| bad(format!("{SPEC_KEY}: {e}")))?;
        if read != self.spec {
            return Err(bad(format!("{SPEC_KEY}: it would be read as another policy")));
        }
        let metadata = BTreeMap::from([(FORMAT_KEY, FORMAT_VERSION.to_string()), (SPEC_KEY, spec)]);
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

/// Parameter stores as one safetensors file, each under its prefix, with a checksum of all; tensors and keys of the metadata
/// lie in the order of their names, so that the same values are the same bytes.
pub(crate) fn serialize(stores: &[(&str, &ParamStore)], metadata: BTreeMap<&str, String>) -> Result<Vec<u8>> {
    let tensors = by_name(stores);
    let bad = |e: serde_json::Error| PolicyError::Format { path: "policy".into(), reason: e.to_string() };
    let sum = checksum(stores, metadata.iter().map(|(key, text)| (*key, text.as_str())));
    let mut keys: Map<String, Value> = metadata.into_iter().map(|(k, v)| (k.to_string(), v.into())).collect();
    keys.insert(CHECKSUM_KEY.into(), sum.into());
    let mut header = Map::from_iter([("__metadata__".to_string(), Value::Object(keys))]);
    let mut end = 0;
    for (name, (shape, values)) in &tensors {
        let start = end;
        end += size_of_val(*values);
        let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), tensor);
    }
    let mut text = serde_json::to_string(&header).map_err(bad)?;
    // Readers map the data, which begins at a multiple of 8.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + text.len() + end);
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.bytes());
    for (_, values) in tensors.values() {
        bytes.extend::<&[u8]>(bytemuck::cast_slice(values));
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
