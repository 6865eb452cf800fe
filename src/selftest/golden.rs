//! Golden cases: files with inputs and the outputs of the field's reference implementations, run on a device through
//! graphs, programs and sessions, the same way as the engine's own work.
//!
//! To add a case, add its function to the file of its family and its line in [`CASES`].

mod attention;
mod conv;
mod coupling;
pub mod file;
mod graph_case;
mod loss;
mod ops;
mod optim;
mod raw;
mod rtc;
mod score;
mod solve;
mod unet;

#[cfg(test)]
mod fixture;

#[cfg(test)]
pub(crate) use fixture::Golden;

pub use file::GoldenFile;
pub use score::Score;

use crate::device::Device;
use crate::flow::FlowError;
use crate::graph::GraphError;
use crate::nn::StoreError;
use std::path::{Path, PathBuf};

/// What can go wrong when a golden case is read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GoldenError {
    /// A file or folder could not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no golden case.
    #[error("{file}: {what}")]
    Format {
        /// Which.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The case asks for something that this engine does not know.
    #[error("unknown {what} {found:?}")]
    Unknown {
        /// case, path, objective, ...
        what: &'static str,
        /// What the file says.
        found: String,
    },
    /// The computed values are not the expected ones.
    #[error("{0}")]
    Mismatch(String),
    /// Building, planning or running the graph failed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Integrating failed.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The weights do not fit the network.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Result of the golden cases.
pub type Result<T> = std::result::Result<T, GoldenError>;

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every expected tensor was met.
    Passed,
    /// One was not, or the case could not be run or is unknown.
    Failed,
}

/// What became of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The file's name, without its ending.
    pub file: String,
    /// What the case computes; an objective's name follows `loss/`.
    pub case: String,
    /// How it went.
    pub status: Status,
    /// The worst relative L2 error of the expected tensors.
    pub error: f64,
    /// The error allowed.
    pub tolerance: f64,
    /// Which tensor was worst, or what went wrong.
    pub message: String,
}

type Run = fn(&GoldenFile, &Device, &mut Score) -> Result<()>;

/// Every case that the engine computes. One that is not here fails.
pub static CASES: &[(&str, Run)] = &[
    ("linear", ops::linear),
    ("matmul", ops::matmul),
    ("matmul_nt", ops::matmul_nt),
    ("matmul_tn", ops::matmul_tn),
    ("relu", ops::activation),
    ("silu", ops::activation),
    ("gelu", ops::activation),
    ("gelu_tanh", ops::activation),
    ("mish", ops::activation),
    ("tanh", ops::activation),
    ("sigmoid", ops::activation),
    ("softplus", ops::activation),
    ("sin", ops::activation),
    ("cos", ops::activation),
    ("exp", ops::activation),
    ("layer_norm", ops::layer_norm),
    ("rms_norm", ops::rms_norm),
    ("softmax", ops::softmax),
    ("attention", attention::attention),
    ("act", attention::act),
    ("film", ops::film),
    ("concat", ops::concat),
    ("mse", ops::mse),
    ("time_embedding", ops::time_embedding),
    ("philox4x32_10", raw::philox),
    ("path", raw::path),
    ("loss/cfm", loss::cfm),
    ("loss/cfm_sigma", loss::cfm),
    ("loss/mean_flow", loss::mean_flow),
    ("loss/shortcut_consistency", loss::shortcut),
    ("loss/consistency", loss::consistency),
    ("loss/mip", loss::mip),
    ("loss/streaming", loss::streaming),
    ("loss/ddpm_epsilon", loss::ddpm_epsilon),
    ("solver", solve::fixed),
    ("solver_adaptive", solve::adaptive),
    ("solver_adaptive_analytic", solve::relaxation),
    ("log_prob", solve::log_prob),
    ("rtc_guided_velocity", rtc::guided_velocity),
    ("adamw", optim::adamw),
    ("clip_grad_norm", optim::clip),
    ("cosine_schedule", optim::schedule),
    ("ema_decay", optim::ema),
    ("conv1d", conv::conv1d),
    ("conv_transpose1d", conv::conv_transpose1d),
    ("conv2d", conv::conv2d),
    ("max_pool2d", conv::max_pool2d),
    ("group_norm", conv::group_norm),
    ("unet1d", unet::unet1d),
    ("sample_flow", unet::sample_flow),
    ("sample_ddim", unet::sample_ddim),
    ("coupling_exact", coupling::exact),
    ("coupling_sinkhorn", coupling::sinkhorn),
];

/// The files of the cases in a folder, by name.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| GoldenError::Io { path: folder.into(), source };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// Runs every case of a folder on a device.
pub fn run_folder(folder: &Path, device: &Device) -> Result<Vec<Outcome>> {
    files(folder)?.iter().map(|path| Ok(run(&GoldenFile::open(path)?, device))).collect()
}

/// Runs one case on a device.
pub fn run(file: &GoldenFile, device: &Device) -> Outcome {
    let mut score = Score::new(file.tolerance());
    let (status, message) = match CASES.iter().find(|(name, _)| *name == file.case()) {
        Some((_, case)) => match case(file, device, &mut score).and_then(|()| score.finish(file)) {
            Ok(()) => (Status::Passed, score.worst_tensor().to_string()),
            Err(e) => (Status::Failed, e.to_string()),
        },
        None => {
            let e = GoldenError::Unknown { what: "case", found: file.case().into() };
            (Status::Failed, e.to_string())
        }
    };
    Outcome {
        file: file.name().into(),
        case: file.case().into(),
        status,
        error: score.worst(),
        tolerance: file.tolerance(),
        message,
    }
}

#[cfg(test)]
mod tests;
