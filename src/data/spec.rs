//! Which arrays or columns of a data set are what.

use serde::{Deserialize, Serialize};

use super::choice::EpisodeChoice;

/// One name, or several in an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Columns {
    /// One array or column.
    One(String),
    /// Several, whose values are put side by side in this order.
    Many(Vec<String>),
}

impl Columns {
    /// The names, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Columns::One(name) => std::slice::from_ref(name),
            Columns::Many(names) => names,
        }
    }
}

impl From<&str> for Columns {
    fn from(name: &str) -> Columns {
        Columns::One(name.into())
    }
}

/// Which arrays of a file are what: the `[data]` table of a run's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSpec {
    /// Arrays or columns of observations [T, O]; several become several named inputs, side by side in the order given. If
    /// not given: `obs` of a numpy archive; `observation.state`, then `observation.environment_state` of a LeRobot directory,
    /// as far as it has them.
    pub obs: Option<Columns>,
    /// Array or column of actions [T, A].
    pub action: String,
    /// Array of episode lengths `[E]`; LeRobot directories have their own.
    pub episode_len: String,
    /// Array that says whether each episode succeeded `[E]`, or the column that is true where an episode succeeded. If not
    /// given: `episode_success` or `next.success`, which the data may lack.
    pub episode_success: Option<String>,
    /// Steps per second; the data's own rate counts only where this is not given.
    pub fps: Option<f64>,
    /// Names of the observation's values.
    pub obs_names: Option<Vec<String>>,
    /// Names of the action's values.
    pub action_names: Option<Vec<String>>,
    /// Keep successful episodes only.
    pub successful_only: bool,
    /// Keep these episodes only, numbered from 0 as the data set has them; of several data sets, counted through in their order.
    /// Text as `"0:50,60"`, or a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episodes: Option<EpisodeChoice>,
    /// Leave out episodes of fewer steps. Those too short for a window are left out of training whatever this says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_episode: Option<usize>,
    /// How far two timestamps of a LeRobot directory may be from one period apart, in seconds.
    pub tolerance_s: f64,
}

impl Default for DataSpec {
    fn default() -> Self {
        Self {
            obs: None,
            action: "action".into(),
            episode_len: "episode_len".into(),
            episode_success: None,
            fps: None,
            obs_names: None,
            action_names: None,
            successful_only: false,
            episodes: None,
            min_episode: None,
            tolerance_s: 1e-4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_defaults_and_refuses_unknown_keys() {
        assert_eq!(toml::from_str::<DataSpec>("").unwrap(), DataSpec::default());
        let spec: DataSpec = toml::from_str("obs = 'state'\nfps = 5.0\nsuccessful_only = true").unwrap();
        assert_eq!((spec.obs, spec.fps, spec.successful_only), (Some("state".into()), Some(5.0), true));
        let spec: DataSpec = toml::from_str("obs = ['observation.state', 'b']").unwrap();
        assert_eq!(spec.obs.unwrap().names(), ["observation.state", "b"]);
        assert!(toml::from_str::<DataSpec>("observation = 'x'").is_err());
        assert!(toml::from_str::<DataSpec>("obs = 3").is_err());
    }

    #[test]
    fn a_spec_survives_json_as_a_stopped_run_keeps_it() {
        let obs = Some(Columns::Many(vec!["a".into(), "b".into()]));
        let episodes = Some("0:5,7".parse().unwrap());
        let spec = DataSpec { obs, episodes, min_episode: Some(3), ..DataSpec::default() };
        for spec in [spec, DataSpec::default()] {
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<DataSpec>(&text).unwrap(), spec);
        }
    }
}
