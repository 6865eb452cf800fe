//! Windows of the Push-T demonstrations (data/pusht.npz), with the settings of data/pusht.toml: two observations, 16 actions, each
//! relative to the agent.

use super::TaskOptions;
use super::file::{Unknown, Windowed};
use crate::compare::{CompareError, Result, Task};
use crate::data::{DataSpec, Episodes};
use crate::train::RunConfig;
use std::path::Path;

/// Where the repository has them.
const DATA: &str = "data/pusht.npz";

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    let path = options.data.as_deref().unwrap_or(Path::new(DATA));
    if options.data.is_none() && !path.exists() {
        let needed = "data/pusht.npz is not here: run from advect's repository, or say where it is with --data FILE.npz";
        return Err(CompareError::TaskData { task: "push-t".into(), needed });
    }
    let episodes = Episodes::load_npz(path, &DataSpec::default())?;
    let config = RunConfig::push_t();
    Windowed {
        name: "push-t".into(),
        title: "windows of the Push-T demonstrations".into(),
        history: config.history,
        relative_to: config.relative_to,
        law: Box::new(Unknown { action_dim: episodes.action_dim() }),
    }
    .task(&episodes)
}
