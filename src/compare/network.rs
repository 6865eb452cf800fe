//! The networks that every method of a comparison has: one of a kind, its size by the task's.

use super::{CompareError, Result, Task};
use crate::kernel::math::Activation;
use crate::nn::mlp::Mlp;
use crate::nn::transformer::{Observation, Transformer};
use crate::nn::unet1d::Unet1d;
use crate::nn::{Conditioning, NetworkSpec, TimeInput};
use std::str::FromStr;

/// What `--network` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Three layers of 256 (512 for chunks of several actions).
    #[default]
    Mlp,
    /// Diffusion policy's U-Net with 64 and 128 channels.
    Unet1d,
    /// A diffusion transformer of width 128 with four blocks.
    Transformer,
}

/// Every network, by name.
const ALL: [Network; 3] = [Network::Mlp, Network::Unet1d, Network::Transformer];

/// The time as sines and cosines of 10 t, ..., 0.1 t: smooth enough for objectives that differentiate by the time.
fn time() -> TimeInput {
    TimeInput::Sinusoidal { dim: 32, scale: 10.0, max_period: 100.0 }
}

impl Network {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Network::Mlp => "mlp",
            Network::Unet1d => "unet1d",
            Network::Transformer => "transformer",
        }
    }

    /// The network for a task.
    ///
    /// # Errors
    /// [`CompareError::Range`] if the task's chunks do not fit it.
    pub fn spec(self, task: &Task) -> Result<NetworkSpec> {
        let several = task.windows.horizon > 1;
        Ok(match self {
            Network::Mlp => NetworkSpec::Mlp(Mlp {
                hidden: vec![if several { 512 } else { 256 }; 3],
                activation: Activation::Silu,
                time: time(),
                conditioning: Conditioning::Concat,
            }),
            Network::Unet1d => {
                let net = Unet1d {
                    down_dims: vec![64, 128],
                    kernel_size: 5,
                    groups: 8,
                    final_groups: 8,
                    time: time(),
                    film_scale: true,
                };
                if !task.windows.horizon.is_multiple_of(net.horizon_multiple()) {
                    let found = format!("{} of {}", task.windows.horizon, task.name);
                    let needed = "an even number for unet1d, which halves them";
                    return Err(CompareError::Range { what: "actions of a chunk", found, needed });
                }
                NetworkSpec::Unet1d(net)
            }
            Network::Transformer => NetworkSpec::Transformer(Transformer {
                width: 128,
                layers: 4,
                heads: 4,
                mlp_ratio: 4,
                time: time(),
                rope_base: 1e4,
                observation: Observation::Conditioning,
            }),
        })
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Network, String> {
        let names = || ALL.map(Network::name).join(", ");
        let found = ALL.into_iter().find(|n| n.name() == text);
        found.ok_or_else(|| format!("needed one of {}, found {text:?}", names()))
    }
}
