//! `--weights`: which of a checkpoint's two sets of weights.

use advect::policy::Weights;

/// As it is written on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum WeightsArg {
    Ema,
    Raw,
}

impl From<WeightsArg> for Weights {
    fn from(arg: WeightsArg) -> Weights {
        match arg {
            WeightsArg::Ema => Weights::Ema,
            WeightsArg::Raw => Weights::Raw,
        }
    }
}
