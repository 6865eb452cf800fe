//! Named observation inputs: what an observation is put together from.

use serde::{Deserialize, Serialize};

use super::error::DataError;

/// A part of the observation that has a name of its own: what a client of the policy sends under that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObsInput {
    /// Its key, as a request has it: `observation/state`.
    pub name: String,
    /// How many values it has.
    pub dim: usize,
}

impl ObsInput {
    /// Key of the only input of a policy that takes one.
    pub const STATE: &str = "observation/state";

    /// What an observation of `dim` values is if nothing else is said: one input, [`ObsInput::STATE`].
    pub fn state(dim: usize) -> Vec<ObsInput> {
        vec![ObsInput { name: Self::STATE.into(), dim }]
    }

    /// The key of an array or column. LeRobot's `observation.environment_state` is `observation/environment_state`; any
    /// other name is put under `observation/`, except that a lone one is [`ObsInput::STATE`] whatever it is called.
    pub fn key(column: &str, alone: bool) -> String {
        match column.strip_prefix("observation.") {
            Some(rest) => format!("observation/{}", rest.replace('.', "/")),
            None if alone => Self::STATE.into(),
            None => format!("observation/{column}"),
        }
    }

    /// The column that a LeRobot data set keeps it in.
    pub fn column(&self) -> String {
        self.name.replace('/', ".")
    }

    /// Checks that inputs have names, each its own, and together `obs_dim` values.
    ///
    /// # Errors
    /// [`DataError`] naming the input.
    pub fn check(inputs: &[ObsInput], obs_dim: usize) -> Result<(), DataError> {
        for (at, input) in inputs.iter().enumerate() {
            let value = |found: String, needed| {
                Err(DataError::Value { what: format!("name of observation input {at}"), found, needed })
            };
            if input.name.is_empty() {
                return value("no letter".into(), "a name");
            }
            if inputs[..at].iter().any(|other| other.name == input.name) {
                return value(format!("'{}' again", input.name), "a name of its own");
            }
            if input.dim == 0 {
                let what = format!("values of the observation input '{}'", input.name);
                return Err(DataError::Value { what, found: "0".into(), needed: "at least 1" });
            }
        }
        let found = inputs.iter().fold(0usize, |sum, input| sum.saturating_add(input.dim));
        if found != obs_dim {
            let what = "values of all observation inputs (those of an observation)".into();
            return Err(DataError::Count { what, found, needed: obs_dim });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_keys() {
        let key = ObsInput::key;
        assert_eq!(key("obs", true), "observation/state");
        assert_eq!(key("agent", false), "observation/agent");
        assert_eq!(key("observation.environment_state", true), "observation/environment_state");
        let input = ObsInput { name: key("observation.state.arm", false), dim: 3 };
        assert_eq!(
            (input.name.as_str(), input.column().as_str()),
            ("observation/state/arm", "observation.state.arm")
        );
    }

    #[test]
    fn inputs_are_checked() {
        let input = |name: &str, dim| ObsInput { name: name.into(), dim };
        let fault = |inputs: &[ObsInput]| ObsInput::check(inputs, 3).map_err(|e| e.to_string());
        assert_eq!(fault(&[input("a", 1), input("b", 2)]), Ok(()));
        assert_eq!(fault(&ObsInput::state(3)), Ok(()));
        for (inputs, words) in [
            (&[input("a", 1), input("b", 1)][..], "found 2, needed 3"),
            (&[input("a", 1), input("a", 2)], "name of observation input 1: found 'a' again"),
            (&[input("", 3)], "name of observation input 0: found no letter"),
            (&[input("a", 0), input("b", 3)], "values of the observation input 'a': found 0"),
            (&[input("a", usize::MAX), input("b", 4)], "needed 3"),
            (&[], "found 0, needed 3"),
        ] {
            let text = fault(inputs).unwrap_err();
            assert!(text.contains(words), "{text}");
        }
    }
}
