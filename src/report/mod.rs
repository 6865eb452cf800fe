//! Reports: charts as SVG and one self-contained HTML page around them.
//!
//! This floor knows nothing of training or policies: it takes plain numbers and gives back strings. A [`Figure`] is a
//! finished SVG that also stands alone as a file; a [`Page`] is a finished HTML document with nothing to download. The
//! same input always gives the same bytes, and points that are not finite are left out instead of drawn.
//!
//! ```
//! use advect::report::{LossCurve, Page, Section, Tile};
//!
//! let train = [(0, 1.0), (100, 0.3), (200, 0.1)];
//! let curve = LossCurve::new(&train).log_y(true).render();
//! let html = Page::new("Push-T, run 7")
//!     .section(Section::new("Training").tile(Tile::new("0.10", "final loss")).figure(curve, "Training loss"))
//!     .to_html();
//! assert!(html.starts_with("<!doctype html>"));
//! ```

mod axis;
pub mod chart;
#[cfg(test)]
mod check;
pub mod colour;
pub mod flow;
pub mod format;
pub mod html;
mod legend;
pub mod loss;
pub mod paint;
#[cfg(test)]
mod preview;
pub mod push_t;
pub mod scene;
pub mod svg;
pub mod table;
pub mod timing;

pub use chart::Chart;
pub use colour::{Colour, OKABE_ITO};
pub use flow::Flow;
pub use html::{Page, Section, Tile};
pub use loss::LossCurve;
pub use paint::{LineColour, Style};
pub use push_t::push_t_scene;
pub use scene::Scene2d;
pub use svg::Figure;
pub use table::Table;
pub use timing::{DeviceInfo, StageTime, timing_section};

use std::path::{Path, PathBuf};

/// What can go wrong while a report is made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Data whose length does not fit the shape that came with it.
    #[error("{what}: found {found} values, needed {needed}")]
    Shape {
        /// The array in question and its expected shape.
        what: &'static str,
        /// Number of values given.
        found: usize,
        /// Number of values that the shape needs.
        needed: usize,
    },
    /// A report file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file that was being written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Writes `text` to `path`, making the folders above it.
fn write_file(path: &Path, text: &str) -> Result<(), ReportError> {
    let io = |source| ReportError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    std::fs::write(path, text).map_err(io)
}
