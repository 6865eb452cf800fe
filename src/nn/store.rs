//! The parameters' values: one flat array, by name.

use super::{Init, ParamSpec};
use crate::graph::ParamLayout;
use crate::kernel::philox;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::sync::Arc;

/// What can be wrong with named parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A parameter is not in the file.
    #[error("parameter {name:?} is missing; the file has {available}")]
    Missing {
        /// Its name.
        name: String,
        /// What there is.
        available: String,
    },
    /// A parameter that the network does not have.
    #[error("unknown parameter {name:?}")]
    Unexpected {
        /// Its name.
        name: String,
    },
    /// A parameter of another shape.
    #[error("parameter {name:?}: found shape {found:?}, needed {needed:?}")]
    Shape {
        /// Its name.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// In the network.
        needed: Vec<usize>,
    },
    /// A parameter that is no floating-point number of 16, 32 or 64 bits.
    #[error("parameter {name:?}: found {found}, needed F32, F16, BF16 or F64")]
    Dtype {
        /// Its name.
        name: String,
        /// In the file.
        found: String,
    },
    /// A parameter with a NaN or an infinity.
    #[error("parameter {name:?} holds {value} at element {element}")]
    NonFinite {
        /// Its name.
        name: String,
        /// The value.
        value: f32,
        /// Where.
        element: usize,
    },
}

impl StoreError {
    /// A tensor of the file, if it is there, of this shape, and of a type that [`values`] reads.
    pub(crate) fn check<'a>(
        file: &SafeTensors<'a>,
        name: &str,
        shape: &[usize],
    ) -> Result<TensorView<'a>, StoreError> {
        let tensor = file.tensor(name).map_err(|_| {
            let mut names: Vec<&str> = file.names().into_iter().collect();
            names.sort_unstable();
            names.truncate(20);
            StoreError::Missing { name: name.into(), available: names.join(", ") }
        })?;
        if !matches!(tensor.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
            return Err(StoreError::Dtype { name: name.into(), found: format!("{:?}", tensor.dtype()) });
        }
        if tensor.shape() != shape {
            let (found, needed) = (tensor.shape().to_vec(), shape.to_vec());
            return Err(StoreError::Shape { name: name.into(), found, needed });
        }
        Ok(tensor)
    }
}

/// The values of a checked tensor as f32: halves exactly, doubles rounded.
pub(crate) fn values<'a>(tensor: &TensorView<'a>) -> impl Iterator<Item = f32> + use<'a> {
    let (dtype, data) = (tensor.dtype(), tensor.data());
    let size = match dtype {
        Dtype::F16 | Dtype::BF16 => 2,
        Dtype::F64 => 8,
        _ => 4,
    };
    data.chunks_exact(size).map(move |b| match (dtype, b) {
        (Dtype::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (Dtype::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (_, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        // Chunks have one of the sizes above.
        _ => f32::NAN,
    })
}

/// Stream of the parameters' initial values; each parameter adds its number.
const STREAM: u32 = 0x1000;

/// Parameter values in the flat layout of [`ParamLayout`].
#[derive(Clone, Debug, PartialEq)]
pub struct ParamStore {
    /// Where each lies.
    pub layout: ParamLayout,
    /// All values; gaps are zero.
    pub values: Vec<f32>,
}

impl ParamStore {
    /// Initial values; the same seed gives the same values everywhere.
    pub fn init(specs: &[ParamSpec], seed: u64) -> ParamStore {
        let mut store = ParamStore::zeros(specs);
        for (i, (spec, info)) in specs.iter().zip(store.layout.iter()).enumerate() {
            let out = &mut store.values[info.offset..info.offset + info.shape.len()];
            match spec.init {
                Init::Zeros => {}
                Init::Ones => out.fill(1.0),
                Init::Normal(sd) => {
                    philox::fill_normal(seed, STREAM + i as u32, 0, 0, out);
                    out.iter_mut().for_each(|v| *v *= sd);
                }
                Init::Uniform(bound) => {
                    philox::fill_uniform(seed, STREAM + i as u32, 0, 0, out);
                    out.iter_mut().for_each(|v| *v = bound * (2.0 * *v - 1.0));
                }
            }
        }
        store
    }

    /// All zeros.
    pub fn zeros(specs: &[ParamSpec]) -> ParamStore {
        let mut layout = ParamLayout::default();
        for spec in specs {
            layout.push(Arc::from(spec.name.as_str()), spec.shape);
        }
        let values = vec![0.0; layout.len()];
        ParamStore { layout, values }
    }

    /// A parameter's values.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        let info = self.layout.get(name).ok()?;
        Some(&self.values[info.offset..info.offset + info.shape.len()])
    }

    /// Takes every parameter from `file`, where it is called `prefix` + its name and may be f16, bf16 or f64 too. A missing key or another shape is an
    /// error; keys with other prefixes are not looked at.
    pub fn load(&mut self, file: &SafeTensors<'_>, prefix: &str) -> Result<(), StoreError> {
        for info in self.layout.clone().iter() {
            let name = format!("{prefix}{}", info.name);
            let tensor = StoreError::check(file, &name, info.shape.dims())?;
            let out = &mut self.values[info.offset..info.offset + info.shape.len()];
            for (element, (to, from)) in out.iter_mut().zip(values(&tensor)).enumerate() {
                *to = from;
                if !to.is_finite() {
                    return Err(StoreError::NonFinite { name, value: *to, element });
                }
            }
        }
        Ok(())
    }
}
