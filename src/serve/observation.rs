//! From a request's map to the policy's observation.

use super::array::{Array, numbers};
use super::error::RequestError;
use super::wire::{DEPTH, MessageLimits, WireError, decode, kind};
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
}

impl ObservationReader {
    /// For a policy.
    pub fn new(spec: &PolicySpec) -> ObservationReader {
        Self::with_inputs(spec.obs_inputs.clone(), spec.history)
    }

    fn with_inputs(inputs: Vec<ObsInput>, history: usize) -> ObservationReader {
        let obs_dim = inputs.iter().map(|input| input.dim).sum();
        // A list of numpy scalars takes seven values for each number, and a few lists around them.
        let values = 1024 + 16 * history * obs_dim;
        ObservationReader { inputs, history, obs_dim, limits: MessageLimits { values, depth: DEPTH } }
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
        let (mut seed, mut request) = (None, None);
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
                    if std::mem::replace(&mut seen[at], true) {
                        return Err(RequestError::Twice { name: name.into() });
                    }
                    self.place(at, name, value, &mut obs)?;
                }
                None if name == "seed" => seed = Some(whole("seed", value)?),
                None if name == "request" => request = Some(whole("request", value)?),
                None => return Err(RequestError::Unknown { name: shorten(name), needed: self.needed() }),
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(at) => {
                Err(RequestError::Missing { name: self.inputs[at].name.clone(), needed: self.needed() })
            }
            None => Ok(Request { obs, seed, request }),
        }
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
            ValueRef::Integer(_) | ValueRef::F32(_) | ValueRef::F64(_) => value.to_string(),
            other => kind(other),
        };
        RequestError::Noise { name, found }
    })
}

/// A stranger's text in an error of ours.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
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
        assert_eq!(read, Request { obs: vec![1.0, 2.0, 5.0, 3.0, 4.0, 6.0], seed: None, request: None });
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
        assert!(matches!(two().read(&map(&[(STATE, value)])), Err(RequestError::Unknown { .. })));
    }

    #[test]
    fn faults_are_named() {
        let fails = |message: &[u8], words: &[&str]| {
            let error = one().read(message).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        };
        let good = || ndarray(&[3], &[1.0, 2.0, 3.0]);
        fails(&map(&[]), &["\"observation/arm\" is missing"]);
        fails(
            &map(&[(STATE, good()), ("prompt", "go".into())]),
            &["\"prompt\" is unknown", "observation/arm"],
        );
        fails(&map(&[(&"x".repeat(500), 1.into())]), &["xxx...", "unknown"]);
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
