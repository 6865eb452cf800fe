//! `advect compare`: every way of generating actions that is in the code, on the same data with the same budget.
//!
//! | module | what |
//! |---|---|
//! | `tasks` | what is learnt: training episodes, held-out pairs, and what is known of the law ([`Task`], [`Law`]); one file each, one table |
//! | `method` | what is compared: an id, its changes to the run's configuration, its samplers; one line each |
//! | `network` | the networks of `--network`, of one size for every method |
//! | `measures` | what is measured, one file each; formulas and sources in docs/compare.md |
//! | `evaluate` | one trained policy to its rows, its numbers and its pictures |
//! | `run` | all methods and seeds, one after the other; stops and goes on |
//! | `settings`, `store` | what two runs in one folder must share; the folder's files |
//! | `record`, `summary` | compare.json; means over seeds, methods at equal quality |
//! | `pictures`, `page` | report.html |
//!
//! A comparison is a list of (method, seed). Each is trained by the ordinary [`Trainer`](crate::train::Trainer) and becomes one
//! [`RunRecord`], which is written whole to the folder when it is finished and never computed again. compare.json and
//! report.html are made from the records alone, so that a comparison that was stopped ends in the same files.
//!
//! ```text
//! Task::open("two-moons") ─ train: Episodes ─► Trainer(config of the method, seed) ─► Policy
//!                         └ held_out, Law ──────────────► evaluate(policy) ─► RunRecord ─► runs/cfm-0.json
//!                                                                              all of them ─► compare.json, report.html
//! ```

mod error;
pub mod evaluate;
pub mod measures;
pub mod method;
pub mod network;
mod page;
mod pictures;
pub mod record;
pub mod run;
pub mod settings;
mod store;
pub mod summary;
mod task;
pub mod tasks;

pub use error::{CompareError, Result};
pub use method::{METHODS, Method};
pub use network::Network;
pub use record::{Report, Row, RunRecord, Status};
pub use run::{Comparison, Event, Outcome, compare};
pub use settings::Settings;
pub use task::{Law, Pairs, Task};
pub use tasks::TASKS;

/// Evaluations of the network at which every method is measured, as far as it can sample with so many.
pub const NFES: [usize; 6] = [1, 2, 3, 5, 10, 20];
