//! A normaliser of a LeRobot policy and its statistics, from wherever the policy's version keeps them.
//!
//! LeRobot 0.4 and later name a safetensors file with tensors `<feature>.<statistic>`. Older versions keep them in the model
//! itself, as `normalize_inputs.buffer_<feature>.<statistic>`.

use super::config::{ACTION, Config, Feature, Mode, features, keys_of, mode, object};
use super::{Import, MODEL};
use crate::nn::{StoreError, store};
use crate::policy::{NormKind, PolicyError, Result};
use safetensors::SafeTensors;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Prefixes of the older layout.
const OLD: [&str; 3] = ["normalize_inputs.", "normalize_targets.", "unnormalize_outputs."];

/// Below this, a range or a spread of 0 that LeRobot divides by its eps instead would blow up rounding.
const SMALL_EPS: f64 = 1e-4;

/// One normaliser: which features, by which statistics.
pub(super) struct Statistics {
    /// The file and its bytes; none: nothing was saved, and nothing may need them.
    state: Option<(String, Vec<u8>)>,
    features: Vec<Feature>,
    mapping: Map<String, Value>,
    /// The only observations that are normalised; none: all.
    only: Option<BTreeSet<String>>,
    eps: f64,
    old: bool,
}

/// normalised = (x - offset) * scale of one dimension; back, a scale of 0 gives the offset whatever is normalised.
pub(super) type Affine = (f64, f64);

impl Statistics {
    /// Whether a model's file has statistics of the older layout.
    pub(super) fn in_model(model: &SafeTensors<'_>) -> bool {
        model.names().iter().any(|n| Statistics::owns(n))
    }

    /// Whether a tensor of the model's file belongs to the older layout.
    pub(super) fn owns(tensor: &str) -> bool {
        OLD.iter().any(|prefix| tensor.starts_with(prefix))
    }

    /// The older layout.
    pub(super) fn old(at: &Import<'_>, config: &Config) -> Result<Statistics> {
        Ok(Statistics {
            state: Some((MODEL.into(), at.read(MODEL)?)),
            features: config.all_features(at)?,
            mapping: config.mapping().clone(),
            only: None,
            eps: 1e-8,
            old: true,
        })
    }

    /// A step of a processor's file.
    pub(super) fn of(
        at: &Import<'_>,
        config: &Map<String, Value>,
        state: Option<String>,
        bad: impl Fn(String) -> PolicyError,
    ) -> Result<Statistics> {
        keys_of(config, &["eps", "features", "norm_map", "normalize_observation_keys", "device"])
            .map_err(&bad)?;
        let missing = |key: &str| bad(format!("its normaliser lacks {key:?}"));
        let part = |key: &str| -> Result<Map<String, Value>> {
            let value = config.get(key).ok_or_else(|| missing(key))?;
            object(value).cloned().map_err(|e| bad(format!("{key}: {e}")))
        };
        let eps = config.get("eps").ok_or_else(|| missing("eps"))?;
        let eps = eps
            .as_f64()
            .filter(|e| (0.0..1e6).contains(e))
            .ok_or_else(|| bad(format!("eps: found {eps}, needed a number, at least 0")))?;
        let mapping = part("norm_map")?;
        for kind in mapping.keys() {
            mode(&mapping, kind).map_err(&bad)?;
        }
        let only = match config.get("normalize_observation_keys") {
            None | Some(Value::Null) => None,
            Some(Value::Array(keys)) => {
                let keys: Option<BTreeSet<String>> =
                    keys.iter().map(|k| k.as_str().map(str::to_string)).collect();
                let names =
                    keys.ok_or_else(|| bad("normalize_observation_keys: needed a list of keys".into()))?;
                Some(names)
            }
            Some(other) => {
                return Err(bad(format!("normalize_observation_keys: found {other}, needed a list of keys")));
            }
        };
        let state = match state {
            Some(name) => Some((name.clone(), at.read(&name)?)),
            None => None,
        };
        let features = features(&part("features")?).map_err(&bad)?;
        Ok(Statistics { state, features, mapping, only, eps, old: false })
    }

    /// LeRobot's name of what is done to actions.
    pub(super) fn action_mode(&self) -> String {
        self.mapping.get("ACTION").and_then(Value::as_str).unwrap_or("IDENTITY").to_string()
    }

    /// What is done to the observation that is called `key` where this normaliser stands.
    pub(super) fn observation(
        &self,
        at: &Import<'_>,
        key: &str,
        dim: usize,
    ) -> Result<(NormKind, Vec<Affine>)> {
        let left = || Ok((NormKind::Identity, vec![(0.0, 1.0); dim]));
        let Some(feature) = self.features.iter().find(|f| f.key == key) else { return left() };
        if feature.kind == "ACTION" || self.only.as_ref().is_some_and(|only| !only.contains(key)) {
            return left();
        }
        let name = match self.old {
            true => format!("{}buffer_{}.", OLD[0], key.replace('.', "_")),
            false => format!("{key}."),
        };
        self.affine(at, &Feature { dim, ..feature.clone() }, &name, false)
    }

    /// What is undone of actions.
    pub(super) fn action(&self, at: &Import<'_>, feature: &Feature) -> Result<(NormKind, Vec<Affine>)> {
        let name = match self.old {
            true => format!("{}buffer_{ACTION}.", OLD[2]),
            false => format!("{ACTION}."),
        };
        self.affine(at, &Feature { kind: "ACTION".into(), ..feature.clone() }, &name, true)
    }

    /// The affine map of one feature, whose statistics' names begin with `name`. `inverse`: as LeRobot's unnormaliser
    /// undoes it, which differs where a dimension never changes.
    fn affine(
        &self,
        at: &Import<'_>,
        feature: &Feature,
        name: &str,
        inverse: bool,
    ) -> Result<(NormKind, Vec<Affine>)> {
        let values = |statistic: &str| -> Result<Vec<f64>> {
            let Some((file, bytes)) = &self.state else {
                let what = format!("its normaliser lacks \"state_file\", which {} needs", feature.key);
                return Err(at.bad(
                    if inverse { super::processors::POSTPROCESSOR } else { super::processors::PREPROCESSOR },
                    what,
                ));
            };
            let tensors = at.tensors(file, bytes)?;
            let wrong = |source: StoreError| PolicyError::Tensor { path: at.dir.join(file), source };
            let name = format!("{name}{statistic}");
            let tensor = StoreError::check(&tensors, &name, &[feature.dim]).map_err(wrong)?;
            let values: Vec<f32> = store::values(&tensor).collect();
            match values.iter().position(|v| !v.is_finite()) {
                None => Ok(values.into_iter().map(f64::from).collect()),
                Some(element) => Err(wrong(StoreError::NonFinite { name, value: values[element], element })),
            }
        };
        let eps = self.eps;
        Ok(match mode(&self.mapping, &feature.kind).map_err(|e| at.bad("the normaliser", e))? {
            Mode::Identity => (NormKind::Identity, vec![(0.0, 1.0); feature.dim]),
            Mode::MeanStd => {
                let pairs = values("mean")?.into_iter().zip(values("std")?);
                let affine = |(mean, std): (f64, f64)| match (inverse, std == 0.0) {
                    (false, _) => (mean, 1.0 / (std + eps)),
                    (true, false) => (mean, 1.0 / std),
                    // Whatever the network says, it stays what it was.
                    (true, true) => (mean, 0.0),
                };
                (NormKind::MeanStd, pairs.map(affine).collect())
            }
            Mode::Range(kind, [low, high]) => {
                let pairs = values(low)?.into_iter().zip(values(high)?);
                let over = |low: f64, span: f64| (low + span / 2.0, 2.0 / span);
                let affine = |(low, high): (f64, f64)| match (high - low, inverse) {
                    // A dimension that never changed is -1 to the network; LeRobot blows any other value up to 1e8.
                    (0.0, false) if eps < SMALL_EPS => (low + 1.0, 1.0),
                    // Whatever the network says, it stays what it was.
                    (0.0, true) if self.old || eps < SMALL_EPS => (low, 0.0),
                    (0.0, _) => over(low, eps),
                    // Before 0.4 every range got it, on the way in.
                    (span, false) if self.old => over(low, span + eps),
                    (span, _) => over(low, span),
                };
                (kind, pairs.map(affine).collect())
            }
        })
    }
}
