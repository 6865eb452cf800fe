//! `advect import`: checkpoints of other programs.

use super::Run;
use super::common::{Context, print};
use super::files::{Files, ending_in};
use advect::policy::{Objective, Policy};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Turn a LeRobot diffusion checkpoint directory into a policy file
///
/// The directory holds config.json, model.safetensors and the normaliser's statistics, as LeRobot 0.4 (or older) writes
/// them; inputs are observation.state and observation.environment_state. A key that is missing, unknown or of another shape
/// is an error that names it.
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
    fn files(&self) -> Files {
        let mut files = Files::default().writes("--out", &self.out);
        for folder in [self.dir.clone(), self.dir.join("pretrained_model")] {
            for path in ending_in(&folder, &["json", "safetensors"]) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let parts = ["model.safetensors", "policy_"];
                if name.ends_with(".json") || parts.iter().any(|part| name.starts_with(part)) {
                    files = files.reads("DIR", &path);
                }
            }
        }
        files
    }
}

impl Run for Import {
    fn run(self, _: &Context) -> anyhow::Result<()> {
        self.files().check()?;
        let policy = Policy::import_lerobot(&self.dir)?;
        policy.save(&self.out)?;
        let spec = &policy.spec;
        let mut text = format!("{}: {} parameters\n", self.out.display(), policy.weights.layout.count());
        for input in &spec.obs_inputs {
            writeln!(text, "  takes {} [{}, {}]", input.name, spec.history, input.dim)?;
        }
        writeln!(text, "  gives actions [{}, {}]", spec.horizon, spec.action_dim)?;
        if spec.action_offset < 0 {
            writeln!(
                text,
                "  row {} of a chunk is the action for the newest observation (action_offset {})",
                -i64::from(spec.action_offset),
                spec.action_offset
            )?;
        }
        if let Objective::Denoising(d) = spec.objective {
            writeln!(text, "  denoises: trained with {} steps, samples by ddim:N or ddpm:N", d.train_steps)?;
        }
        print(&text)
    }
}
