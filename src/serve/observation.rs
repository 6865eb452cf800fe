//! From a request's map to the policy's observation.

use super::array::{Array, numbers};
use super::error::RequestError;
use super::wire::{DEPTH, MessageLimits, WireError, brief, decode, kind};
use crate::data::ObsInput;
use crate::policy::PolicySpec;
use rmpv::ValueRef;

/// Key of the observation where a policy has one input, whatever that is called.
pub const STATE: &str = ObsInput::STATE;

/// What a policy takes from a request.
#[derive(Clone, Debug)]
pub struct ObservationReader {
    /// In the order in which a step of the policy's observation has them.
    inputs: Vec<ObsInput>,
    history: usize,
    obs_dim: usize,
    limits: MessageLimits,
    strict: bool,
}

/// A request, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// [history, obs_dim], all finite.
    pub obs: Vec<f32>,
    /// The noise's seed, if the client names one.
    pub seed: Option<u64>,
    /// The noise's request number, if the client names one.
    pub request: Option<u64>,
    /// Keys that the policy has no use for, which were passed over: the first few, shortened.
    pub ignored: Vec<String>,
    /// How many of them there are.
    pub ignored_count: usize,
}

impl Request {
    /// The keys that were passed over, for the log: up to three and how many more.
    pub(super) fn told(&self) -> String {
        list(&self.ignored, self.ignored_count)
    }
}

/// Names, and how many more there are.
fn list(names: &[String], count: usize) -> String {
    match count - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

impl ObservationReader {
    /// For a policy; keys that it has no use for are passed over.
    pub fn new(spec: &PolicySpec) -> ObservationReader {
        Self::with_inputs(spec.obs_inputs.clone(), spec.history)
    }

    /// Whether keys that the policy has no use for are refused.
    pub fn strict(self, strict: bool) -> ObservationReader {
        ObservationReader { strict, ..self }
    }

    fn with_inputs(inputs: Vec<ObsInput>, history: usize) -> ObservationReader {
        let obs_dim = inputs.iter().map(|input| input.dim).sum();
        // A list of numpy scalars takes seven values for each number, and a few lists around them.
        let values = 1024 + 16 * history * obs_dim;
        ObservationReader {
            inputs,
            history,
            obs_dim,
            limits: MessageLimits { values, depth: DEPTH },
            strict: false,
        }
    }

    /// The keys that a request must have.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|input| input.name.as_str())
    }

    /// The keys with the shapes that they take, [history, dim].
    pub fn shapes(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        self.inputs.iter().map(|input| (input.name.as_str(), [self.history, input.dim]))
    }

    /// Bytes that a request may need: every number as a double of its own.
    pub fn bytes(&self) -> usize {
        4096 + 9 * self.history * (self.obs_dim + 1)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`] naming what is missing, unknown, or of a wrong type, shape or value.
    pub fn read(&self, message: &[u8]) -> Result<Request, RequestError> {
        let value = decode(message, &self.limits)?;
        let ValueRef::Map(entries) = &value else {
            let needed = "a map of observations";
            return Err(WireError::Type { found: kind(&value), needed }.into());
        };
        let mut obs = vec![0.0f32; self.history * self.obs_dim];
        let mut seen = vec![false; self.inputs.len()];
        let (mut seed, mut request, mut others) = (None, None, Vec::new());
        let once = |known: bool, name: &str| match known {
            true => Err(RequestError::Twice { name: brief(name) }),
            false => Ok(()),
        };
        for (key, value) in entries {
            let name = match key {
                ValueRef::String(text) => text.as_str(),
                ValueRef::Binary(bytes) => std::str::from_utf8(bytes).ok(),
                _ => None,
            };
            let Some(name) = name else {
                return Err(WireError::Type { found: kind(key), needed: "keys that are strings" }.into());
            };
            match self.find(name) {
                Some(at) => {
                    once(std::mem::replace(&mut seen[at], true), name)?;
                    self.place(at, name, value, &mut obs)?;
                }
                None if name == "seed" => {
                    once(seed.is_some(), name)?;
                    seed = Some(whole("seed", value)?);
                }
                None if name == "request" => {
                    once(request.is_some(), name)?;
                    request = Some(whole("request", value)?);
                }
                None => others.push(name),
            }
        }
        if let (true, Some(first)) = (self.strict, others.first()) {
            let (name, more) = (brief(first), others.len() - 1);
            return Err(RequestError::Unknown { name, more, needed: self.needed() });
        }
        let (ignored, count) = (others.iter().take(TOLD).map(|name| brief(name)).collect(), others.len());
        if let Some(at) = seen.iter().position(|seen| !seen) {
            let name = self.inputs[at].name.clone();
            return Err(RequestError::Missing { name, found: found(entries), needed: self.needed() });
        }
        others.sort_unstable();
        if let Some(pair) = others.windows(2).find(|pair| pair[0] == pair[1]) {
            once(true, pair[0])?;
        }
        Ok(Request { obs, seed, request, ignored, ignored_count: count })
    }

    /// The input of a key. A lone input goes by [`STATE`] too.
    fn find(&self, name: &str) -> Option<usize> {
        let own = self.inputs.iter().position(|input| input.name == name);
        own.or_else(|| (self.inputs.len() == 1 && name == STATE).then_some(0))
    }

    fn needed(&self) -> String {
        self.keys().collect::<Vec<_>>().join(", ")
    }

    /// Checks one input and writes it to its place in every step of the history.
    fn place(
        &self,
        at: usize,
        name: &str,
        value: &ValueRef<'_>,
        obs: &mut [f32],
    ) -> Result<(), RequestError> {
        let input = &self.inputs[at];
        let array = numbers(value).map_err(|reason| RequestError::Value { name: name.into(), reason })?;
        let Array { shape, data } = array;
        let (history, dim) = (self.history, input.dim);
        let every_step = match shape[..] {
            [h, d] if h == history && d == dim => false,
            [d] if d == dim => true,
            [] if dim == 1 => true,
            _ => return Err(RequestError::Shape { name: name.into(), found: shape, history, dim }),
        };
        if let Some(element) = data.iter().position(|v| !v.is_finite()) {
            return Err(RequestError::NonFinite { name: name.into(), value: data[element], element });
        }
        let offset: usize = self.inputs[..at].iter().map(|input| input.dim).sum();
        for (step, row) in obs.chunks_exact_mut(self.obs_dim).enumerate() {
            let from = if every_step { 0 } else { step * dim };
            row[offset..offset + dim].copy_from_slice(&data[from..from + dim]);
        }
        Ok(())
    }
}

/// A seed or request number: a plain or numpy integer.
fn whole(name: &'static str, value: &ValueRef<'_>) -> Result<u64, RequestError> {
    let mut value = value;
    if let ValueRef::Map(entries) = value {
        let data = |key: &ValueRef<'_>| matches!(key, ValueRef::Binary(key) if *key == b"data");
        value = entries.iter().find(|(key, _)| data(key)).map_or(value, |(_, data)| data);
    }
    value.as_u64().ok_or_else(|| {
        let found = match value {
            // As numbers are written in programs: 1e300, and no 300 digits.
            ValueRef::F32(v) => format!("{v:?}"),
            ValueRef::F64(v) => format!("{v:?}"),
            ValueRef::Integer(v) => v.to_string(),
            other => kind(other),
        };
        RequestError::Noise { name, found }
    })
}

/// Keys that were passed over of which a request's reader tells.
const TOLD: usize = 3;

/// The keys of a request, for an error: the first ones, a few dozen bytes of them all together.
fn found(entries: &[(ValueRef<'_>, ValueRef<'_>)]) -> String {
    let text = |key: &ValueRef<'_>| match key {
        ValueRef::String(text) => text.as_str().map(str::to_owned),
        ValueRef::Binary(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    };
    let keys: Vec<String> = entries.iter().filter_map(|(key, _)| text(key)).collect();
    match keys.len() {
        0 => "no keys".into(),
        1 => format!("the key \"{}\"", brief(&keys[0])),
        n => format!(
            "{n} keys (\"{}\")",
            brief(&keys.iter().take(8).cloned().collect::<Vec<_>>().join("\", \""))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::array::ndarray;
    use crate::serve::wire::encode;
    use proptest::prelude::*;
    use rmpv::Value;

    fn input(name: &str, dim: usize) -> ObsInput {
        ObsInput { name: name.into(), dim }
    }

    fn two() -> ObservationReader {
        ObservationReader::with_inputs(vec![input("observation/arm", 2), input("observation/cup", 1)], 2)
    }

    fn one() -> ObservationReader {
        ObservationReader::with_inputs(vec![input("observation/arm", 3)], 2)
    }

    fn map(entries: &[(&str, Value)]) -> Vec<u8> {
        encode(&Value::Map(entries.iter().map(|(k, v)| (Value::from(*k), v.clone())).collect()))
    }

    #[test]
    fn inputs_are_put_together_step_by_step() {
        let message = map(&[
            ("observation/cup", ndarray(&[2, 1], &[5.0, 6.0])),
            ("observation/arm", ndarray(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ]);
        let read = two().read(&message).unwrap();
        assert_eq!(
            read,
            Request {
                obs: vec![1.0, 2.0, 5.0, 3.0, 4.0, 6.0],
                seed: None,
                request: None,
                ignored: vec![],
                ignored_count: 0
            }
        );
        // One step stands for every step of the history, a number for an input of one value.
        let message = map(&[
            ("observation/cup", 7.into()),
            ("observation/arm", ndarray(&[2], &[1.0, 2.0])),
            ("seed", 9.into()),
            ("request", u64::MAX.into()),
        ]);
        let read = two().read(&message).unwrap();
        assert_eq!(read.obs, [1.0, 2.0, 7.0, 1.0, 2.0, 7.0]);
        assert_eq!((read.seed, read.request), (Some(9), Some(u64::MAX)));
    }

    #[test]
    fn a_lone_input_goes_by_two_names() {
        let value = ndarray(&[3], &[1.0, 2.0, 3.0]);
        for key in [STATE, "observation/arm"] {
            assert_eq!(one().read(&map(&[(key, value.clone())])).unwrap().obs.len(), 6);
        }
        let both = map(&[(STATE, value.clone()), ("observation/arm", value.clone())]);
        assert!(matches!(one().read(&both), Err(RequestError::Twice { .. })));
        assert!(matches!(two().read(&map(&[(STATE, value)])), Err(RequestError::Missing { .. })));
    }

    #[test]
    fn faults_are_named() {
        let fails = |message: &[u8], words: &[&str]| {
            let error = one().strict(true).read(message).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        };
        let good = || ndarray(&[3], &[1.0, 2.0, 3.0]);
        fails(&map(&[]), &["\"observation/arm\" is missing, found no keys; needed: observation/arm"]);
        fails(&map(&[("seed", 1.into())]), &["is missing, found the key \"seed\"; needed"]);
        fails(&map(&[("seed", 1.into()), ("request", 1.into())]), &["found 2 keys (\"seed"]);
        let three = [(STATE, good()), ("prompt", "go".into()), ("a", 1.into()), ("b", 2.into())];
        fails(&map(&three), &["the key \"prompt\" is unknown, and 2 more; needed: observation/arm"]);
        fails(
            &map(&[(STATE, good()), ("seed", 1e300.into())]),
            &["\"seed\" is 1e300; needed a whole number"],
        );
        fails(&map(&[(STATE, Value::Map(vec![]))]), &["found a map without either, needed a numpy array"]);
        fails(
            &map(&[(STATE, good()), ("prompt", "go".into())]),
            &["\"prompt\" is unknown", "observation/arm"],
        );
        fails(&map(&[(&"x".repeat(500), 1.into())]), &["xxx...", "unknown"]);
        fails(&map(&[("seed", 1.into()), ("seed", 2.into())]), &["\"seed\" is there twice"]);
        fails(&map(&[("request", 1.into()), ("request", 1.into())]), &["\"request\" is there twice"]);
        fails(&map(&[(STATE, good()), (STATE, good())]), &["\"observation/state\" is there twice"]);
        fails(&map(&[(STATE, ndarray(&[1, 3], &[0.0; 3]))]), &["[1, 3]", "needed [2, 3] or [3]"]);
        fails(&map(&[(STATE, ndarray(&[2], &[0.0; 2]))]), &["[2]", "needed [2, 3] or [3]"]);
        fails(&map(&[(STATE, ndarray(&[1, 2, 3], &[0.0; 6]))]), &["[1, 2, 3]"]);
        fails(&map(&[(STATE, 1.into())]), &["[]", "needed [2, 3] or [3]"]);
        fails(&map(&[(STATE, "x".into())]), &["observation/state", "found a string"]);
        fails(&map(&[(STATE, ndarray(&[3], &[0.0, f32::NAN, 0.0]))]), &["NaN at element 1"]);
        fails(&map(&[(STATE, Value::Array(vec![1e300.into(), 0.into(), 0.into()]))]), &["inf at element 0"]);
        fails(&map(&[(STATE, good()), ("seed", (-1).into())]), &["\"seed\" is -1", "whole number"]);
        fails(&map(&[(STATE, good()), ("request", 1.5.into())]), &["\"request\" is 1.5"]);
        fails(&map(&[(STATE, good()), ("request", "1".into())]), &["\"request\" is a string"]);
        fails(&encode(&Value::Array(vec![])), &["found a list, needed a map"]);
        fails(&encode(&Value::Map(vec![(1.into(), good())])), &["found a number, needed keys"]);
        fails(b"", &["cannot be read"]);
    }

    #[test]
    fn keys_without_use_are_passed_over_once_each() {
        let picture = Value::Binary(vec![0; 480 * 640 * 3]);
        let state = (STATE, ndarray(&[3], &[1.0, 2.0, 3.0]));
        let message = map(&[("prompt", "go".into()), state.clone(), ("observation/image", picture)]);
        let read = one().read(&message).unwrap();
        assert_eq!(
            (read.obs.len(), read.ignored),
            (6, vec!["prompt".into(), "observation/image".to_string()])
        );
        let many: Vec<(String, Value)> =
            (0..100).map(|n| (format!("{n}{}", "k".repeat(1000)), n.into())).collect();
        let many: Vec<(&str, Value)> =
            many.iter().map(|(k, v)| (k.as_str(), v.clone())).chain([state.clone()]).collect();
        let ignored = one().read(&map(&many)).unwrap().ignored;
        assert!(ignored.len() == TOLD && ignored.iter().all(|name| name.len() < 50), "{ignored:?}");
        let told = one().read(&map(&many)).unwrap().told();
        assert!(told.starts_with("0kkk") && told.ends_with(" and 97 more") && told.len() < 150, "{told}");
        assert_eq!(one().read(&message).unwrap().told(), "prompt, observation/image");
        let twice = map(&[("prompt", "go".into()), state, ("prompt", "stop".into())]);
        assert!(matches!(one().read(&twice), Err(RequestError::Twice { name }) if name == "prompt"));
    }

    #[test]
    fn no_error_repeats_much_of_what_came() {
        let long = "\u{1b}x".repeat(10_000);
        let shape = |n: usize| Value::Array(vec![Value::Array(vec![]); n]);
        let array = |dtype: &str, shape: Value| {
            let entries = [("__ndarray__", true.into()), ("dtype", dtype.into()), ("shape", shape)];
            let entries = entries.into_iter().chain([("data", Value::Binary(vec![0; 4]))]);
            Value::Map(entries.map(|(k, v)| (Value::from(k), v)).collect())
        };
        let zeros = Value::Array(vec![0.into(); 500]);
        for (name, value) in [
            (long.as_str(), 1.into()),
            (STATE, long.as_str().into()),
            (STATE, array(&long, shape(0))),
            (STATE, array("<f4", Value::Array(vec![long.as_str().into()]))),
            (STATE, array("<f4", Value::Array(vec![Value::Binary(vec![7; 9000])]))),
            (STATE, array("<f4", zeros.clone())),
            (STATE, array("<f4", Value::Array(vec![1.into(); 500]))),
            (STATE, array("<f4", shape(20))),
            ("seed", long.as_str().into()),
            ("request", zeros),
            ("seed", 1e300.into()),
            ("seed", (-1e-300).into()),
            (STATE, array("<f4", Value::Array(vec![u64::MAX.into(); 4]))),
        ] {
            for strict in [true, false] {
                let error =
                    one().strict(strict).read(&map(&[(name, value.clone())])).unwrap_err().to_string();
                assert!(error.len() < 200, "{} bytes: {error}", error.len());
                assert!(error.contains("needed"), "{error}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_fits_the_policy(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        ) {
            let _ = two().read(&bytes);
            let mut good = map(&[
                ("observation/cup", ndarray(&[2, 1], &[5.0, 6.0])),
                ("observation/arm", Value::Array(vec![1.into(), 2.5.into()])),
                ("seed", 1.into()),
            ]);
            for (at, with) in flips {
                let at = at.index(good.len());
                good[at] = with;
            }
            if let Ok(request) = two().read(&good) {
                prop_assert_eq!(request.obs.len(), 6);
                prop_assert!(request.obs.iter().all(|v| v.is_finite()));
            }
        }
    }
}
