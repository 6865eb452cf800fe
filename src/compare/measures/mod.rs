//! What is measured: one file each, with its formula; docs/compare.md has them with their sources. The energy distance is
//! [`crate::data::energy_distance`].

pub mod closed_loop;
pub mod dtw;
pub mod likelihood;
pub mod modes;
pub mod sliced;
pub mod straightness;
pub mod timing;

pub use closed_loop::Reproductions;
pub use dtw::dynamic_time_warping;
pub use modes::Modes;
pub use sliced::sliced_wasserstein;
pub use straightness::{Straightness, straightness};
