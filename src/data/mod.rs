//! Demonstrations: files, episodes, validation split, windows and sample quality.
//!
//! The way through: [`Episodes::load`] reads and checks a numpy archive or a LeRobot directory, [`split_episodes`] holds episodes out,
//! [`Windows`] says where every training example lies. Fitting a normaliser is [`crate::policy::normalizer`].

mod aside;
mod beside;
pub mod budget;
mod choice;
mod convert;
mod copies;
#[cfg(feature = "csv")]
mod csv;
mod episodes;
mod error;
pub(crate) mod findings;
mod format;
#[cfg(any(feature = "csv", feature = "hdf5", feature = "mcap", feature = "zarr"))]
mod gather;
#[cfg(feature = "hdf5")]
mod hdf5;
mod inputs;
pub mod inspect;
mod join;
mod lerobot;
mod lock;
mod mat;
#[cfg(feature = "mcap")]
mod mcap;
mod narrow;
mod npy;
mod npy_header;
mod npz;
#[cfg(any(feature = "hdf5", feature = "mcap", feature = "zarr"))]
mod number;
pub mod quality;
mod save;
pub mod scaling;
mod sets;
mod source;
mod spec;
pub mod split;
mod windows;
#[cfg(feature = "zarr")]
mod zarr;

pub use aside::{Aside, WriteError, sweep, write_aside};
pub use budget::{Budget, BudgetError};
pub use choice::EpisodeChoice;
pub use convert::{Converted, convert};
pub use episodes::{EpisodeArrays, Episodes};
pub use error::DataError;
pub use findings::{ColumnFinding, Finding};
pub use inputs::ObsInput;
pub use lerobot::LeRobotError;
pub use lock::WriteLock;
#[cfg(test)]
pub(crate) use mat::tests::demonstrations as mat_demonstrations;
pub use mat::{MatValue, read_mat};
pub use narrow::Narrowed;
pub use npy::{Array, NpyWriter, read_npy_f32, write_npy_f32};
pub use npz::read_npz_f32;
pub use quality::{Estimate, energy_distance, energy_over_draws, mean_and_standard_error};
pub use save::write_npz;
pub use scaling::{NormKind, Scaling};
pub use sets::DataSets;
pub use source::{Caution, Kind, Loaded, Skipped, Source, Tasks};
pub use spec::{Columns, DataSpec};
pub use split::{Split, split_apart, split_episodes};
pub use windows::{Padding, WindowSpec, Windows};
