//! Windows of the Push-T demonstrations (data/pusht.npz), with the settings of data/pusht.toml: two observations, 16 actions, each
//! relative to the agent.

use super::TaskOptions;
use super::file::{Unknown, Windowed};
use crate::compare::{CompareError, Law, Result, Task};
use crate::data::{DataSpec, Episodes};
use crate::report::Scene2d;
use crate::report::push_t::push_t_backdrop;
use crate::train::RunConfig;
use std::path::Path;

/// Where the repository has them.
const DATA: &str = "data/pusht.npz";

/// Features of data/pusht.npz: agent x, y and block x, y in px, cosine and sine of the block's angle, and 30 more.
const FEATURES: usize = 36;
/// Half the side of what a picture shows around the agent, px.
const AROUND: f32 = 140.0;

/// Chunks of positions over the scene.
struct PushT;

impl Law for PushT {
    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        chunk.as_chunks::<2>().0.to_vec()
    }

    fn scene(&self, obs: &[f32], scene: Scene2d) -> Scene2d {
        let Some([x, y, block_x, block_y, cos, sin, ..]) = obs.last_chunk::<FEATURES>().copied() else {
            return scene;
        };
        let scene = push_t_backdrop([x, y, block_x, block_y, sin.atan2(cos)]);
        scene.extent([x - AROUND, y - AROUND], [x + AROUND, y + AROUND])
    }
}

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
        // Other observations than the repository's are drawn without a scene.
        law: match (episodes.obs_dim(), episodes.action_dim()) {
            (FEATURES, 2) => Box::new(PushT),
            (_, action_dim) => Box::new(Unknown { action_dim }),
        },
    }
    .task(&episodes)
}
