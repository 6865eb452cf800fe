//! Training: configuration, the training step as one plan, resumable runs, metrics.

pub mod config;
pub mod course;
pub mod error;
pub mod metrics;
mod pairing;
pub mod program;
mod range;
pub mod reflow;
pub mod resume;
pub mod run;
mod start;
pub mod trainer;

pub use config::{AnglesSpec, DimRef, EmaSpec, OptimizerSpec, RunConfig, ScheduleSpec};
pub use course::Course;
pub use error::{Result, TrainError};
pub use metrics::{MetricsLine, MetricsWriter, WarningLine};
pub use reflow::ReflowSpec;
pub use run::{Event, Outcome, RunOptions, run};
pub use start::Start;
pub use trainer::{Progress, Trainer};
