//! `advect data convert`: one kind of data set into another.

use crate::cli::Run;
use crate::cli::common::{Chosen, Context, note_line, print, print_json};
use crate::cli::errors::Usage;
use crate::cli::files::Files;
use crate::cli::output::count;
use crate::cli::train::in_file;
use advect::data::{DataError, DataSpec, Kind, convert};
use advect::train::RunConfig;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Turn a data set into another kind: numpy archive, LeRobot v2.1 or v3.0
///
/// Values, lengths, successes, rate and names stay as they are, bit for bit. Images and columns that the [data] table does not
/// name are left behind, and said to be. What is written appears whole or not at all.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect data convert data/pusht.npz pusht-lerobot            LeRobot v3.0
  advect data convert data/pusht.npz old --to lerobot-v2.1
  advect data convert ~/datasets/my-robot demos.npz --config run.toml

A data set written as LeRobot has the statistics that lerobot computes, and loads in it:
  LeRobotDataset(\"me/pusht\", root=\"pusht-lerobot\")")]
pub struct Convert {
    /// A .npz, a LeRobot directory, or another data set (see `advect data --help`)
    #[arg(value_name = "IN")]
    from: PathBuf,
    /// What to write: a .npz, or a folder that does not exist yet
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// npz, lerobot-v2.1 or lerobot-v3.0 [default: npz if OUT ends in .npz, else lerobot-v3.0]
    #[arg(long = "to", value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// Settings of a run: its [data] table says which arrays or columns are read
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Instruction of demonstrations that have none; LeRobot needs one
    #[arg(long, value_name = "TEXT", default_value = "demonstration")]
    task: String,
    #[command(flatten)]
    chosen: Chosen,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "npz" => Ok(Kind::Npz),
        "lerobot-v2.1" => Ok(Kind::LeRobotV2),
        "lerobot-v3" | "lerobot-v3.0" => Ok(Kind::LeRobotV3),
        _ => Err("needed npz, lerobot-v2.1 or lerobot-v3.0".into()),
    }
}

/// What OUT means if nothing is said.
fn usual(to: &Path) -> Kind {
    match to.extension() {
        Some(ending) if ending == "npz" => Kind::Npz,
        _ => Kind::LeRobotV3,
    }
}

impl Run for Convert {
    fn run(self, _: &Context) -> anyhow::Result<()> {
        let mut spec = match &self.config {
            Some(path) => RunConfig::load(path)?.data,
            None => DataSpec::default(),
        };
        self.chosen.apply(&mut spec);
        let kind = self.kind.unwrap_or_else(|| usual(&self.to));
        if self.to.is_dir() {
            return Err(
                Usage(format!("{}: found a folder, needed a name that is free", self.to.display())).into()
            );
        }
        let mut files = Files::default().reads("IN", &self.from).writes("OUT", &self.to);
        if let Some(config) = &self.config {
            files = files.reads("--config", config);
        }
        files.check()?;
        let done = convert(&self.from, &self.to, kind, &spec, &self.task).map_err(|e| match e {
            DataError::Write(_) => e.into(),
            _ => in_file(&self.from, e.into()),
        })?;
        for note in &done.notes {
            note_line(note);
        }
        if self.json {
            let value = json!({"out": self.to, "kind": kind, "episodes": done.episodes, "steps": done.steps, "notes": done.notes});
            return print_json(&value);
        }
        print(&format!(
            "wrote {} ({}): {}, {}\n",
            self.to.display(),
            kind.name(),
            count(done.episodes, "episode"),
            count(done.steps, "step")
        ))
    }
}
