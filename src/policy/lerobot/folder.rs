//! Where a LeRobot run keeps its checkpoints: `RUN/checkpoints/NNNNNN/pretrained_model`, with `last` a link to the newest.

use crate::policy::{PolicyError, Result};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const INNER: &str = "pretrained_model";

/// The checkpoint's own directory: `dir`, or the newest one below it.
///
/// # Errors
/// [`PolicyError::Import`] if there is none.
pub fn find(dir: &Path) -> Result<PathBuf> {
    let bad = |what: &str| PolicyError::Import { dir: dir.into(), file: CONFIG.into(), what: what.into() };
    if dir.is_file() {
        return Err(bad(
            "this is a file; needed the checkpoint's folder, which holds config.json and model.safetensors",
        ));
    }
    if !dir.is_dir() {
        return Err(bad("no such folder"));
    }
    below(dir).ok_or_else(|| {
        bad("found neither it nor checkpoints/*/pretrained_model/config.json; needed a LeRobot checkpoint or the folder of a run")
    })
}

/// For a policy path that is a folder or another program's file: what it is, and what to do.
pub fn hint(path: &Path) -> Option<String> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let import = |dir: &Path| format!("advect import {} --out policy.safetensors", dir.display());
    if !path.is_dir() {
        let name = path.file_name()?;
        let lerobot = (name == "model.safetensors" || name == CONFIG) && is_lerobot(folder);
        return lerobot.then(|| format!("it is part of a LeRobot checkpoint: {}", import(folder)));
    }
    match below(path) {
        Some(dir) if is_lerobot(&dir) => Some(format!("it holds a LeRobot checkpoint: {}", import(&dir))),
        _ => {
            let mut files: Vec<PathBuf> = std::fs::read_dir(path).ok()?.flatten().map(|f| f.path()).collect();
            files.retain(|f| f.extension().is_some_and(|e| e == "safetensors"));
            files.sort();
            files.first().map(|f| format!("it holds {}", f.display()))
        }
    }
}

/// Whether the folder's config.json is one of LeRobot's.
fn is_lerobot(dir: &Path) -> bool {
    let text = std::fs::read(dir.join(CONFIG)).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&text)
        .is_ok_and(|v| v.get("input_features").is_some() || v.get("n_obs_steps").is_some())
}

fn below(dir: &Path) -> Option<PathBuf> {
    let holds = |dir: PathBuf| dir.join(CONFIG).is_file().then_some(dir);
    let inner = |dir: &Path| holds(dir.to_path_buf()).or_else(|| holds(dir.join(INNER)));
    // A training step's folder, the folder of all of them, the run's.
    inner(dir).or_else(|| {
        [dir.to_path_buf(), dir.join("checkpoints")].into_iter().find_map(|all| {
            if let Some(last) = inner(&all.join("last")) {
                return Some(last);
            }
            let steps = std::fs::read_dir(&all).ok()?.flatten();
            let number = |path: &Path| path.file_name()?.to_str()?.parse::<u64>().ok();
            let mut found: Vec<(u64, PathBuf)> =
                steps.filter_map(|step| Some((number(&step.path())?, inner(&step.path())?))).collect();
            found.sort();
            found.pop().map(|(_, dir)| dir)
        })
    })
}
