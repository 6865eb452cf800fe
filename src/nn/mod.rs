//! Networks: layers with PyTorch's parameter names and layouts, velocity networks, observation encoders.
//!
//! To add a network, add its file and its line in [`NetworkSpec`].

pub mod act;
pub mod attention;
mod conv;
pub mod encoder;
pub mod layers;
pub mod mlp;
pub mod residual;
pub mod store;
pub mod transformer;
pub mod unet1d;

pub use encoder::EncoderSpec;
pub use layers::{Builder, Init, ParamSpec};
pub use store::{ParamStore, StoreError};

use crate::graph::{Graph, Result, Value};
use crate::kernel::time_embed::TimeEmbedding;
use serde::{Deserialize, Serialize};

/// How the time enters a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TimeInput {
    /// t itself, one column.
    Raw,
    /// sin and cos of t * scale at frequencies from 1 down to 1 / max_period (diffusion policy's SinusoidalPosEmb).
    Sinusoidal {
        /// Columns, even.
        #[serde(default = "time_columns")]
        dim: usize,
        /// What t in [0, 1] is multiplied by: 99 for embeddings made for the integers 0-99.
        #[serde(default = "time_scale")]
        scale: f64,
        /// Longest period over 2 pi.
        #[serde(default = "time_max_period")]
        max_period: f64,
    },
    /// sin and cos at periods spaced geometrically (pi0's, openpi's posemb_sincos).
    Period {
        /// Columns, even.
        #[serde(default = "time_columns")]
        dim: usize,
        /// Shortest period.
        #[serde(default = "shortest_period")]
        min_period: f64,
        /// Longest period.
        #[serde(default = "longest_period")]
        max_period: f64,
    },
}

impl Default for TimeInput {
    /// Sinusoidal, 64 columns, made for the integers 0-99.
    fn default() -> TimeInput {
        TimeInput::Sinusoidal { dim: time_columns(), scale: time_scale(), max_period: time_max_period() }
    }
}

fn time_columns() -> usize {
    64
}

fn time_scale() -> f64 {
    99.0
}

fn time_max_period() -> f64 {
    1e4
}

/// pi0's.
fn shortest_period() -> f64 {
    4e-3
}

fn longest_period() -> f64 {
    4.0
}

impl TimeInput {
    /// The embedding, if there is one.
    pub fn embedding(&self) -> Option<TimeEmbedding> {
        match *self {
            TimeInput::Raw => None,
            TimeInput::Sinusoidal { dim, scale, max_period } => {
                Some(TimeEmbedding::Sinusoidal { dim, scale, max_period })
            }
            TimeInput::Period { dim, min_period, max_period } => {
                Some(TimeEmbedding::Period { dim, min_period, max_period })
            }
        }
    }

    /// Checks columns, scale and periods: every frequency must be a number that f32 holds.
    fn check(&self) -> std::result::Result<(), SizeError> {
        match *self {
            TimeInput::Raw => Ok(()),
            TimeInput::Sinusoidal { dim, scale, max_period } => {
                even("network.time.dim", dim)?;
                number("network.time.scale", scale, 1e-6, 1e9)?;
                number("network.time.max_period", max_period, 1.0, 1e12)
            }
            TimeInput::Period { dim, min_period, max_period } => {
                even("network.time.dim", dim)?;
                number("network.time.min_period", min_period, 1e-9, 1e9)?;
                number("network.time.max_period", max_period, min_period, 1e12)
            }
        }
    }

    /// The columns of all times of a network: of t, then of the interval where there is one.
    pub fn columns(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let t = self.apply(b, x.t)?;
        self.with_interval(b, t, x.interval)
    }

    /// The columns of the interval, where there is one, beside those of t.
    fn with_interval(&self, b: &mut Builder<'_>, t: Value, interval: Option<Value>) -> Result<Value> {
        match interval {
            Some(interval) => {
                let interval = self.apply(b, interval)?;
                b.concat(&[t, interval])
            }
            None => Ok(t),
        }
    }

    /// The time's columns for t [rows, n]: [rows, n] or [rows, n * dim], one time after the other.
    pub fn apply(&self, b: &mut Builder<'_>, t: Value) -> Result<Value> {
        match self.embedding() {
            None => Ok(t),
            Some(kind) => b.graph.time_embedding(&kind, t),
        }
    }
}

/// How time and observation enter a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditioning {
    /// Beside the state, as columns of the first layer's input.
    Concat,
    /// As a scale and a shift of every hidden layer (FiLM, Perez 2018).
    Film,
}

/// Most columns of a layer.
const MOST_COLUMNS: usize = 1 << 16;
/// Most layers or blocks.
const MOST_LAYERS: usize = 1024;

/// A setting of a network that is out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A width or a number of layers.
    #[error("{what}: found {found}, needed {least} to {most}")]
    Count {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The least that it may be.
        least: usize,
        /// The most that it may be.
        most: usize,
    },
    /// A setting that need not be whole.
    #[error("{what}: found {found}, needed a number from {least} to {most}")]
    Number {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: f64,
        /// The least that it may be.
        least: f64,
        /// The most that it may be.
        most: f64,
    },
}

fn size(what: &'static str, found: usize, least: usize, most: usize) -> std::result::Result<(), SizeError> {
    match (least..=most).contains(&found) {
        true => Ok(()),
        false => Err(SizeError::Count { what, found, least, most }),
    }
}

/// Columns that are half sines, half cosines.
fn even(what: &'static str, found: usize) -> std::result::Result<(), SizeError> {
    size(what, found, 2, MOST_COLUMNS)?;
    let fitting = found.next_multiple_of(2);
    size(what, found, fitting, fitting)
}

fn number(what: &'static str, found: f64, least: f64, most: f64) -> std::result::Result<(), SizeError> {
    match (least..=most).contains(&found) {
        true => Ok(()),
        false => Err(SizeError::Number { what, found, least, most }),
    }
}

/// Checks the widths of a list of layers.
fn layers(what: &'static str, widths: &[usize]) -> std::result::Result<(), SizeError> {
    size(what, widths.len(), 0, MOST_LAYERS)?;
    widths.iter().try_for_each(|w| size(what, *w, 1, MOST_COLUMNS))
}

/// What a velocity network reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// The chunk, [rows, horizon * action_dim].
    pub a: Value,
    /// Its time: [1, 1], [rows, 1], or [rows, horizon] where every action has a time of its own.
    pub t: Value,
    /// A second time, [1, 1] or [rows, 1], for networks of an interval of the flow: where it ends (MeanFlow), or how long it is
    /// (shortcut).
    pub interval: Option<Value>,
    /// The encoded observation [rows, history * Z] (or fewer rows, which are repeated), the newest step last.
    pub z: Value,
    /// Actions in a chunk.
    pub horizon: usize,
    /// Values of an action.
    pub action_dim: usize,
    /// Steps that z is made of: tokens for networks that attend to the observation.
    pub history: usize,
}

impl Inputs {
    /// A chunk of one action and an observation of one step: all that networks without tokens look at.
    pub fn flat(g: &Graph, a: Value, t: Value, z: Value) -> Inputs {
        Inputs { a, t, interval: None, z, horizon: 1, action_dim: g.shape(a).cols(), history: 1 }
    }
}

/// A velocity network v(a, t, z).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NetworkSpec {
    /// Linear layers with an activation between.
    Mlp(mlp::Mlp),
    /// Residual blocks with layer norm.
    Residual(residual::Residual),
    /// A diffusion transformer over action tokens.
    Transformer(transformer::Transformer),
    /// Diffusion policy's U-Net over the chunk's steps.
    Unet1d(unet1d::Unet1d),
}

impl NetworkSpec {
    /// The velocity, shaped like the chunk.
    pub fn velocity(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        match self {
            NetworkSpec::Mlp(n) => n.velocity(b, x),
            NetworkSpec::Residual(n) => n.velocity(b, x),
            NetworkSpec::Transformer(n) => n.velocity(b, x),
            NetworkSpec::Unet1d(n) => n.velocity(b, x),
        }
    }

    /// Its name in files.
    pub fn name(&self) -> &'static str {
        match self {
            NetworkSpec::Mlp(_) => "mlp",
            NetworkSpec::Residual(_) => "residual",
            NetworkSpec::Transformer(_) => "transformer",
            NetworkSpec::Unet1d(_) => "unet1d",
        }
    }

    /// Whether it takes a time for every action ([`Inputs::t`]), as a prefix of decided actions needs.
    pub fn time_per_action(&self) -> bool {
        match self {
            NetworkSpec::Mlp(_) | NetworkSpec::Residual(_) | NetworkSpec::Transformer(_) => true,
            // One embedding of the time conditions the whole chunk.
            NetworkSpec::Unet1d(_) => false,
        }
    }

    /// Whether the times of all actions are columns of one layer's input, so that with a time for every action one time alone
    /// must be written out for each.
    pub fn joins_times(&self) -> bool {
        matches!(self, NetworkSpec::Mlp(_) | NetworkSpec::Residual(_))
    }

    /// Checks widths, numbers of layers and all other settings.
    ///
    /// # Errors
    /// The first that is out of range: what it is, what was found, what was needed.
    pub fn check(&self) -> std::result::Result<(), SizeError> {
        let time = match self {
            NetworkSpec::Mlp(n) => {
                layers("network.hidden", &n.hidden)?;
                &n.time
            }
            NetworkSpec::Residual(n) => {
                layers("network.width", &[n.width])?;
                size("network.blocks", n.blocks, 0, MOST_LAYERS)?;
                &n.time
            }
            NetworkSpec::Transformer(n) => {
                n.check()?;
                &n.time
            }
            NetworkSpec::Unet1d(n) => {
                n.check()?;
                &n.time
            }
        };
        time.check()
    }

    /// The network of the reference Push-T policy: residual, width 384, two blocks.
    pub fn push_t() -> NetworkSpec {
        NetworkSpec::Residual(residual::Residual::default())
    }
}
