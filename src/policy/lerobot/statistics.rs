//! The normaliser of a LeRobot policy, from wherever its version keeps it.
//!
//! LeRobot 0.4 writes `policy_preprocessor.json` and `policy_postprocessor.json`, which name safetensors files with tensors
//! `<feature>.<statistic>`. Older versions keep them in the model itself, as `normalize_inputs.buffer_<feature>.<statistic>`.

use super::Import;
use super::config::{ACTION, Config, Feature, Mode, mode};
use crate::nn::StoreError;
use crate::policy::{NormKind, Normalizer, PolicyError, Result, Scope};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A pipeline's file.
#[derive(Deserialize)]
struct Pipeline {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    registry_name: Option<String>,
    #[serde(default)]
    config: Map<String, Value>,
    state_file: Option<String>,
}

/// Statistics of one direction: where they are and how they are used.
struct Statistics {
    file: String,
    bytes: Vec<u8>,
    mapping: Map<String, Value>,
    eps: f64,
}

/// Both directions.
pub(super) struct Source {
    observations: Statistics,
    actions: Statistics,
    renamed: Map<String, Value>,
    old: bool,
}

const PREPROCESSOR: &str = "policy_preprocessor.json";
const POSTPROCESSOR: &str = "policy_postprocessor.json";
const MODEL: &str = "model.safetensors";
/// Prefixes of the older layout.
const OLD: [&str; 3] = ["normalize_inputs.", "normalize_targets.", "unnormalize_outputs."];

impl Source {
    /// Finds the statistics of a directory.
    pub(super) fn find(at: &Import<'_>, config: &Config, model: &SafeTensors<'_>) -> Result<Source> {
        if at.dir.join(PREPROCESSOR).is_file() {
            let steps = |file| -> Result<Vec<Step>> {
                let pipeline: Pipeline =
                    serde_json::from_str(&at.text(file)?).map_err(|e| at.bad(file, e.to_string()))?;
                Ok(pipeline.steps)
            };
            let (pre, post) = (steps(PREPROCESSOR)?, steps(POSTPROCESSOR)?);
            let renamed = find(&pre, "rename_observations_processor")
                .and_then(|s| s.config.get("rename_map")?.as_object().cloned())
                .unwrap_or_default();
            return Ok(Source {
                observations: Statistics::of(at, PREPROCESSOR, find(&pre, "normalizer_processor"))?,
                actions: Statistics::of(at, POSTPROCESSOR, find(&post, "unnormalizer_processor"))?,
                renamed,
                old: false,
            });
        }
        if !model.names().iter().any(|n| OLD.iter().any(|prefix| n.starts_with(prefix))) {
            let what =
                format!("no normaliser statistics: found neither {PREPROCESSOR} nor {}* in {MODEL}", OLD[0]);
            return Err(at.bad(PREPROCESSOR, what));
        }
        let old = || -> Result<Statistics> {
            let (bytes, mapping) = (at.read(MODEL)?, config.mapping().clone());
            Ok(Statistics { file: MODEL.into(), bytes, mapping, eps: 1e-8 })
        };
        Ok(Source { observations: old()?, actions: old()?, renamed: Map::new(), old: true })
    }

    /// Whether a tensor of the model's file belongs to the normaliser.
    pub(super) fn owns(&self, tensor: &str) -> bool {
        self.old && OLD.iter().any(|prefix| tensor.starts_with(prefix))
    }

    /// What a feature is called by who sends it.
    pub(super) fn renamed_from(&self, key: &str) -> Option<&str> {
        self.renamed.iter().find(|(_, to)| to.as_str() == Some(key)).map(|(from, _)| from.as_str())
    }

    /// The normaliser of the features side by side. Its kind is that of the first; offset and scale say what is done.
    pub(super) fn observations(&self, at: &Import<'_>, features: &[Feature]) -> Result<Normalizer> {
        let mut all =
            Normalizer { kind: NormKind::Identity, scope: Scope::PerDim, offset: vec![], scale: vec![] };
        for (i, f) in features.iter().enumerate() {
            let name = match self.old {
                true => format!("{}buffer_{}.", OLD[0], f.key.replace('.', "_")),
                false => format!("{}.", f.key),
            };
            let one = self.observations.normalizer(at, f, &name, false)?;
            if i == 0 {
                all.kind = one.kind;
            }
            all.offset.extend(one.offset);
            all.scale.extend(one.scale);
        }
        Ok(all)
    }

    /// The normaliser of the actions.
    pub(super) fn actions(&self, at: &Import<'_>, feature: &Feature) -> Result<Normalizer> {
        let name = match self.old {
            true => format!("{}buffer_{ACTION}.", OLD[2]),
            false => format!("{ACTION}."),
        };
        self.actions.normalizer(at, feature, &name, true)
    }
}

fn find<'a>(steps: &'a [Step], name: &str) -> Option<&'a Step> {
    steps.iter().find(|s| s.registry_name.as_deref() == Some(name))
}

impl Statistics {
    fn of(at: &Import<'_>, file: &str, step: Option<&Step>) -> Result<Statistics> {
        let step = step.ok_or_else(|| at.bad(file, "it has no normaliser step".into()))?;
        let missing = |key: &str| at.bad(file, format!("its normaliser lacks {key:?}"));
        let state = step.state_file.clone().ok_or_else(|| missing("state_file"))?;
        // Only a file of the directory itself.
        if std::path::Path::new(&state).components().count() != 1 || state.starts_with('.') {
            return Err(at.bad(file, format!("state_file: found {state:?}, needed a file's name")));
        }
        let mapping = step.config.get("norm_map").and_then(Value::as_object);
        let eps = step.config.get("eps").and_then(Value::as_f64);
        Ok(Statistics {
            bytes: at.read(&state)?,
            file: state,
            mapping: mapping.cloned().ok_or_else(|| missing("norm_map"))?,
            eps: eps.ok_or_else(|| missing("eps"))?,
        })
    }

    /// The affine map of one feature, whose statistics' names begin with `name`. `inverse`: as LeRobot's unnormaliser
    /// undoes it, which differs where a dimension never changes.
    fn normalizer(
        &self,
        at: &Import<'_>,
        feature: &Feature,
        name: &str,
        inverse: bool,
    ) -> Result<Normalizer> {
        let file = at.tensors(&self.file, &self.bytes)?;
        let values = |statistic: &str| -> Result<Vec<f64>> {
            let tensor = StoreError::check(&file, &format!("{name}{statistic}"), &[feature.dim])
                .map_err(|source| PolicyError::Tensor { path: at.dir.join(&self.file), source })?;
            let (values, _) = tensor.data().as_chunks::<4>();
            Ok(values.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect())
        };
        let (kind, pairs): (NormKind, Vec<(f64, f64)>) = match mode(&self.mapping, &feature.kind, at)? {
            Mode::Identity => (NormKind::Identity, vec![(0.0, 1.0); feature.dim]),
            Mode::MeanStd => {
                let pairs = values("mean")?.into_iter().zip(values("std")?);
                let scale = |std: f64| if inverse && std > 0.0 { 1.0 / std } else { 1.0 / (std + self.eps) };
                (NormKind::MeanStd, pairs.map(|(mean, std)| (mean, scale(std))).collect())
            }
            Mode::Range(kind, [low, high]) => {
                let pairs = values(low)?.into_iter().zip(values(high)?);
                let affine = |(low, high): (f64, f64)| match (high - low, inverse) {
                    // A dimension that never changed is -1 to the network; LeRobot blows any other value up to 1e8.
                    (0.0, false) => (low + 1.0, 1.0),
                    // Whatever the network says, it stays what it was.
                    (0.0, true) => (low, 2.0 / self.eps),
                    (span, _) => ((low + high) / 2.0, 2.0 / span),
                };
                (kind, pairs.map(affine).collect())
            }
        };
        let (offset, scale) = pairs.into_iter().map(|(o, s)| (o as f32, s as f32)).unzip();
        let normalizer = Normalizer { kind, scope: Scope::PerDim, offset, scale };
        normalizer.check()?;
        Ok(normalizer)
    }
}
