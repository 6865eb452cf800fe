//! `advect import`: checkpoints of other programs.

use super::Run;
use super::common::{Context, print};
use super::files::{Files, ending_in};
use advect::policy::{Imported, Objective, find_checkpoint};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Turn a LeRobot diffusion checkpoint directory into a policy file
///
/// The directory holds config.json, model.safetensors and the processors' files and statistics, as LeRobot 0.1 to 0.6 writes
/// them, or is a run's folder above it; inputs are observation.state and observation.environment_state. Weights may be
/// f32, f16, bf16 or f64. Actions relative to the state (relative_actions_processor) are made absolute. A key or a step of a
/// processor that is missing, unknown or of another shape is an error that names it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect import outputs/train/diffusion_pusht/checkpoints/last/pretrained_model --out policy.safetensors")]
pub struct Import {
    /// The checkpoint's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the policy goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Import {
    /// The policy may lie in the checkpoint's folder, but not in the place of a file of it.
    fn files(&self, dir: &Path) -> Files {
        let mut files = Files::default().writes("--out", &self.out);
        for path in ending_in(dir, &["json", "safetensors"]) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let parts = ["model.safetensors", "policy_"];
            if name.ends_with(".json") || parts.iter().any(|part| name.starts_with(part)) {
                files = files.reads("DIR", &path);
            }
        }
        files
    }
}

impl Run for Import {
    fn run(self, _: &Context) -> anyhow::Result<()> {
        let dir = find_checkpoint(&self.dir)?;
        self.files(&dir).check()?;
        let Imported { policy, execute } = Imported::lerobot(&dir)?;
        policy.save(&self.out)?;
        let spec = &policy.spec;
        let mut text = format!("{}: {} parameters\n", self.out.display(), policy.weights.layout.count());
        for input in &spec.obs_inputs {
            writeln!(text, "  takes {} [{}, {}]", input.name, spec.history, input.dim)?;
        }
        writeln!(text, "  gives actions [{}, {}]", spec.horizon, spec.action_dim)?;
        if dir != self.dir {
            writeln!(text, "  from {}", dir.display())?;
        }
        if let Some(relative) = &spec.relative_to {
            let on = relative.0.iter().flatten().count();
            writeln!(text, "  adds the newest state to {on} of {} action dimensions", spec.action_dim)?;
        }
        if spec.action_offset < 0 {
            writeln!(
                text,
                "  row {} of a chunk is the action for the newest observation (action_offset {})",
                -i64::from(spec.action_offset),
                spec.action_offset
            )?;
        }
        if let Some(steps) = execute {
            writeln!(
                text,
                "  made to execute {steps} actions of each chunk (n_action_steps): execute = {steps}"
            )?;
        }
        if let Objective::Denoising(d) = spec.objective {
            writeln!(text, "  denoises: trained with {} steps, samples by ddim:N or ddpm:N", d.train_steps)?;
        }
        print(&text)
    }
}
